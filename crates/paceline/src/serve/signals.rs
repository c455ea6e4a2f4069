use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask for the end. From when it is made none of them is missed, and none ends the
/// process by itself.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// A terminal that was closed. None if this process is to go on without one.
    hangup: Option<Signal>,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Signals> {
        let hangup = match ignores_hangup(&own_status()) {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Waits for SIGINT, SIGTERM or SIGHUP.
    pub(crate) async fn wait(&mut self) {
        // Cancel safety: a signal that was not waited for is seen by the next call.
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hung_up(self.hangup.as_mut()) => {}
        }
    }
}

async fn hung_up(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// What the system says of this process; nothing where it does not.
fn own_status() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// Whether whoever started a process of that status wants it to outlive its terminal, as `nohup` does.
fn ignores_hangup(status: &str) -> bool {
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The bit of signal 1, which is SIGHUP everywhere.
    ignored.is_some_and(|mask| mask & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_told_by_the_signals_that_are_ignored() {
        let status = |ignored: &str| format!("Name:\tpaceline\nSigIgn:\t{ignored}\nSigCgt:\t01\n");
        assert!(ignores_hangup(&status("0000000000000001")));
        assert!(ignores_hangup(&status("0000000000001003")));
        // SIGPIPE, which every Rust program ignores.
        assert!(!ignores_hangup(&status("0000000000001000")));
        assert!(!ignores_hangup(""));
    }
}
