//! What must be true of a query once its client has the answer and everything is whole again.

use std::time::{Duration, Instant};

use paceline::client::{Http, SubmitRequest};
use paceline_frontend::QueryReport;
use paceline_model::{QueryId, QueryState};

use super::asking::{LIMIT, Question};
use super::forecast::{COUNT, Way};
use super::world::World;

/// Within which all schedulers say the same.
const AGREEMENT_LIMIT: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(20);

/// Whether a query has one outcome and one chain of owners, wherever one asks. Returns its last epoch,
/// if anybody still knows.
pub(super) async fn outcome(
    world: &World,
    question: &Question,
    seen: Option<QueryId>,
) -> Result<Option<u64>, String> {
    let query = match seen {
        Some(query) => query,
        None => match world.find(&question.sql).await {
            Some(query) => query,
            None => return Ok(None),
        },
    };
    let reports = last_word(world, question, query).await?;
    let first = reports.first().map(|report| report.epoch.0);
    let claims = world.claims(query);
    let epochs: Vec<u64> = claims.iter().copied().collect();
    let chain: Vec<u64> = (1..=epochs.len() as u64).collect();
    if epochs != chain {
        return Err(format!("its claims are {epochs:?}"));
    }
    let claimed = epochs.last().copied();
    if let Some(epoch) = first
        && claimed.unwrap_or(0) < epoch
    {
        return Err(format!(
            "it is at epoch {epoch}, and its claims are {epochs:?}"
        ));
    }
    if question.way == Way::Submitted {
        asked_again(world, question, query).await?;
    }
    Ok(first.or(claimed))
}

/// What all schedulers say of a query once it has ended, which has to be the same.
async fn last_word(
    world: &World,
    question: &Question,
    query: QueryId,
) -> Result<Vec<QueryReport>, String> {
    let submitted = question.way == Way::Submitted;
    let deadline = Instant::now() + AGREEMENT_LIMIT;
    loop {
        let mut reports = Vec::new();
        for scheduler in 0..COUNT {
            reports.extend(world.report(query, &[scheduler]).await);
        }
        let same = |a: &QueryReport, b: &QueryReport| (a.state, a.epoch) == (b.state, b.epoch);
        let agree = reports.iter().all(|report| same(report, &reports[0]));
        // One whose client has its answer may have a new owner all the same, whom nobody waits for.
        let ended = |state| match question.way {
            Way::Submitted | Way::Written => state == QueryState::Finished,
            Way::Flight | Way::Named => {
                matches!(state, QueryState::Finished | QueryState::Cancelled)
            }
        };
        let over = reports.iter().all(|report| ended(report.state));
        if agree && over && (!submitted || reports.len() == COUNT) {
            return Ok(reports);
        }
        if Instant::now() > deadline {
            return Err(format!(
                "schedulers disagree about its outcome: {reports:?}"
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The same name is the same query, at every scheduler.
async fn asked_again(world: &World, question: &Question, query: QueryId) -> Result<(), String> {
    for address in world.doors().http {
        let request = SubmitRequest {
            sql: question.sql.clone(),
            ..Default::default()
        };
        let http = Http::new(&address);
        let again = http.submit(&request, Some(&question.key));
        let again = tokio::time::timeout(LIMIT, again).await;
        let again = again.map_err(|_| format!("{address} does not say which query it is"))?;
        let again = again.map_err(|error| format!("sent again to {address}: {error}"))?;
        if again.query_id != query {
            return Err(format!("sent again to {address} it is {}", again.query_id));
        }
    }
    Ok(())
}
