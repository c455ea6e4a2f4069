use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask for the end. From when it is made none of them is missed, and none ends the
/// process by itself.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for SIGINT or SIGTERM.
    pub(crate) async fn wait(&mut self) {
        // Cancel safety: a signal that was not waited for is seen by the next call.
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for SIGINT or SIGTERM that comes from now on.
pub(crate) async fn interrupted() -> io::Result<()> {
    Signals::listen()?.wait().await;
    Ok(())
}
