//! The process itself, sampled when it is asked for.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge, Opts, Registry};

/// The kernel counts processor time in ticks; every Linux that Rust runs on has 100 of them a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds the metrics of this process: its memory, open files, processor time, start and version.
/// What the operating system does not tell (outside Linux, most of it) is left out.
///
/// # Errors
/// If they are registered already.
pub fn register_process_metrics(
    registry: &Registry,
    role: &str,
    version: &str,
) -> Result<(), prometheus::Error> {
    registry.register(Box::new(ProcessCollector::new(role, version)?))
}

struct ProcessCollector {
    resident: IntGauge,
    resident_peak: IntGauge,
    open_fds: IntGauge,
    cpu: Gauge,
    start: Gauge,
    build: IntGauge,
}

impl ProcessCollector {
    fn new(role: &str, version: &str) -> Result<Self, prometheus::Error> {
        let build = Opts::new(
            "paceline_build_version",
            "Always 1; the labels name the role and version of this process.",
        )
        .const_label("role", role)
        .const_label("version", version);
        let collector = ProcessCollector {
            resident: IntGauge::new(
                "paceline_process_resident_memory_bytes",
                "Memory that the process holds.",
            )?,
            resident_peak: IntGauge::new(
                "paceline_process_resident_memory_peak_bytes",
                "The most memory that the process ever held.",
            )?,
            open_fds: IntGauge::new(
                "paceline_process_open_fds",
                "Files and sockets that the process has open.",
            )?,
            cpu: Gauge::new(
                "paceline_process_cpu_seconds_total",
                "Processor time that the process has used.",
            )?,
            start: Gauge::new(
                "paceline_process_start_time_seconds",
                "When the process started, in seconds since 1970.",
            )?,
            build: IntGauge::with_opts(build)?,
        };
        collector.start.set(seconds_since_1970());
        collector.build.set(1);
        Ok(collector)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "Prometheus wants the start as a date; people read it, and nothing is decided by it"
)]
fn seconds_since_1970() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        [
            self.resident.desc(),
            self.resident_peak.desc(),
            self.open_fds.desc(),
            self.cpu.desc(),
            self.start.desc(),
            self.build.desc(),
        ]
        .concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = [self.start.collect(), self.build.collect()].concat();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (gauge, field) in [(&self.resident, "VmRSS:"), (&self.resident_peak, "VmHWM:")] {
            if let Some(bytes) = memory(&status, field) {
                gauge.set(bytes);
                families.extend(gauge.collect());
            }
        }
        if let Some(count) = open_fds() {
            self.open_fds.set(count);
            families.extend(self.open_fds.collect());
        }
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            self.cpu.set(seconds);
            families.extend(self.cpu.collect());
        }
        families
    }
}

/// A field of `/proc/self/status` such as `VmRSS:     1234 kB`, in bytes.
fn memory(status: &str, field: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: i64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn open_fds() -> Option<i64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that is being read.
    i64::try_from(count).ok()?.checked_sub(1)
}

/// User and system time from `/proc/self/stat`: the 14th and 15th field, where the second, the name
/// of the program in parentheses, may itself hold blanks.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_nonsense_is_none() {
        assert_eq!(
            memory("VmHWM:\t 12 kB\nVmRSS:\t 10 kB\n", "VmRSS:"),
            Some(10240)
        );
        assert_eq!(memory("", "VmRSS:"), None);
        let stat = "1 (a ) b) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 5";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("1 (a"), None);
    }

    #[test]
    fn a_scrape_sees_this_process() {
        let registry = Registry::new();
        register_process_metrics(&registry, "test", "1.2.3").unwrap();
        let sample = || {
            let families = registry.gather();
            move |name: &str| {
                let family = families.iter().find(|f| f.name() == name).unwrap();
                family.get_metric()[0].get_gauge().get_value()
            }
        };
        let value = sample();
        let resident = value("paceline_process_resident_memory_bytes");
        assert!(resident > 1e5);
        assert!(value("paceline_process_resident_memory_peak_bytes") >= resident);
        assert!(value("paceline_process_start_time_seconds") > 1.7e9);
        // Other tests open and close some at the same time, but not as many as this.
        let open = |_| fs::File::open("/proc/self/status").unwrap();
        let files: Vec<_> = (0..100).map(open).collect();
        let more = sample()("paceline_process_open_fds");
        assert!(more > value("paceline_process_open_fds") + 50.0);
        drop(files);
        assert!((value("paceline_build_version") - 1.0).abs() < f64::EPSILON);
    }
}
