use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Announced;
use crate::{FaultProxy, Traffic};

/// Where proxies listen: another address of this machine, on the ports of the processes themselves.
/// A process that says that it is reached there is reached by way of its proxies alone.
pub(crate) const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Where the processes listen.
const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A proxy before each port of a process, but for that of its metrics. They end with this value.
pub struct Doors {
    proxies: Vec<FaultProxy>,
}

impl Doors {
    /// Opens the doors of a process that says that it is reached outside.
    pub(crate) async fn of(announced: &Announced) -> io::Result<Doors> {
        let mut proxies = Vec::new();
        for address in [&announced.http, &announced.flight, &announced.cluster] {
            let Some(port) = port(address) else {
                continue;
            };
            let outside = SocketAddr::new(OUTSIDE, port);
            proxies.push(FaultProxy::start_at(outside, inside(port)).await?);
        }
        Ok(Doors { proxies })
    }

    /// From now on, also for the connections there are.
    pub fn set(&self, traffic: Traffic) {
        for proxy in &self.proxies {
            proxy.set(traffic);
        }
    }

    /// How many connections were cut.
    pub fn cut_connections(&self) -> u64 {
        self.proxies.iter().map(FaultProxy::cut_connections).sum()
    }

    /// How many pieces were held back by stalls.
    pub fn held_back(&self) -> u64 {
        self.proxies.iter().map(FaultProxy::held_back).sum()
    }
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
