//! A TCP proxy whose connections can be cut, refused and stalled.

mod callers;
mod connections;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use callers::{Callers, Ends, connections_of};
pub(crate) use connections::Open;
use connections::{Admitted, Connections};

/// What a proxy does with its connections. Of two that hold for one, the later one here counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// Bytes go through.
    Flows,
    /// Connections stay open, and nothing goes through: a network that lost its way.
    Stalls,
    /// Connections are closed, and new ones as soon as they are made.
    Cut,
}

/// Stands between a client and a server; ends with this value.
pub struct FaultProxy {
    address: SocketAddr,
    connections: Arc<Connections>,
    _running: DropGuard,
}

impl FaultProxy {
    /// Listens on a free port and forwards to `target` (`host:port`).
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(target: impl Into<String>) -> io::Result<FaultProxy> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        FaultProxy::start_for(any, target, Arc::default()).await
    }

    /// Listens at a given address and forwards to `target`, but for what comes from some callers.
    pub(crate) async fn start_for(
        at: SocketAddr,
        target: impl Into<String>,
        callers: Arc<Callers>,
    ) -> io::Result<FaultProxy> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let connections = Connections::new(callers);
        let stop = CancellationToken::new();
        let accept = accept(
            listener,
            target.into(),
            Arc::clone(&connections),
            stop.clone(),
        );
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept));
        Ok(FaultProxy {
            address,
            connections,
            _running: stop.drop_guard(),
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, also for the connections there are.
    pub fn set(&self, traffic: Traffic) {
        self.connections.set(traffic);
    }

    /// The same for those that a process has made. What it will make is for its [`Callers`].
    pub(crate) fn set_of(&self, process: u32, made: &BTreeSet<Ends>, traffic: Traffic) {
        self.connections.set_of(process, made, traffic);
    }

    /// Closes the connections there are now; new ones are served.
    pub fn cut_once(&self) {
        self.set(Traffic::Cut);
        self.set(Traffic::Flows);
    }

    /// The connections there are now.
    pub(crate) fn open(&self) -> Open {
        self.connections.open()
    }

    /// Those of them that a process has made.
    pub(crate) fn open_of(&self, process: u32, made: &BTreeSet<Ends>) -> Open {
        self.connections.open_of(process, made)
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> u64 {
        self.connections.counts.connections.load(Ordering::Relaxed)
    }

    /// How many connections it has cut: the proof that a fault fired.
    pub fn cut_connections(&self) -> u64 {
        self.connections.counts.cut.load(Ordering::Relaxed)
    }

    /// How many pieces it has held back while it stalled: the proof that a stall was felt.
    pub fn held_back(&self) -> u64 {
        self.connections.counts.held_back.load(Ordering::Relaxed)
    }

    /// How many bytes went through it, both ways together.
    pub fn forwarded_bytes(&self) -> u64 {
        self.connections.counts.forwarded.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    connections: Arc<Connections>,
    stop: CancellationToken,
) {
    // An error is about one connection that was gone before it was taken.
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let Some(admitted) = connections.admit(Ends::accepted(&client)) else {
            continue;
        };
        let serve = serve(client, target.clone(), admitted);
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve));
    }
}

async fn serve(client: TcpStream, target: String, admitted: Admitted) {
    let Ok(server) = TcpStream::connect(&target).await else {
        return;
    };
    // The proxy must not be slower than the network it stands for.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let upwards = pump(from_client, to_server, &admitted);
    let downwards = pump(from_server, to_client, &admitted);
    let mut watching = admitted.orders.clone();
    let cut = watching.wait_for(|order| order.is_cut);
    // Cancel safety: whichever ends first, the connection is over and everything is dropped.
    tokio::select! {
        _ = async { tokio::join!(upwards, downwards) } => {}
        noticed = cut => {
            // Counted only if it was an order and not the end of the proxy.
            if noticed.is_ok() {
                admitted.counts().cut.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Copies until one side ends; holds each piece back for as long as the traffic stalls.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, admitted: &Admitted) {
    let mut orders = admitted.orders.clone();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        if orders.borrow().traffic == Traffic::Stalls {
            admitted.hold_up();
        }
        let flows = orders.wait_for(|order| order.traffic != Traffic::Stalls);
        if flows.await.is_err() {
            break;
        }
        let Some(piece) = buffer.get(..length) else {
            break;
        };
        if to.write_all(piece).await.is_err() {
            break;
        }
        let counts = admitted.counts();
        counts.forwarded.fetch_add(length as u64, Ordering::Relaxed);
    }
    // The other direction may go on: one side has said all that it had to say.
    let _ = to.shutdown().await;
}
