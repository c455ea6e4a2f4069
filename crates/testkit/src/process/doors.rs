use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Announced;
use super::hosts::Hosts;
use crate::proxy::{Callers, Ends, Open};
use crate::{FaultProxy, Traffic};

/// A proxy before each port of a process, but for that of its metrics: on the same port of another address
/// of this machine. They end with this value.
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
    pub(crate) async fn of(
        announced: &Announced,
        hosts: Hosts,
        callers: &Arc<Callers>,
    ) -> io::Result<Doors> {
        let mut clients = Vec::new();
        for address in [&announced.http, &announced.flight] {
            clients.extend(door(address, hosts, callers).await?);
        }
        Ok(Doors {
            clients,
            cluster: door(&announced.cluster, hosts, callers).await?,
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

async fn door(
    address: &str,
    hosts: Hosts,
    callers: &Arc<Callers>,
) -> io::Result<Option<FaultProxy>> {
    let port = address.rsplit_once(':').map(|(_, port)| port.parse());
    let Some(Ok(port)) = port else {
        return Ok(None);
    };
    let outside = SocketAddr::new(hosts.outside(), port);
    let inside = SocketAddr::new(hosts.inside(), port).to_string();
    let proxy = FaultProxy::start_for(outside, inside, Arc::clone(callers));
    proxy.await.map(Some)
}
