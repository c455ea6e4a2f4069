//! Addresses of this machine that a cluster has to itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the processes of a cluster listen, and where their proxies do.
///
/// A process that is started again needs the ports that it had. At the address from which everybody on this
/// machine connects, one of these may have become the near end of somebody's connection meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hosts([u8; 2]);

/// The last byte of where processes listen.
const INSIDE: u8 = 1;

/// The same of proxies. A process that says that it is reached there is reached by way of its proxies alone.
const OUTSIDE: u8 = 2;

/// The first half of a network of addresses for clusters; 127.0 is for everybody.
const FIRST: u32 = 16 << 8;

/// How many clusters one process starts before it has the addresses of another one's first.
const OF_A_PROCESS: u32 = 64;

impl Hosts {
    /// Other ones each time, as far as they go round.
    pub(crate) fn draw() -> Hosts {
        static DRAWN: AtomicU32 = AtomicU32::new(0);
        // Elsewhere than on Linux this machine has only those for everybody.
        if !cfg!(target_os = "linux") {
            return Hosts([0, 0]);
        }
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        let number = std::process::id()
            .wrapping_mul(OF_A_PROCESS)
            .wrapping_add(drawn);
        let [.., high, low] = (FIRST + number % ((1 << 16) - FIRST)).to_be_bytes();
        Hosts([high, low])
    }

    pub(crate) fn inside(self) -> IpAddr {
        self.ending(INSIDE)
    }

    pub(crate) fn outside(self) -> IpAddr {
        self.ending(OUTSIDE)
    }

    fn ending(self, last: u8) -> IpAddr {
        let Hosts([high, low]) = self;
        Ipv4Addr::new(127, high, low, last).into()
    }
}

/// An announced address as it is reached past all proxies.
pub(crate) fn past_doors(address: &str) -> String {
    match address.parse() {
        Ok(SocketAddr::V4(outside)) => {
            let [first, high, low, _] = outside.ip().octets();
            let inside = Ipv4Addr::new(first, high, low, INSIDE);
            SocketAddr::new(inside.into(), outside.port()).to_string()
        }
        _ => address.to_string(),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_is_free_there_whoever_has_it_elsewhere() {
        let [one, other] = [Hosts::draw(), Hosts::draw()];
        let everybodys = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = everybodys.local_addr().unwrap().port();
        let hosts = [one.inside(), one.outside(), other.inside(), other.outside()];
        let _all = hosts.map(|host| TcpListener::bind((host, port)).unwrap());
        let outside = SocketAddr::new(one.outside(), port).to_string();
        let inside = SocketAddr::new(one.inside(), port).to_string();
        assert_eq!(past_doors(&outside), inside);
    }
}
