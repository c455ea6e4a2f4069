//! What was done again, and why: each repetition has a reason that is counted.

use paceline_frontend::QueryReport;

use crate::metrics::{labelled, metric};
use crate::support::{Running, attempts};

/// What the first scheduler has counted of tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// Attempts that executors were given.
    pub(crate) launched: f64,
    /// Attempts that failed: of those that could not read what they needed, most of all.
    pub(crate) failed: f64,
    /// Attempts that ended with their executor.
    gone: f64,
    /// Outputs that were lost while they were needed.
    outputs: f64,
}

impl Counts {
    pub(crate) async fn of(running: &Running) -> Counts {
        let attempts = async |outcome: &str| {
            let label = format!("outcome=\"{outcome}\"");
            labelled(running, 0, "paceline_task_attempts_total", &label).await
        };
        Counts {
            launched: attempts("launched").await,
            failed: attempts("failed").await,
            gone: attempts("lost").await,
            outputs: metric(running, 0, "paceline_exchange_outputs_lost_total").await,
        }
    }

    /// What was counted since then.
    pub(crate) fn since(self, then: Counts) -> Counts {
        Counts {
            launched: self.launched - then.launched,
            failed: self.failed - then.failed,
            gone: self.gone - then.gone,
            outputs: self.outputs - then.outputs,
        }
    }

    /// Attempts and outputs that were lost.
    pub(crate) fn lost(self) -> f64 {
        self.gone + self.outputs
    }

    /// If all of it was counted of this query: nothing was done again but what was lost or failed.
    pub(crate) fn account_for(self, report: &QueryReport) {
        let (attempts, tasks) = attempts(report);
        assert_eq!(f64::from(attempts), self.launched, "{report:?}");
        let again = f64::from(attempts - tasks);
        assert!(again <= self.lost() + self.failed, "{self:?}, {report:?}");
    }
}
