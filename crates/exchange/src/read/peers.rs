//! Connections to other executors' data planes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};

/// HTTP/2 windows. Credits bound what a holder sends, and whatever arrives is taken off the
/// connection at once; so these only have to be large enough never to be in the way.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const HTTP2_FRAME: u32 = 256 << 10;

/// How connections to other executors are made and watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerOptions {
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How often a connection with open streams is probed.
    pub keepalive_interval: Duration,
    /// How long to wait for the answer to a probe before the connection is held for dead.
    pub keepalive_timeout: Duration,
    /// Connections that nobody has asked for so long are let go when the next one is made.
    pub idle: Duration,
}

impl Default for PeerOptions {
    fn default() -> Self {
        PeerOptions {
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(2),
            idle: Duration::from_secs(60),
        }
    }
}

/// An address that is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{address}' is not a host:port to read exchange outputs from")]
pub struct InvalidAddress {
    /// What was given.
    pub address: String,
}

/// A pool of connections, one to each address, made when they are first needed. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    inner: Arc<Inner>,
}

struct Inner {
    options: PeerOptions,
    runtime: Option<Handle>,
    channels: Mutex<HashMap<String, Pooled>>,
}

struct Pooled {
    channel: Channel,
    asked: Instant,
}

impl Peers {
    /// A pool whose connections live on the runtime that first asks for them.
    pub fn new(options: PeerOptions) -> Self {
        Self::with(options, None)
    }

    /// A pool whose connections and streams live on that runtime, so that they make progress
    /// however busy the readers' own runtime is.
    pub fn on_runtime(options: PeerOptions, runtime: Handle) -> Self {
        Self::with(options, Some(runtime))
    }

    fn with(options: PeerOptions, runtime: Option<Handle>) -> Self {
        Peers {
            inner: Arc::new(Inner {
                options,
                runtime,
                channels: Mutex::default(),
            }),
        }
    }

    /// The runtime that streams are to live on.
    pub(crate) fn runtime(&self) -> Handle {
        self.inner.runtime.clone().unwrap_or_else(Handle::current)
    }

    /// The connection to an address; not necessarily connected yet, or any more.
    pub(crate) fn channel(&self, address: &str) -> Result<Channel, InvalidAddress> {
        let now = Instant::now();
        let mut channels = self.inner.channels.lock();
        if let Some(pooled) = channels.get_mut(address) {
            pooled.asked = now;
            return Ok(pooled.channel.clone());
        }
        // Streams that are open keep their connection, pooled or not.
        let idle = self.inner.options.idle;
        channels.retain(|_, pooled| now.duration_since(pooled.asked) < idle);
        let channel = self.connect(address)?;
        let pooled = Pooled {
            channel: channel.clone(),
            asked: now,
        };
        channels.insert(address.to_string(), pooled);
        Ok(channel)
    }

    fn connect(&self, address: &str) -> Result<Channel, InvalidAddress> {
        let options = &self.inner.options;
        let endpoint =
            Endpoint::from_shared(format!("http://{address}")).map_err(|_| InvalidAddress {
                address: address.to_string(),
            })?;
        let endpoint = endpoint
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(options.keepalive_interval)
            .keep_alive_timeout(options.keepalive_timeout)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(HTTP2_FRAME);
        let runtime = self.runtime();
        let _entered = runtime.enter();
        Ok(endpoint.connect_lazy())
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("options", &self.inner.options)
            .field("connections", &self.inner.channels.lock().len())
            .finish()
    }
}
