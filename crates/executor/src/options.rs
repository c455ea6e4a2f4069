//! What an executor is told before it starts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use paceline_exchange::Compression;
use paceline_model::ByteSize;

use crate::StartError;

/// Everything that shapes one executor. The defaults suit a process of its own on one machine; only
/// [`schedulers`](Self::schedulers) has no useful default.
#[derive(Clone)]
pub struct ExecutorOptions {
    /// Where schedulers are found, as `host:port` of their cluster ports. A name that resolves to
    /// several addresses stands for a scheduler at each of them. The list needs only one address
    /// that still works: every scheduler tells of all others.
    pub schedulers: Vec<String>,
    /// Where the data plane listens. Port 0 takes any free one.
    pub bind: SocketAddr,
    /// How others reach the data plane, as `host` or `host:port`. Needed if `bind` is a wildcard
    /// address; otherwise the bound address serves.
    pub advertise: Option<String>,
    /// The first part of the executor's id; the rest is drawn anew at every start.
    pub name: String,
    /// The zone that placement may take into account; empty if there are none.
    pub zone: String,
    /// How many slots tasks share, and so how many threads compute; at least 1.
    pub slots: u32,
    /// Memory for the operators of queries.
    pub memory_limit: ByteSize,
    /// Memory in which exchange outputs may lie before they go to disk.
    pub exchange_memory: ByteSize,
    /// Memory in which one task may hold frames that it fetched and has not read yet.
    pub read_budget: ByteSize,
    /// Where exchange outputs and spills of operators go. Made if absent; each executor uses a
    /// directory of its own within.
    pub directory: PathBuf,
    /// Disk that spills of operators may take; without it DataFusion's own limit holds.
    pub spill_limit: Option<ByteSize>,
    /// How the object stores of tables are reached: endpoints, regions, credentials by their usual
    /// names. Never printed.
    pub object_store: BTreeMap<String, String>,
    /// How exchange outputs are compressed, on disk and between machines.
    pub compression: Compression,
    /// How often each scheduler hears of this executor at least.
    pub heartbeat: Duration,
    /// How long a drain waits for tasks to finish and outputs to be read.
    pub drain_timeout: Duration,
    /// How long what a query left is kept while nobody who owns it is attached.
    pub orphan_ttl: Duration,
    /// The same for an executor that drains. A takeover takes a fraction of that, and what a later owner
    /// misses is made again elsewhere.
    pub draining_orphan_ttl: Duration,
    /// How many tasks may wait for slots; a launch beyond that is refused.
    pub queue_limit: usize,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        ExecutorOptions {
            schedulers: Vec::new(),
            bind: SocketAddr::from(([127, 0, 0, 1], 50052)),
            advertise: None,
            name: "executor".to_string(),
            zone: String::new(),
            slots: std::thread::available_parallelism()
                .ok()
                .and_then(|n| u32::try_from(n.get()).ok())
                .unwrap_or(1),
            memory_limit: ByteSize::mib(2048),
            exchange_memory: ByteSize::mib(512),
            read_budget: ByteSize::mib(16),
            directory: std::env::temp_dir().join("paceline-executor"),
            spill_limit: None,
            object_store: BTreeMap::new(),
            compression: Compression::Lz4,
            heartbeat: Duration::from_millis(500),
            drain_timeout: Duration::from_secs(300),
            orphan_ttl: Duration::from_secs(600),
            draining_orphan_ttl: Duration::from_secs(10),
            queue_limit: 10_000,
        }
    }
}

impl fmt::Debug for ExecutorOptions {
    /// Without the options of object stores, among which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutorOptions")
            .field("schedulers", &self.schedulers)
            .field("bind", &self.bind)
            .field("advertise", &self.advertise)
            .field("name", &self.name)
            .field("zone", &self.zone)
            .field("slots", &self.slots)
            .field("memory_limit", &self.memory_limit)
            .field("exchange_memory", &self.exchange_memory)
            .field("read_budget", &self.read_budget)
            .field("directory", &self.directory)
            .field("spill_limit", &self.spill_limit)
            .field("compression", &self.compression)
            .field("heartbeat", &self.heartbeat)
            .field("drain_timeout", &self.drain_timeout)
            .field("orphan_ttl", &self.orphan_ttl)
            .field("draining_orphan_ttl", &self.draining_orphan_ttl)
            .field("queue_limit", &self.queue_limit)
            .finish_non_exhaustive()
    }
}

impl ExecutorOptions {
    /// Checks what can be checked without touching anything.
    ///
    /// # Errors
    /// [`StartError::Option`] naming the first option at fault and what would be right.
    pub fn validate(&self) -> Result<(), StartError> {
        let wrong = |option, problem: &str| {
            Err(StartError::Option {
                option,
                problem: problem.to_string(),
            })
        };
        if self.schedulers.is_empty() {
            return wrong("schedulers", "is empty; name at least one as host:port");
        }
        if let Some(bad) = self.schedulers.iter().find(|s| !is_host_and_port(s)) {
            return wrong(
                "schedulers",
                &format!("has '{bad}', which is not of the form host:port"),
            );
        }
        if self.slots == 0 || self.slots > 4096 {
            return wrong("slots", "must be between 1 and 4096");
        }
        if self.name.is_empty() || self.name.len() > 128 {
            return wrong("name", "must have between 1 and 128 characters");
        }
        if self.memory_limit.0 < 1 << 20 {
            return wrong("memory_limit", "must be at least 1MiB");
        }
        if self.heartbeat.is_zero() || self.heartbeat > Duration::from_secs(60) {
            return wrong("heartbeat", "must be above zero and at most 60s");
        }
        Ok(())
    }

    /// The address to advertise, now that the port is known.
    pub(crate) fn advertised(&self, bound: SocketAddr) -> Result<String, StartError> {
        match &self.advertise {
            None if bound.ip().is_unspecified() => Err(StartError::Option {
                option: "advertise",
                problem: format!(
                    "is missing; others cannot dial {bound}, so say under which host name or \
                     address they reach this executor"
                ),
            }),
            None => Ok(bound.to_string()),
            Some(address) if is_host_and_port(address) => Ok(address.clone()),
            Some(host) => {
                let address = format!("{host}:{}", bound.port());
                if is_host_and_port(&address) {
                    return Ok(address);
                }
                Err(StartError::Option {
                    option: "advertise",
                    problem: format!(
                        "is '{host}', which nobody can dial; write a host name or an address, with \
                         [] around one that has colons, and a port after it if it has another"
                    ),
                })
            }
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains("//")
            && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')))
            && port.parse::<u16>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ExecutorOptions {
        ExecutorOptions {
            schedulers: vec!["scheduler:50052".to_string()],
            ..ExecutorOptions::default()
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(options().validate().is_ok());
        type Spoil = fn(&mut ExecutorOptions);
        let wrong: [(&str, Spoil); 5] = [
            ("schedulers", |o| o.schedulers.clear()),
            ("schedulers", |o| o.schedulers.push("http://x:1".into())),
            ("slots", |o| o.slots = 0),
            ("heartbeat", |o| o.heartbeat = Duration::ZERO),
            ("name", |o| o.name.clear()),
        ];
        for (name, spoil) in wrong {
            let mut spoilt = options();
            spoil(&mut spoilt);
            let error = spoilt.validate().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_wildcard_address_is_never_advertised() {
        let any: SocketAddr = "0.0.0.0:7".parse().unwrap();
        assert!(options().advertised(any).is_err());
        let mut named = options();
        named.advertise = Some("host".to_string());
        assert_eq!(named.advertised(any).unwrap(), "host:7");
        named.advertise = Some("[::1]:9".to_string());
        assert_eq!(named.advertised(any).unwrap(), "[::1]:9");
        named.advertise = Some("[::1]".to_string());
        assert_eq!(named.advertised(any).unwrap(), "[::1]:7");
        for strange in ["http://host", "http://host:9", "::1", "", "host:port"] {
            named.advertise = Some(strange.to_string());
            let error = named.advertised(any).unwrap_err().to_string();
            assert!(error.contains("'advertise'"), "{strange}: {error}");
        }
    }
}
