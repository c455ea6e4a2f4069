//! A TCP proxy whose connections can be cut, refused and stalled.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a proxy does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Bytes go through.
    Flows,
    /// Connections stay open, and nothing goes through: a network that lost its way.
    Stalls,
    /// Connections are closed, and new ones as soon as they are made.
    Cut,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    cut: AtomicU64,
    held_back: AtomicU64,
    forwarded: AtomicU64,
}

/// What connections watch. A cut is a count as well as a state, so that one which is over before
/// a connection looks is still noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Orders {
    traffic: Traffic,
    cuts: u64,
}

/// Stands between a client and a server; ends with this value.
pub struct FaultProxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    counts: Arc<Counts>,
    _running: DropGuard,
}

impl FaultProxy {
    /// Listens on a free port and forwards to `target` (`host:port`).
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(target: impl Into<String>) -> io::Result<FaultProxy> {
        FaultProxy::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), target).await
    }

    /// Listens at a given address and forwards to `target`.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn start_at(at: SocketAddr, target: impl Into<String>) -> io::Result<FaultProxy> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let (orders, watcher) = watch::channel(Orders {
            traffic: Traffic::Flows,
            cuts: 0,
        });
        let counts = Arc::new(Counts::default());
        let stop = CancellationToken::new();
        let accept = accept(
            listener,
            target.into(),
            watcher,
            Arc::clone(&counts),
            stop.clone(),
        );
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept));
        Ok(FaultProxy {
            address,
            orders,
            counts,
            _running: stop.drop_guard(),
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, also for the connections there are.
    pub fn set(&self, traffic: Traffic) {
        self.orders.send_modify(|orders| {
            orders.traffic = traffic;
            orders.cuts += u64::from(traffic == Traffic::Cut);
        });
    }

    /// Closes the connections there are now; new ones are served.
    pub fn cut_once(&self) {
        self.set(Traffic::Cut);
        self.set(Traffic::Flows);
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// How many connections it has cut: the proof that a fault fired.
    pub fn cut_connections(&self) -> u64 {
        self.counts.cut.load(Ordering::Relaxed)
    }

    /// How many pieces it has held back while it stalled: the proof that a stall was felt.
    pub fn held_back(&self) -> u64 {
        self.counts.held_back.load(Ordering::Relaxed)
    }

    /// How many bytes went through it, both ways together.
    pub fn forwarded_bytes(&self) -> u64 {
        self.counts.forwarded.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    orders: watch::Receiver<Orders>,
    counts: Arc<Counts>,
    stop: CancellationToken,
) {
    // An error is about one connection that was gone before it was taken.
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        counts.connections.fetch_add(1, Ordering::Relaxed);
        if orders.borrow().traffic == Traffic::Cut {
            counts.cut.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let serve = serve(client, target.clone(), orders.clone(), Arc::clone(&counts));
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve));
    }
}

async fn serve(
    client: TcpStream,
    target: String,
    orders: watch::Receiver<Orders>,
    counts: Arc<Counts>,
) {
    let cuts = orders.borrow().cuts;
    let Ok(server) = TcpStream::connect(&target).await else {
        return;
    };
    // The proxy must not be slower than the network it stands for.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let upwards = pump(from_client, to_server, orders.clone(), &counts);
    let downwards = pump(from_server, to_client, orders.clone(), &counts);
    let mut watching = orders.clone();
    let cut = watching.wait_for(|now| now.cuts != cuts);
    // Cancel safety: whichever ends first, the connection is over and everything is dropped.
    tokio::select! {
        _ = async { tokio::join!(upwards, downwards) } => {}
        noticed = cut => {
            // Counted only if it was an order and not the end of the proxy.
            if noticed.is_ok() {
                counts.cut.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Copies until one side ends; holds each piece back for as long as the traffic stalls.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut orders: watch::Receiver<Orders>,
    counts: &Counts,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        if orders.borrow().traffic == Traffic::Stalls {
            counts.held_back.fetch_add(1, Ordering::Relaxed);
        }
        let flows = orders.wait_for(|now| now.traffic != Traffic::Stalls);
        if flows.await.is_err() {
            break;
        }
        let Some(piece) = buffer.get(..length) else {
            break;
        };
        if to.write_all(piece).await.is_err() {
            break;
        }
        counts.forwarded.fetch_add(length as u64, Ordering::Relaxed);
    }
    // The other direction may go on: one side has said all that it had to say.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn talks(stream: &mut TcpStream) -> bool {
        let mut answer = [0; 4];
        stream.write_all(b"ping").await.is_ok()
            && stream.read_exact(&mut answer).await.is_ok()
            && &answer == b"ping"
    }

    #[tokio::test]
    async fn bytes_flow_until_they_are_cut() {
        let proxy = FaultProxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(talks(&mut stream).await);
        assert_eq!((proxy.connections(), proxy.forwarded_bytes()), (1, 8));

        proxy.cut_once();
        assert!(!talks(&mut stream).await);
        assert_eq!(proxy.cut_connections(), 1);
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(talks(&mut next).await);

        proxy.set(Traffic::Cut);
        assert!(!talks(&mut next).await);
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(!talks(&mut refused).await);
    }

    #[tokio::test]
    async fn a_stall_keeps_the_connection_and_loses_nothing() {
        let proxy = FaultProxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(talks(&mut stream).await);
        proxy.set(Traffic::Stalls);
        let waiting = timeout(Duration::from_millis(100), talks(&mut stream)).await;
        assert!(waiting.is_err(), "something came through");
        assert_eq!(proxy.held_back(), 1);
        proxy.set(Traffic::Flows);
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");
        assert_eq!(proxy.cut_connections(), 0);
    }
}
