//! One request to the store: its limit, its metrics, and what its failure means.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::metrics::StoreMetrics;
use crate::scrub::Scrubber;

/// How long the state store may take. Far below the defaults of object store clients, because
/// what waits here are queries and takeovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For one request to begin to answer, and each time until it comes further. One that creates an object
    /// has more, by its size.
    pub request: Duration,
    /// For one operation with all its repeats; for one that lists, since it came further last. What is read
    /// when this is over is read to its end.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request: Duration::from_secs(2),
            total: Duration::from_secs(5),
        }
    }
}

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Put,
    Get,
    List,
    Delete,
}

impl Operation {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::List => "list",
            Operation::Delete => "delete",
        }
    }
}

/// What a failed request tells about the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// There is no such object.
    Missing,
    /// The store says that there is one already; or that somebody was writing it just then, which
    /// some stores report alike although nothing landed.
    Taken,
    /// The request was refused before it could have any effect.
    Refused,
    /// Anything else: it may have had its effect, may have it later, and may succeed if repeated.
    Passing,
    /// As `Passing`, because no answer came in time.
    TimedOut,
}

impl FailureKind {
    fn as_str(self) -> &'static str {
        match self {
            FailureKind::Missing => "missing",
            FailureKind::Taken => "exists",
            FailureKind::Refused => "refused",
            FailureKind::Passing => "failed",
            FailureKind::TimedOut => "timeout",
        }
    }

    pub(crate) fn may_still_land(self) -> bool {
        matches!(self, FailureKind::Passing | FailureKind::TimedOut)
    }
}

/// A request that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) reason: String,
}

/// How long a request may stand still. One that comes further, name by name or piece by piece, has that
/// long anew: what it brings may be of any size.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    wait: Mutex<Wait>,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    begun: Instant,
    until: Instant,
}

/// What a store that is in order takes, or brings, in a second at least.
const SLOWEST: u64 = 4 << 20;

/// How long so many bytes may be on their way.
pub(crate) fn transfer(bytes: usize) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Duration::from_micros(bytes.saturating_mul(1_000_000) / SLOWEST)
}

impl Patience {
    /// For a request that begins now, and has to begin to answer before the deadline of its operation.
    pub(crate) fn new(limit: Duration, deadline: Instant) -> Self {
        let begun = Instant::now();
        let until = deadline.min(begun + limit);
        Patience {
            limit,
            wait: Mutex::new(Wait { begun, until }),
        }
    }

    /// It came further.
    pub(crate) fn renew(&self) {
        self.renew_for(0);
    }

    /// It came further, and the next step brings so many bytes at once.
    pub(crate) fn renew_for(&self, bytes: usize) {
        let begun = Instant::now();
        let until = begun + self.limit + transfer(bytes);
        *self.wait.lock() = Wait { begun, until };
    }

    fn until(&self) -> Instant {
        self.wait.lock().until
    }

    /// For how long it waited last.
    fn waited(&self) -> Duration {
        let Wait { begun, until } = *self.wait.lock();
        until.saturating_duration_since(begun)
    }

    /// Waits for a request as long as it comes further. None if it stands still.
    async fn wait<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let mut call = pin!(call);
        loop {
            let until = self.until();
            match timeout_at(until, &mut call).await {
                Ok(ended) => return Some(ended),
                Err(_) if self.until() > until => {}
                Err(_) => return None,
            }
        }
    }
}

/// Runs one request as long as there is patience with it.
///
/// Cancel safety: a request that is given up, here or by a caller, may still have its effect.
pub(crate) async fn run<T>(
    operation: Operation,
    patience: &Patience,
    scrubber: &Scrubber,
    metrics: &StoreMetrics,
    call: impl Future<Output = object_store::Result<T>>,
) -> Result<T, Failure> {
    let started = Instant::now();
    let result = match patience.wait(call).await {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(Failure {
            kind: classify(operation, &error),
            reason: scrubber.clean(&with_cause(&error)),
        }),
        None => Err(Failure {
            kind: FailureKind::TimedOut,
            reason: format!("no answer within {:?}", patience.waited()),
        }),
    };
    let outcome = result.as_ref().err().map_or("ok", |f| f.kind.as_str());
    metrics
        .requests
        .with_label_values(&[operation.as_str(), outcome])
        .inc();
    metrics
        .seconds
        .with_label_values(&[operation.as_str()])
        .observe(started.elapsed().as_secs_f64());
    result
}

fn classify(operation: Operation, error: &object_store::Error) -> FailureKind {
    use object_store::Error as E;
    match error {
        E::NotFound { .. } => match operation {
            Operation::Get | Operation::Delete => FailureKind::Missing,
            // What is missing is the bucket.
            Operation::Create | Operation::Put | Operation::List => FailureKind::Refused,
        },
        E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. } => {
            FailureKind::Taken
        }
        E::NotSupported { .. }
        | E::NotImplemented { .. }
        | E::InvalidPath { .. }
        | E::PermissionDenied { .. }
        | E::Unauthenticated { .. }
        | E::UnknownConfigurationKey { .. } => FailureKind::Refused,
        other if names_refusal(other) => FailureKind::Refused,
        _ => FailureKind::Passing,
    }
}

/// A directory's refusals come as generic errors around an [`io::Error`].
fn names_refusal(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind.is_some_and(refuses) {
            return true;
        }
        next = error.source();
    }
    false
}

fn refuses(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::StorageFull
    )
}

/// What an error says, and what lies at its bottom if it does not say that itself: clients say
/// "error sending request" and leave "connection refused" to be asked for.
fn with_cause(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let (text, cause) = (error.to_string(), deepest.to_string());
    if text.contains(&cause) {
        text
    } else {
        format!("{text}: {cause}")
    }
}

/// How long to wait before try number `retry` (from 1): doubling from 25 ms up to 400 ms, at
/// random between half of it and all, so that those who collided do not collide again.
pub(crate) fn backoff(retry: u32) -> Duration {
    let full = Duration::from_millis(25) * (1 << retry.saturating_sub(1).min(4));
    full.mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takeovers wait for what is given up by these, and not for what a client would wait for.
    #[test]
    fn the_state_store_is_given_up_soon() {
        let limits = Limits {
            request: Duration::from_secs(2),
            total: Duration::from_secs(5),
        };
        assert_eq!(Limits::default(), limits);
    }

    #[test]
    fn a_full_or_forbidden_directory_refuses() {
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::StorageFull] {
            let error = object_store::Error::Generic {
                store: "LocalFileSystem",
                source: Box::new(io::Error::from(kind)),
            };
            assert_eq!(classify(Operation::Put, &error), FailureKind::Refused);
        }
        let reset = object_store::Error::Generic {
            store: "S3",
            source: Box::new(io::Error::from(io::ErrorKind::ConnectionReset)),
        };
        assert_eq!(classify(Operation::Put, &reset), FailureKind::Passing);
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        assert!(backoff(1) <= Duration::from_millis(25));
        for retry in 1..100 {
            let wait = backoff(retry);
            assert!(wait >= Duration::from_millis(12) && wait <= Duration::from_millis(400));
        }
    }
}
