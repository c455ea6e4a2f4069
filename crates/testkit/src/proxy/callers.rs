//! Who made a connection, by the word of the system.
//!
//! A proxy sees where a connection comes from: an address with a port that was free. Whose that is
//! stands below `/proc`, so this works where there is such a thing, as freezing does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use tokio::net::TcpStream;

use super::Traffic;

/// Both ends of a connection. A port alone says too little: several connections may have it, each to
/// another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ends {
    from: SocketAddrV4,
    to: SocketAddrV4,
}

impl Ends {
    /// As who made a connection sees them that was accepted here. None of one that has gone meanwhile.
    pub(super) fn accepted(connection: &TcpStream) -> Option<Ends> {
        match (connection.peer_addr().ok()?, connection.local_addr().ok()?) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => Some(Ends { from, to }),
            _ => None,
        }
    }
}

/// Processes whose own connections do not flow, wherever they lead. All doors of a cluster look here.
#[derive(Debug, Default)]
pub(crate) struct Callers(Mutex<BTreeMap<u32, Traffic>>);

impl Callers {
    /// What holds for the connections that a process makes from now on.
    pub(crate) fn set(&self, process: u32, traffic: Traffic) {
        let mut callers = self.lock();
        match traffic {
            Traffic::Flows => callers.remove(&process),
            held => callers.insert(process, held),
        };
    }

    /// Which of those processes made a connection, and what holds for it.
    pub(super) fn of(&self, ends: &Ends) -> Option<(u32, Traffic)> {
        let callers = self.lock();
        let made = |process| connections_of(process).is_ok_and(|made| made.contains(ends));
        let mut all = callers.iter().map(|(process, held)| (*process, *held));
        all.find(|(process, _)| made(*process))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Traffic>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections that a process has, each as that process sees it.
pub(crate) fn connections_of(process: u32) -> io::Result<BTreeSet<Ends>> {
    let sockets = sockets_of(process)?;
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp"))?;
    let all = table.lines().filter_map(row);
    let own = all.filter(|(_, socket)| sockets.contains(socket));
    Ok(own.map(|(ends, _)| ends).collect())
}

/// The numbers of the sockets that a process has open.
fn sockets_of(process: u32) -> io::Result<BTreeSet<u64>> {
    let files = fs::read_dir(format!("/proc/{process}/fd"))?.flatten();
    // What was closed meanwhile has no name any more.
    let open = files.filter_map(|file| fs::read_link(file.path()).ok());
    Ok(open.filter_map(|file| socket(&file)).collect())
}

/// The number in `socket:[367980]`.
fn socket(file: &Path) -> Option<u64> {
    let number = file.to_str()?.strip_prefix("socket:[")?;
    number.strip_suffix(']')?.parse().ok()
}

/// A connection and the number of its socket. The first line of the table is none.
fn row(line: &str) -> Option<(Ends, u64)> {
    let mut fields = line.split_whitespace().skip(1);
    let (from, to) = (address(fields.next()?)?, address(fields.next()?)?);
    // Its state, queues, timers, repeats, user and timeout lie between.
    let socket = fields.nth(6)?.parse().ok()?;
    Some((Ends { from, to }, socket))
}

fn address(field: &str) -> Option<SocketAddrV4> {
    let (host, port) = field.split_once(':')?;
    let host = u32::from_str_radix(host, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // The four bytes of the host stand there as one number of this machine.
    Some(SocketAddrV4::new(Ipv4Addr::from(host.to_ne_bytes()), port))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_table_is_a_connection() {
        let line = "   3: 0100007F:BB20 0200007F:922B 01 00000000:00000000 00:00000000 00000000  \
                    1000        0 367980 2 00000000d65e5a66 21 0 0 10 -1";
        let address = |field| address(field).unwrap();
        let (ends, socket) = row(line).unwrap();
        assert_eq!(ends.from, address("0100007F:BB20"));
        assert_eq!(ends.to, address("0200007F:922B"));
        assert_eq!(
            (ends.from.port(), ends.to.port(), socket),
            (47904, 37419, 367980)
        );
        assert_eq!(
            row("  sl  local_address rem_address   st tx_queue rx_queue"),
            None
        );
    }

    #[tokio::test]
    async fn a_process_has_the_connections_that_it_made_and_no_others() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let mut other = tokio::process::Command::new("cat");
        let other = other.stdin(std::process::Stdio::piped()).kill_on_drop(true);
        let other = other.spawn().unwrap();
        let _made = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let ends = Ends::accepted(&accepted).unwrap();
        let own = connections_of(std::process::id()).unwrap();
        assert!(own.contains(&ends), "{ends:?} is not among {own:?}");
        let others = connections_of(other.id().unwrap()).unwrap();
        assert!(!others.contains(&ends), "{others:?}");
        assert!(
            connections_of(u32::MAX).is_err(),
            "there is no such process"
        );
    }
}
