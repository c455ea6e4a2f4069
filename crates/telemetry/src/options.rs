//! What can be chosen about logs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: time, level, spans, message, fields.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

/// Text that names no log format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a log format: choose text or json")]
pub struct InvalidLogFormat(pub String);

impl FromStr for LogFormat {
    type Err = InvalidLogFormat;
    fn from_str(text: &str) -> Result<Self, InvalidLogFormat> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(InvalidLogFormat(text.to_string())),
        }
    }
}

/// How a process logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryOptions {
    /// Which events are logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or levels by
    /// module, as in `info,paceline_scheduler=debug`.
    pub filter: String,
    /// The form of a line.
    pub format: LogFormat,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        TelemetryOptions {
            filter: "info".to_string(),
            format: LogFormat::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_as_printed() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
