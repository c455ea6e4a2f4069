//! What a scheduler has asked of the store, by its own word.

use std::fmt;

use crate::stage::Failure;

const OPERATIONS: [&str; 5] = ["create", "put", "get", "list", "delete"];

/// Counts since the scheduler started, or since others.
pub(super) struct Costs {
    /// Requests to the store, by operation.
    requests: [f64; OPERATIONS.len()],
    /// Segments sent to the journal.
    commits: f64,
    /// Records that went with them.
    records: f64,
}

impl Costs {
    /// Asks a scheduler where it tells its metrics.
    pub(super) async fn of(address: &str) -> Result<Costs, Failure> {
        let said = reqwest::get(format!("http://{address}/metrics")).await?;
        let said = said.text().await?;
        let requests = "paceline_store_requests_total";
        Ok(Costs {
            requests: OPERATIONS.map(|name| sum(&said, requests, &format!("\"{name}\""))),
            commits: sum(&said, "paceline_journal_appends_total", ""),
            records: sum(&said, "paceline_journal_delay_seconds_count", ""),
        })
    }

    pub(super) fn since(&self, before: &Costs) -> Costs {
        let mut requests = self.requests;
        for (count, before) in requests.iter_mut().zip(before.requests) {
            *count -= before;
        }
        Costs {
            requests,
            commits: self.commits - before.commits,
            records: self.records - before.records,
        }
    }

    /// Whether nothing was created but what commits of the journal create. One may be under way: it is
    /// counted when the store has answered, and its commit a moment later.
    pub(super) fn are_bounded(&self) -> Result<(), Failure> {
        let [creates, ..] = self.requests;
        match creates <= self.commits + 1.0 {
            true => Ok(()),
            false => Err(format!("{creates} creates in {} commits", self.commits).into()),
        }
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the journal: {} records in {} commits; the store:",
            self.records, self.commits
        )?;
        for (name, count) in OPERATIONS.iter().zip(self.requests) {
            write!(f, " {count} {name}")?;
        }
        Ok(())
    }
}

/// The sum of those series of a metric whose labels contain `label`.
fn sum(said: &str, metric: &str, label: &str) -> f64 {
    let series = said.lines().filter_map(|line| line.strip_prefix(metric));
    let mine = series.filter(|rest| rest.starts_with([' ', '{']) && rest.contains(label));
    mine.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
