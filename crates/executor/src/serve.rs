//! The data plane's server: what other executors, and schedulers that fetch results, read from.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use paceline_exchange::{DataPlane, OutputStore};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::StartError;

/// As those who read from here have it: a peer that is gone is noticed while streams are open.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long connections may take to close once the executor stops.
const LAST_CONNECTIONS: Duration = Duration::from_secs(1);

/// Takes the address. Connections wait until [`serve`] takes them.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|source| StartError::Bind { address, source })
}

/// Serves until the stop, and a moment longer for connections that are open then: their streams end with
/// the stop.
pub(crate) async fn serve(
    listener: tokio::net::TcpListener,
    store: OutputStore,
    stop: CancellationToken,
) {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(DataPlane::new(store, stop.clone()).into_server())
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let too_late = async {
        stop.cancelled().await;
        #[expect(
            clippy::disallowed_methods,
            reason = "connections that are open get a moment when the process ends"
        )]
        tokio::time::sleep(LAST_CONNECTIONS).await;
    };
    // Cancel safety: a server that is dropped takes no connections; those that it took are on their own.
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                tracing::error!("the data plane ended: {error}");
            }
        }
        () = too_late => {}
    }
}
