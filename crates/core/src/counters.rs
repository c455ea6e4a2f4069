//! What happened so far, in numbers.

/// Totals since the start. The shell exports them as metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Queries that finished.
    pub queries_finished: u64,
    /// Queries that failed, the refused ones not included.
    pub queries_failed: u64,
    /// Queries that were cancelled.
    pub queries_cancelled: u64,
    /// Queries that were refused because too many waited.
    pub queries_refused: u64,
    /// Queries taken over from another owner.
    pub queries_adopted: u64,
    /// Attempts launched.
    pub attempts_launched: u64,
    /// Attempts that left their output.
    pub attempts_finished: u64,
    /// Attempts that reported a failure.
    pub attempts_failed: u64,
    /// Attempts that were stopped because nobody needed them any more, or not in that form.
    pub attempts_cancelled: u64,
    /// Attempts that ended with their executor, or that it did not know any more.
    pub attempts_lost: u64,
    /// Attempts of earlier days that an attaching executor was found to run still.
    pub attempts_taken_back: u64,
    /// Outputs that were lost while they were needed.
    pub outputs_lost: u64,
    /// Outputs of earlier days that an attaching executor was found to hold still.
    pub outputs_taken_back: u64,
    /// Tasks sent back to be run again for any reason but a failure of their own.
    pub reruns: u64,
    /// Reports that spoke of nothing current.
    pub stale_reports: u64,
    /// Executors that were lost.
    pub executors_lost: u64,
}
