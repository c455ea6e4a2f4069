//! The steps of a takeover that ask the store.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use paceline_core::ownership::Step;
use paceline_model::{Epoch, QueryId, SchedulerId};
use paceline_proto::state::Record;
use paceline_store::{JournalError, Journals, Replayed, StoreError};

use crate::expiry::readable_outcome;
use crate::journaling::Journaling;
use crate::shared::Shared;

/// After a failure of the store.
const PAUSE: Duration = Duration::from_millis(200);

/// How often the pause before another try is doubled at most: the store may be back at any moment, and
/// what is damaged or of a later version stays so until somebody does something about it.
const DOUBLED: [u32; 2] = [3, 8];

/// How often something of a journal has to be damaged in a row before it is given up.
const GIVEN_UP_AFTER: u32 = 9;

/// How many requests about single queries a takeover has under way at a time. A journal may hold thousands
/// of them.
pub(crate) const AT_ONCE: usize = 64;

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Stepped {
    /// It is done.
    Done,
    /// The claim names this scheduler, or nobody.
    Claimed(Option<SchedulerId>),
    /// The store did not answer, or the own journal is over.
    Failed,
}

/// Waits a moment after a failure of the store.
pub(crate) async fn pause() {
    pause_for(PAUSE).await;
}

/// Waits for a while after a failure of the store.
#[expect(
    clippy::disallowed_methods,
    reason = "nobody can take over while the store is away, so nobody is overtaken"
)]
pub(crate) async fn pause_for(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// How long a journal is left alone that could not be sealed, and neither so many times before in a row.
pub(crate) fn pause_after(error: &JournalError, failures: u32) -> Duration {
    let lasts = matches!(
        error,
        JournalError::Missing { .. }
            | JournalError::Store(StoreError::Corrupt { .. } | StoreError::Newer { .. })
    );
    let [passing, lasting] = DOUBLED;
    let most = if lasts { lasting } else { passing };
    PAUSE * (1 << failures.min(most))
}

/// Whether what cannot be read of a journal counts for nothing from now on, though it may be that somebody
/// restores it: with the pauses before, that is after some two minutes. All else that the journal holds has
/// waited for it.
pub(crate) fn is_given_up(error: &JournalError, failures: u32) -> bool {
    let damaged = matches!(error, JournalError::Store(StoreError::Corrupt { .. }));
    damaged && failures >= GIVEN_UP_AFTER
}

/// Gives up what is damaged of a journal that was sealed.
pub(crate) async fn give_up_damaged(
    journaling: &Journaling,
    journal: &SchedulerId,
    me: &SchedulerId,
) {
    tracing::error!(%journal, "giving up what cannot be read of the journal");
    if let Err(error) = journaling.journals.give_up_damaged(journal, me).await {
        tracing::warn!(%journal, %error, "it could not be given up yet");
    }
}

/// Takes a step in the name of `me`, who decided on it; this scheduler may be somebody else by then.
/// `record` is what an adoption writes.
pub(crate) async fn take(
    shared: &Shared,
    journaling: &Journaling,
    me: &SchedulerId,
    step: &Step,
    record: Option<Record>,
) -> Stepped {
    let claims = &journaling.claims;
    // Records share their appends; of everything else there may be a request for each query. A claim is the
    // last that a query waits for, so it does not stand behind what is asked about others.
    let _one_of_few = match step {
        Step::ReadClaim { .. } | Step::Submit { .. } => journaling.asking.acquire().await.ok(),
        Step::Claim { .. } => journaling.claiming.acquire().await.ok(),
        Step::Adopt { .. } | Step::Drain { .. } => None,
    };
    let ended = match step {
        Step::Submit { query, holder } => {
            let by = claims.complete_submission(*query, holder).await;
            by.map(|by| Stepped::Claimed(Some(by)))
                .map_err(|e| e.to_string())
        }
        Step::ReadClaim { query, epoch } => {
            let by = claims.adopter(*query, *epoch).await;
            by.map(Stepped::Claimed).map_err(|e| e.to_string())
        }
        Step::Claim { query, epoch } => {
            let by = claims.adopt(*query, *epoch, me).await;
            by.map(|by| Stepped::Claimed(Some(by)))
                .map_err(|e| e.to_string())
        }
        Step::Adopt { query, .. } => match record {
            Some(record) => {
                let durable = shared.driver.scribe.durable(me, *query, record).await;
                durable.map(|()| Stepped::Done).map_err(|e| e.to_string())
            }
            None => Err("there is nothing to adopt".to_string()),
        },
        Step::Drain { journal } => drain(shared, journaling, journal, me).await,
    };
    match ended {
        Ok(stepped) => stepped,
        Err(error) => {
            tracing::warn!(
                ?step,
                error,
                "a step of a takeover failed; it is taken again"
            );
            pause().await;
            Stepped::Failed
        }
    }
}

/// Seals a journal. What it holds that has its outcome is left out: its owner died between the outcome and
/// the record of it. An outcome that cannot be read, and will not be by being read again, is for the query's
/// next owner to meet, and holds up no other.
pub(crate) async fn seal(
    journaling: &Journaling,
    journal: &SchedulerId,
    by: &SchedulerId,
) -> Result<Replayed, JournalError> {
    let mut sealed = journaling.journals.seal(journal, by).await?;
    let kept = sealed.book.queries().filter(|(_, held)| {
        let statement = held.known.statement.as_ref();
        statement.is_some_and(|statement| statement.kept || statement.write.is_some())
    });
    let kept: Vec<(QueryId, Epoch)> = kept.map(|(query, held)| (query, held.epoch)).collect();
    let looks = stream::iter(kept).map(|(query, epoch)| async move {
        let outcome = readable_outcome(&journaling.claims, query).await?;
        Ok::<_, JournalError>(outcome.map(|_| (query, epoch)))
    });
    let ended: Vec<_> = looks.buffer_unordered(AT_ONCE).try_collect().await?;
    for (query, epoch) in ended.into_iter().flatten() {
        sealed.book.drop_query(query, epoch);
    }
    Ok(sealed)
}

/// Marks a journal as drained, and takes away what it held and its scheduler's beacon.
async fn drain(
    shared: &Shared,
    journaling: &Journaling,
    journal: &SchedulerId,
    me: &SchedulerId,
) -> Result<Stepped, String> {
    let marked = journaling.journals.mark_drained(journal, me).await;
    marked.map_err(|e| e.to_string())?;
    clear(shared, journaling, journal).await;
    Ok(Stepped::Done)
}

/// Takes away what a drained journal held, and then its scheduler's beacon. Nothing depends on these being
/// gone; who meets the beacon later does the same again, should this be cut short.
pub(crate) async fn clear(shared: &Shared, journaling: &Journaling, journal: &SchedulerId) {
    if let Err(error) = journaling.journals.remove_segments(journal).await {
        tracing::warn!(%journal, %error, "segments of a drained journal could not be removed");
        return;
    }
    shared.membership.remove_beacon(journal).await;
}

/// Journals that are not drained, and whose scheduler has no beacon or stood where this one stands:
/// nobody writes them any more.
pub(crate) async fn ownerless(shared: &Shared, journals: &Journals) -> Vec<SchedulerId> {
    let all = loop {
        match undrained(shared, journals).await {
            Ok(all) => break all,
            Err(error) => {
                tracing::warn!(%error, "cannot look for journals yet");
                pause().await;
            }
        }
    };
    let me = shared.driver.me();
    all.into_iter()
        .filter(|journal| *journal != me && !shared.membership.may_live(journal))
        .collect()
}

/// Journals that are not drained; and looks at beacons after that, because a scheduler has a beacon before
/// it has a journal.
async fn undrained(shared: &Shared, journals: &Journals) -> Result<Vec<SchedulerId>, JournalError> {
    let all = journals.undrained().await?;
    shared.membership.look().await?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use paceline_model::QueryState;
    use paceline_proto::state::Statement;
    use paceline_store::{Ending, Members};

    use super::*;
    use crate::testing::{beacon, journal, journals, shared, store};
    use crate::written;

    #[test]
    fn what_stays_as_it_is_is_tried_less_and_less() {
        let missing = JournalError::Missing {
            location: String::new(),
            journal: SchedulerId::new("dead"),
            missing: 1,
        };
        let contended = JournalError::Contended {
            journal: SchedulerId::new("dead"),
            tries: 1,
        };
        assert_eq!(pause_after(&missing, 0), PAUSE);
        assert_eq!(pause_after(&missing, 100), PAUSE * 256);
        assert_eq!(pause_after(&contended, 1), PAUSE * 2);
        assert_eq!(pause_after(&contended, 100), PAUSE * 8, "it may pass");
    }

    #[test]
    fn what_is_damaged_is_given_up_in_the_end_and_nothing_else_is() {
        let [location, key] = [String::new(), String::new()];
        let corrupt = JournalError::Store(StoreError::Corrupt {
            location: location.clone(),
            key: key.clone(),
            reason: String::new(),
        });
        let newer = JournalError::Store(StoreError::Newer {
            location,
            key,
            what: String::new(),
        });
        assert!(!is_given_up(&corrupt, GIVEN_UP_AFTER - 1));
        assert!(is_given_up(&corrupt, GIVEN_UP_AFTER));
        assert!(!is_given_up(&newer, 100), "a later version can read it");
        let before = (0..GIVEN_UP_AFTER).map(|failures| pause_after(&corrupt, failures));
        assert!(before.sum::<Duration>() > Duration::from_secs(60));
    }

    #[tokio::test]
    async fn an_outcome_that_cannot_be_read_holds_up_no_other_query() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        // Nobody else seals anything meanwhile.
        shared.stop.cancel();
        let [dead, by] = ["dead", "by"].map(SchedulerId::new);
        let query = |n: u8| QueryId::from_slice(&[n; 16]).unwrap();
        let journal = journal(&shared.journaling.journals, &dead);
        for n in 1..=3 {
            let statement = Statement {
                kept: true,
                ..Statement::default()
            };
            let accepted = written::accepted(query(n), statement);
            journal.append(accepted).await.unwrap();
        }
        let ending = Ending {
            state: QueryState::Finished,
            by: dead.clone(),
            epoch: Epoch(0),
            error: None,
            result: serde_json::json!({}),
        };
        let claims = &shared.journaling.claims;
        claims.finish(query(1), &ending).await.unwrap();
        let damaged = directory.path().join(format!("queries/{}", query(2)));
        std::fs::create_dir_all(&damaged).unwrap();
        std::fs::write(damaged.join("finished"), "no outcome").unwrap();

        let sealed = seal(&shared.journaling, &dead, &by).await.unwrap();
        let held: Vec<QueryId> = sealed.book.queries().map(|(query, _)| query).collect();
        assert_eq!(held, [query(2), query(3)]);
    }

    #[tokio::test]
    async fn a_claim_does_not_wait_for_what_is_asked_about_other_queries() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        // Nobody else asks anything meanwhile.
        shared.stop.cancel();
        let (journaling, me) = (&shared.journaling, shared.driver.me());
        let others = u32::try_from(AT_ONCE).unwrap();
        let _under_way = journaling.asking.acquire_many(others).await.unwrap();
        let query = QueryId::from_slice(&[7; 16]).unwrap();
        let step = Step::Claim {
            query,
            epoch: Epoch(1),
        };
        let taken = take(&shared, journaling, &me, &step, None);
        let limit = Duration::from_secs(60);
        let stepped = tokio::time::timeout(limit, taken).await.unwrap();
        assert!(matches!(stepped, Stepped::Claimed(Some(by)) if by == me));
    }

    #[tokio::test]
    async fn a_journal_of_one_that_began_a_moment_ago_has_an_owner() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        // Nobody seals anything meanwhile.
        shared.stop.cancel();
        let journals = journals(directory.path());
        let [new, dead] = ["new", "dead"].map(SchedulerId::new);
        let mut own = beacon(new.clone(), 1);
        own.addresses.cluster = "127.0.0.1:1".to_string();
        let members = Members::new(store(directory.path()));
        members.beat(&own).await.unwrap();
        for scheduler in [&new, &dead] {
            let query = QueryId::from_slice(&[7; 16]).unwrap();
            let accepted = written::accepted(query, Default::default());
            let journal = journal(&journals, scheduler);
            journal.append(accepted).await.unwrap();
        }
        assert_eq!(ownerless(&shared, &journals).await, [dead]);
    }
}
