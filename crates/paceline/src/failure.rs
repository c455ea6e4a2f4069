use std::fmt;

/// A command that could not do what it was asked to, in words for the person who typed it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    exit_code: u8,
}

impl Failure {
    /// What went wrong, where, and what to do.
    pub fn new(message: impl Into<String>) -> Self {
        Failure {
            message: message.into(),
            exit_code: 1,
        }
    }

    /// The end after Ctrl-C, as shells know it.
    pub(crate) fn interrupted() -> Self {
        Failure {
            message: "interrupted".to_string(),
            exit_code: 130,
        }
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Says what was being done, for errors that speak of a detail.
    pub(crate) fn while_doing<E: std::error::Error>(
        what: impl fmt::Display,
    ) -> impl FnOnce(E) -> Failure {
        move |error| Failure::new(format!("{what}: {}", chain(&error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

macro_rules! from {
    ($($error:ty),+ $(,)?) => {
        $( impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Failure::new(chain(&error))
            }
        } )+
    };
}
from!(
    crate::config::ConfigError,
    crate::client::ClientError,
    paceline_testkit::ClusterError,
    paceline_testkit::GenerateError,
    paceline_testkit::ReferenceError,
    paceline_executor::StartError,
    paceline_scheduler::StartError,
    paceline_telemetry::LogError,
    prometheus::Error,
    std::io::Error,
);

/// An error with its causes, as far as it does not say them itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
