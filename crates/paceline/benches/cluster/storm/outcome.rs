//! What must be true of a query once its client has the answer and everything is whole again.

use std::time::{Duration, Instant};

use paceline::client::{Http, SubmitRequest};
use paceline_frontend::QueryReport;
use paceline_model::{QueryId, QueryState};

use super::asking::{LIMIT, Question};
use super::forecast::{COUNT, Way};
use super::world::{RESULT_TTL, World};

/// Within which all schedulers say the same.
const AGREEMENT_LIMIT: Duration = Duration::from_secs(60);

/// How long one scheduler may take to say that there is no such query: it looks for it.
const PATIENCE: Duration = Duration::from_secs(5);

const LOOK: Duration = Duration::from_millis(20);

/// Whether a query has one outcome and one chain of owners, wherever one asks. Returns its last epoch,
/// if anybody still knows. It may be forgotten only if schedulers were lost that knew of it, and then all
/// have to say so for as long as its result would be kept.
pub(super) async fn outcome(
    world: &World,
    question: &Question,
    seen: Option<QueryId>,
    may_be_forgotten: bool,
) -> Result<Option<u64>, String> {
    let query = match seen {
        Some(query) => Some(query),
        None => listed(world, question, may_be_forgotten).await?,
    };
    let Some(query) = query else {
        return Ok(None);
    };
    let reports = last_word(world, question, query, may_be_forgotten).await?;
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

/// The query of a statement whose client has the answer, by the list of a scheduler.
async fn listed(
    world: &World,
    question: &Question,
    may_be_forgotten: bool,
) -> Result<Option<QueryId>, String> {
    let begun = Instant::now();
    loop {
        if let Some(query) = world.find(&question.sql, None).await {
            return Ok(Some(query));
        }
        if begun.elapsed() > RESULT_TTL {
            return match may_be_forgotten {
                true => Ok(None),
                false => Err("no list has the query that was answered".to_string()),
            };
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What schedulers say of a query.
#[derive(Debug, Default)]
struct Said {
    reports: Vec<QueryReport>,
    /// How many say that there is no such query.
    unknown: usize,
}

impl Said {
    async fn of(world: &World, query: QueryId) -> Said {
        let mut said = Said::default();
        for scheduler in 0..COUNT {
            match world.word(query, scheduler, PATIENCE).await {
                Some(Some(report)) => said.reports.push(report),
                Some(None) => said.unknown += 1,
                None => {}
            }
        }
        said
    }

    /// Whether it has ended by the word of somebody, and nobody says otherwise.
    fn is_last(&self, way: Way) -> bool {
        let Some(first) = self.reports.first() else {
            return false;
        };
        let same =
            |report: &QueryReport| (report.state, report.epoch) == (first.state, first.epoch);
        // One whose client has its answer may have a new owner all the same, whom nobody waits for.
        let ended = match way {
            Way::Submitted | Way::Written => first.state == QueryState::Finished,
            Way::Flight | Way::Named => {
                matches!(first.state, QueryState::Finished | QueryState::Cancelled)
            }
        };
        let all = way != Way::Submitted || self.reports.len() == COUNT;
        ended && all && self.reports.iter().all(same)
    }
}

/// What all schedulers say of a query once it has ended, which has to be the same. Nothing, once all say
/// for long enough that there is no such query.
async fn last_word(
    world: &World,
    question: &Question,
    query: QueryId,
    may_be_forgotten: bool,
) -> Result<Vec<QueryReport>, String> {
    let begun = Instant::now();
    let mut unknown_since: Option<Instant> = None;
    loop {
        let said = Said::of(world, query).await;
        if said.is_last(question.way) {
            return Ok(said.reports);
        }
        unknown_since = match said.unknown == COUNT {
            true => unknown_since.or_else(|| Some(Instant::now())),
            false => None,
        };
        let is_forgotten = unknown_since.is_some_and(|since| since.elapsed() > RESULT_TTL);
        if is_forgotten && may_be_forgotten && question.way != Way::Submitted {
            return Ok(said.reports);
        }
        if begun.elapsed() > AGREEMENT_LIMIT {
            return Err(format!("schedulers disagree about its outcome: {said:?}"));
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
