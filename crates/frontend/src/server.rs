//! The accept loop that both doors share: limits, keep-alive, and an orderly end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::metrics::{FrontendMetrics, Protocol};

/// A connection that has been silent for this long is asked whether it still lives…
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// …and is closed if it does not answer for this long, so that its results do not wait for ever.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an HTTP/1 client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long any client may take to say anything. What it says then has limits of its own.
pub(crate) const SILENCE: Duration = HEADER_TIMEOUT;
/// How much of a result may be under way on one stream before the client has to acknowledge some.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// How many requests may be under way on one connection. Clients wait with further ones.
const MAX_STREAMS: u32 = 1024;
/// How long to wait before accepting again after the system refused, for want of files mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) max_connections: usize,
    /// How long a client may be connected without having said anything.
    pub(crate) silence: Duration,
    pub(crate) grace: Duration,
}

/// Serves connections until `shutdown`, then lets requests under way finish for as long as the grace
/// lasts, then cuts what is left.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    protocol: Protocol,
    limits: Limits,
    metrics: FrontendMetrics,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let builder = builder(protocol);
    // Cancel safety: `next` holds at most a permit, which it gives back when dropped. A connection
    // that was accepted in the same instant is lost with the listener, as if it had come later.
    while let Some((stream, permit)) = tokio::select! {
        next = next(&listener, &permits) => next,
        () = shutdown.cancelled() => None,
    } {
        let connection = Connection {
            router: router.clone(),
            builder: builder.clone(),
            limits,
            shutdown: shutdown.clone(),
        };
        let counted = metrics.connection(protocol);
        connections.spawn(async move {
            connection.run(stream).await;
            drop((permit, counted));
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, once there is room for it. None never comes: the limit is never closed.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and wanted at once. A socket that cannot be told so is closed
                // already, which its first read will show.
                let _ = stream.set_nodelay(true);
                return Some((stream, permit));
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                #[expect(
                    clippy::disallowed_methods,
                    reason = "there are too many files or too little memory: nothing tells when that is over"
                )]
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn builder(protocol: Protocol) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    match protocol {
        Protocol::Flight => builder.http2_only(),
        Protocol::Http => builder,
    }
}

struct Connection {
    router: Router,
    builder: Builder<TokioExecutor>,
    limits: Limits,
    shutdown: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        // Who says nothing would hold its place for ever: which protocol it speaks shows by its first bytes,
        // and only the protocols have limits of their own.
        let mut first = [0];
        let speaks = tokio::time::timeout(self.limits.silence, stream.peek(&mut first));
        // Cancel safety: what is looked at is there still.
        let speaks = tokio::select! {
            speaks = speaks => matches!(speaks, Ok(Ok(1))),
            () = self.shutdown.cancelled() => false,
        };
        if !speaks {
            debug!("closed a connection on which nothing was said");
            return;
        }
        let service = TowerToHyperService::new(self.router);
        let serving = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        // Cancel safety: `serving` is only borrowed here, and goes on below where it stopped.
        let ended = tokio::select! {
            result = serving.as_mut() => Some(result),
            () = self.shutdown.cancelled() => None,
        };
        let ended = match ended {
            Some(result) => result,
            None => {
                serving.as_mut().graceful_shutdown();
                match tokio::time::timeout(self.limits.grace, serving).await {
                    Ok(result) => result,
                    Err(_) => {
                        debug!("cut a connection that outlasted the grace of the shutdown");
                        Ok(())
                    }
                }
            }
        };
        if let Err(error) = ended {
            debug!(%error, "a connection broke");
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn who_says_nothing_does_not_stay() {
        let limits = Limits {
            max_connections: 1,
            silence: Duration::from_millis(50),
            grace: Duration::ZERO,
        };
        for protocol in [Protocol::Flight, Protocol::Http] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let metrics = FrontendMetrics::register(&Registry::new()).unwrap();
            let shutdown = CancellationToken::new();
            let stop = shutdown.clone();
            let serving = serve(listener, Router::new(), protocol, limits, metrics, stop);
            let serving = tokio::spawn(serving);
            // The second one is let in when the first one has gone.
            for _ in 0..2 {
                let mut silent = TcpStream::connect(address).await.unwrap();
                let closed = async { silent.read(&mut [0; 64]).await };
                let closed = tokio::time::timeout(Duration::from_secs(60), closed).await;
                assert_eq!(closed.unwrap().unwrap(), 0, "{protocol:?}");
            }
            shutdown.cancel();
            serving.await.unwrap();
        }
    }
}
