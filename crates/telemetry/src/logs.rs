//! Logs, on stderr.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{LogFormat, TelemetryOptions};

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error(
        "'{filter}' is no log filter: {source}; write a level (error, warn, info, debug, trace) or \
         levels by module, as in info,paceline_scheduler=debug"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Logging has begun already.
    #[error("this process logs already")]
    AlreadyLogging,
}

/// Begins to log, for the whole process.
///
/// # Errors
/// [`LogError`] if the filter cannot be read, or if this was done before.
pub fn init_logs(options: &TelemetryOptions) -> Result<(), LogError> {
    let colours = std::io::stderr().is_terminal();
    subscriber(options, colours, std::io::stderr)?
        .try_init()
        .map_err(|_| LogError::AlreadyLogging)
}

fn subscriber<W>(
    options: &TelemetryOptions,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&options.filter).map_err(|source| LogError::Filter {
        filter: options.filter.clone(),
        source,
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // Where nothing can be written, the terminal was closed: saying so on stderr would be a panic.
        .log_internal_errors(false);
    Ok(match options.format {
        LogFormat::Text => Box::new(builder.with_ansi(colours).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        let captured = Captured::default();
        let options = TelemetryOptions {
            filter: filter.to_string(),
            format,
        };
        let writer = captured.clone();
        let subscriber = subscriber(&options, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(query_id = 7, "started");
            tracing::debug!("detail");
        });
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        let text = logged("info", LogFormat::Text);
        assert!(text.contains("started query_id=7"), "{text}");
        assert!(!text.contains("detail"), "{text}");
        assert!(logged("debug", LogFormat::Text).contains("detail"));
        assert_eq!(logged("warn", LogFormat::Text), "");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged("info", LogFormat::Json);
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with('{') && text.ends_with("}\n"), "{text}");
        assert!(text.contains(r#""query_id":7"#), "{text}");
    }

    #[test]
    fn a_bad_filter_is_named() {
        let options = TelemetryOptions {
            filter: "paceline=loud".to_string(),
            ..TelemetryOptions::default()
        };
        let error = init_logs(&options).unwrap_err();
        assert!(error.to_string().contains("paceline=loud"), "{error}");
    }
}
