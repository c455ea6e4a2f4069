//! Attempts that wait or run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use paceline_proto::cluster;
use tokio_util::sync::CancellationToken;

/// How far an attempt is. Written by its partitions, read by heartbeats.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) started: AtomicBool,
    pub(crate) rows: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Progress {
    pub(crate) fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn running(&self) -> cluster::Running {
        cluster::Running {
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// An attempt that waits or runs.
#[derive(Debug, Default)]
pub(crate) struct LiveAttempt {
    /// Stops it.
    pub(crate) cancel: CancellationToken,
    pub(crate) progress: Arc<Progress>,
    /// What its owner last heard of it.
    reported: Option<cluster::Running>,
    /// Tells apart two attempts of the same name, of which the former was dropped with its query.
    pub(super) serial: u64,
}

impl LiveAttempt {
    pub(crate) fn new(cancel: CancellationToken, progress: Arc<Progress>) -> Self {
        LiveAttempt {
            cancel,
            progress,
            ..LiveAttempt::default()
        }
    }

    /// How far it is, if it runs and came further since this was asked last.
    pub(super) fn news(&mut self) -> Option<cluster::Running> {
        let now = self.progress.running();
        let started = self.progress.started.load(Ordering::Relaxed);
        if !started || self.reported == Some(now) {
            return None;
        }
        self.reported = Some(now);
        Some(now)
    }
}

/// What came of noting an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It is live now, under this serial.
    Started(u64),
    /// It was live already: the launch is a repetition.
    Live,
    /// Its output is held already: the launch is a repetition.
    Finished,
}
