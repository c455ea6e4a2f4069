use std::io::Write;

use serde::Serialize;

use crate::Failure;

/// Where a process listens; what it has no port for is empty.
#[derive(Debug, Default, Serialize)]
pub(super) struct Listening {
    pub(super) role: &'static str,
    pub(super) http: String,
    pub(super) flight: String,
    pub(super) cluster: String,
    pub(super) metrics: String,
}

impl Listening {
    /// Tells the log, and with `announce` whoever reads the standard output.
    pub(super) fn tell(&self, announce: bool) -> Result<(), Failure> {
        tracing::info!(
            role = self.role,
            http = self.http,
            flight = self.flight,
            cluster = self.cluster,
            metrics = self.metrics,
            "listening"
        );
        if announce {
            let line = serde_json::to_string(self).map_err(std::io::Error::from)?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()?;
        }
        Ok(())
    }
}
