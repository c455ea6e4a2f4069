//! How long a query is without an owner, and how long it may be.
//!
//! It is counted from the blow at its owner until another scheduler says that it drives the query. By
//! then that one has told the executors so, which is its first command. It is asked again and again, so
//! each figure is too large by the time of one question.

use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, select_all};
use paceline::client::Http;
use paceline_model::QueryId;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::forecast::Blow;
use super::world::{GLANCE, TAKEOVER_AFTER};

const LOOK: Duration = Duration::from_millis(4);

/// The middle of fewer figures says nothing.
const ENOUGH: usize = 5;

/// What happened to the owner of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its process is gone.
    Killed,
    /// It stands still, and its connections are open.
    Frozen,
    /// It goes on, and nobody but the store is connected to it.
    CutOff,
    /// It goes on, its connections are open, and nothing comes through but to the store and back.
    Stalled,
}

impl Loss {
    const ALL: [Loss; 4] = [Loss::Killed, Loss::Frozen, Loss::CutOff, Loss::Stalled];

    /// None if the owner lives on and drives its queries.
    pub(crate) fn by(blow: Blow) -> Option<Loss> {
        match blow {
            Blow::Kill | Blow::KillAndRestart => Some(Loss::Killed),
            Blow::Freeze => Some(Loss::Frozen),
            Blow::CutOff => Some(Loss::CutOff),
            Blow::Stall => Some(Loss::Stalled),
            Blow::Cut => None,
        }
    }

    /// The longest median, and the longest time of all, where nothing but the owner was struck.
    fn limits(self) -> (Duration, Duration) {
        let silent = TAKEOVER_AFTER + Duration::from_secs(1);
        match self {
            Loss::Killed => (Duration::from_millis(300), Duration::from_secs(1)),
            Loss::Frozen | Loss::CutOff | Loss::Stalled => (silent, silent),
        }
    }
}

/// A query that got another owner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recovery {
    pub(crate) loss: Loss,
    /// Whether nothing but the owner was struck until then.
    pub(crate) alone: bool,
    pub(crate) took: Duration,
}

/// Looks for the next owner of a query.
pub(crate) struct Watch {
    loss: Loss,
    struck: Instant,
    /// Since when other processes are struck as well.
    company: Option<Instant>,
    seen: AbortOnDropHandle<Instant>,
    /// The query's epoch before.
    pub(crate) epoch: u64,
}

impl Watch {
    /// Asks schedulers that were not struck. None if all were.
    pub(crate) fn begin(
        (loss, struck): (Loss, Instant),
        survivors: Vec<Http>,
        (query, epoch): (QueryId, u64),
    ) -> Option<Watch> {
        if survivors.is_empty() {
            return None;
        }
        let looks = survivors.into_iter();
        let looks: Vec<BoxFuture<'static, Instant>> = looks
            .map(|survivor| until_driven(survivor, query, epoch).boxed())
            .collect();
        let seen = tokio::spawn(async move { select_all(looks).await.0 });
        Some(Watch {
            loss,
            struck,
            company: None,
            seen: AbortOnDropHandle::new(seen),
            epoch,
        })
    }

    /// From that time on others are struck as well.
    pub(crate) fn has_company(&mut self, since: Instant) {
        self.company.get_or_insert(since);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.seen.is_finished()
    }

    /// What was seen; to be asked when the query has ended.
    pub(crate) async fn end(self) -> Option<Recovery> {
        let seen = timeout(GLANCE, self.seen).await.ok()?.ok()?;
        Some(Recovery {
            loss: self.loss,
            alone: self.company.is_none_or(|since| seen < since),
            took: seen.saturating_duration_since(self.struck),
        })
    }
}

async fn until_driven(survivor: Http, query: QueryId, epoch: u64) -> Instant {
    loop {
        if let Ok(Ok(report)) = timeout(GLANCE, survivor.query(query)).await
            && report.epoch.0 > epoch
        {
            return Instant::now();
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Number, median and worst of each kind.
pub(crate) fn figures(recoveries: &[Recovery]) -> String {
    let mut kinds = Vec::new();
    for loss in Loss::ALL {
        for alone in [true, false] {
            let times = times(recoveries, loss, alone);
            let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) else {
                continue;
            };
            let what = match alone {
                true => "alone",
                false => "with others",
            };
            let count = times.len();
            kinds.push(format!(
                "{loss:?} {what} {count} (median {median:.0?}, worst {worst:.0?})"
            ));
        }
    }
    match kinds.is_empty() {
        true => "none".to_string(),
        false => kinds.join(", "),
    }
}

/// What took longer than it may. What else is struck together with an owner may hold others up, so
/// only those that were struck alone are judged.
pub(crate) fn too_slow(recoveries: &[Recovery]) -> Vec<String> {
    let mut slow = Vec::new();
    for loss in Loss::ALL {
        let (most, longest) = loss.limits();
        let times = times(recoveries, loss, true);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        if times.len() >= ENOUGH && median > most {
            slow.push(format!(
                "the median takeover from a {loss:?} owner took {median:.0?}, and may take {most:?}"
            ));
        }
        let worst = times.last().copied().unwrap_or_default();
        if worst > longest {
            slow.push(format!(
                "the slowest takeover from a {loss:?} owner took {worst:.0?}, and may take {longest:?}"
            ));
        }
    }
    slow
}

fn times(recoveries: &[Recovery], loss: Loss, alone: bool) -> Vec<Duration> {
    let of_kind = |recovery: &&Recovery| recovery.loss == loss && recovery.alone == alone;
    let mut times: Vec<Duration> = recoveries
        .iter()
        .filter(of_kind)
        .map(|recovery| recovery.took)
        .collect();
    times.sort();
    times
}
