use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::Announced;
use crate::proxy::{Callers, Ends, Open};
use crate::{FaultProxy, Traffic};

/// Where proxies listen: another address of this machine, on the ports of the processes themselves.
/// A process that says that it is reached there is reached by way of its proxies alone.
pub(crate) const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Where the processes listen.
const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A proxy before each port of a process, but for that of its metrics. They end with this value.
///
/// They see what comes in. What the process itself connects to comes in at the doors of others; see
/// [`Cluster::set_traffic`](super::Cluster::set_traffic) for both ways.
pub struct Doors {
    clients: Vec<FaultProxy>,
    /// Where other processes of the cluster come in.
    cluster: Option<FaultProxy>,
}

impl Doors {
    /// Opens the doors of a process that says that it is reached outside.
    pub(crate) async fn of(announced: &Announced, callers: &Arc<Callers>) -> io::Result<Doors> {
        let mut clients = Vec::new();
        for address in [&announced.http, &announced.flight] {
            clients.extend(door(address, callers).await?);
        }
        Ok(Doors {
            clients,
            cluster: door(&announced.cluster, callers).await?,
        })
    }

    /// From now on, also for the connections there are.
    pub fn set(&self, traffic: Traffic) {
        for proxy in self.all() {
            proxy.set(traffic);
        }
    }

    /// The same for what comes from one process.
    pub(crate) fn set_of(&self, process: u32, made: &BTreeSet<Ends>, traffic: Traffic) {
        for proxy in self.all() {
            proxy.set_of(process, made, traffic);
        }
    }

    /// How many connections were cut.
    pub fn cut_connections(&self) -> u64 {
        self.all().map(FaultProxy::cut_connections).sum()
    }

    /// How many pieces were held back by stalls.
    pub fn held_back(&self) -> u64 {
        self.all().map(FaultProxy::held_back).sum()
    }

    /// The connections of other processes of the cluster.
    pub(crate) fn open(&self) -> Open {
        self.cluster
            .as_ref()
            .map(FaultProxy::open)
            .unwrap_or_default()
    }

    /// Those of them that one process has made.
    pub(crate) fn open_of(&self, process: u32, made: &BTreeSet<Ends>) -> Open {
        let open = |proxy: &FaultProxy| proxy.open_of(process, made);
        self.cluster.as_ref().map(open).unwrap_or_default()
    }

    fn all(&self) -> impl Iterator<Item = &FaultProxy> {
        self.clients.iter().chain(&self.cluster)
    }
}

async fn door(address: &str, callers: &Arc<Callers>) -> io::Result<Option<FaultProxy>> {
    let Some(port) = port(address) else {
        return Ok(None);
    };
    let outside = SocketAddr::new(OUTSIDE, port);
    let proxy = FaultProxy::start_for(outside, inside(port), Arc::clone(callers));
    proxy.await.map(Some)
}

fn port(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

fn inside(port: u16) -> String {
    SocketAddr::new(INSIDE, port).to_string()
}

/// An announced address as it is reached past all proxies.
pub(crate) fn past_doors(address: &str) -> String {
    port(address).map_or_else(|| address.to_string(), inside)
}
