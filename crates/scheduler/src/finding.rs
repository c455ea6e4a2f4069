//! Finding the owner of a query that is not driven here, while owners may be dying.
//!
//! ```text
//!   driven here? ── no ──► does a peer know it? ── no ──► the claims: who owned it last?
//!        ▲                                                        │
//!        │                              it is being taken over ◄──┤──► no journal holds it:
//!        └──── when something changes ◄────────┘                       it may be run afresh
//! ```
//!
//! Only the last step asks the store, and only for a query whose owner does not answer.

use std::time::Duration;

use paceline_model::{Epoch, ErrorClass, QueryError, QueryId, SchedulerId};
use paceline_proto::cluster::forward_request::Operation;
use paceline_proto::cluster::forward_response::Answer;
use paceline_store::{JournalError, StoreError};
use tokio::time::Instant;

use crate::news::News;
use crate::peers::{Asked, unknown};
use crate::shared::Shared;

/// How long to wait for news before looking again: a peer may answer by then that did not before.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The same after so many looks without any news: then it is a matter of more than a takeover.
const LOOK_LATER: Duration = Duration::from_secs(2);
const LOOKS_OF_A_TAKEOVER: u32 = 50;

/// What a takeover takes at most, beside the time after which silence is enough for one.
const TAKEOVER: Duration = Duration::from_secs(1);

/// How often in a row somebody who claimed a query may not know it yet, while nothing is heard of it: a claim
/// is won a moment before its query is there.
pub(crate) const GRACE_LOOKS: u32 = 10;

/// Where a query is.
#[derive(Debug)]
pub(crate) enum Found {
    /// Here.
    Here,
    /// Its owner answered.
    Answer(Answer),
    /// No journal holds it. At this epoch it could be run afresh.
    Lost(Epoch),
}

/// What the store says of a query that nobody knows.
enum Standing {
    /// Somebody will drive it.
    Coming,
    /// It may be with these, who live by their beacons and did not answer.
    Unreached(Vec<SchedulerId>),
    /// Somebody claimed it a moment ago, and is alive.
    Claimed,
    /// Whoever drove it is alive, and does not know it any more.
    Nowhere,
    /// This scheduler may have driven it, and has left all it drove to others.
    Left,
    /// No journal holds it.
    Lost(Epoch),
}

/// Asks a query's owner, whoever that is by then. `first` is who accepted it, if that is known.
///
/// # Errors
/// What the owner says; that nobody knows the query; or that its owner lives and cannot be reached from
/// here.
#[expect(
    clippy::disallowed_methods,
    reason = "of a query whose owner does not answer; news of it are not waited out"
)]
pub(crate) async fn ask(
    shared: &Shared,
    query: QueryId,
    first: Option<&SchedulerId>,
    operation: &Operation,
) -> Result<Found, QueryError> {
    let mut changes = shared.driver.newsroom.changes_of(query);
    let (mut grace, mut looks) = (GRACE_LOOKS, 0);
    let mut unreached = None;
    loop {
        changes.look();
        if shared.driver.drives(query) {
            return Ok(Found::Here);
        }
        // Cancel safety: a question that is given up may still be answered, to nobody; whoever drives
        // the query here answers the same.
        let mut asked = tokio::select! {
            asked = shared.peers.ask_all(shared, query, first, operation) => asked,
            () = comes_here(shared, query) => return Ok(Found::Here),
        };
        if let Some(answer) = asked.answer.take() {
            return answer.map(Found::Answer);
        }
        let standing = standing(shared, query, first, &asked).await;
        let standing = standing.map_err(error)?;
        unreached = match &standing {
            // Before, it may have been there, and the question may have waited for its answer.
            Standing::Unreached(_) => Some(unreached.unwrap_or_else(Instant::now)),
            _ => None,
        };
        let in_grace = matches!(standing, Standing::Claimed | Standing::Left);
        match standing {
            Standing::Unreached(peers) if is_too_long(shared, unreached) => {
                return Err(cut_off(shared, query, &peers));
            }
            Standing::Coming | Standing::Unreached(_) => {}
            Standing::Claimed | Standing::Left if grace > 0 => {}
            Standing::Left => return Err(leaving()),
            Standing::Claimed | Standing::Nowhere => return Err(unknown(query)),
            Standing::Lost(epoch) => return Ok(Found::Lost(epoch)),
        }
        // Cancel safety: a change that is missed here is looked at anyway.
        tokio::select! {
            // Much may happen within a moment: what it takes is time.
            () = changes.changed() => {}
            () = tokio::time::sleep(pause_after(looks)) => {
                looks = looks.saturating_add(1);
                grace = grace.saturating_sub(u32::from(in_grace));
            }
            () = shared.stop.cancelled() => return Err(leaving()),
        }
    }
}

fn pause_after(looks: u32) -> Duration {
    if looks < LOOKS_OF_A_TAKEOVER {
        LOOK_AGAIN
    } else {
        LOOK_LATER
    }
}

/// Whether somebody who lives has not been reached for so long that there will be no takeover: others do
/// reach it, so nobody waits for one.
fn is_too_long(shared: &Shared, since: Option<Instant>) -> bool {
    let takeover = shared.journaling.suspicion.takeover_after + TAKEOVER;
    since.is_some_and(|since| since.elapsed() >= takeover * 2)
}

/// Whoever may drive the query lives, and this scheduler does not reach it.
fn cut_off(shared: &Shared, query: QueryId, peers: &[SchedulerId]) -> QueryError {
    let beacons = shared.membership.peers();
    let named = peers.iter().map(|peer| {
        let beacon = beacons.iter().find(|beacon| beacon.scheduler == *peer);
        match beacon {
            Some(beacon) => format!("{peer} at {}", beacon.addresses.cluster),
            None => peer.to_string(),
        }
    });
    let named = named.collect::<Vec<_>>().join(", ");
    QueryError::new(
        ErrorClass::Unavailable,
        format!(
            "query {query} may be with {named}: no answer comes from there, though its beacon goes on. \
             Ask another scheduler, and see to the network between the two"
        ),
    )
}

/// Waits until the query is driven here. A peer that is frozen does not answer for seconds, and its
/// queries may be this scheduler's by then.
async fn comes_here(shared: &Shared, query: QueryId) {
    let mut changes = shared.driver.newsroom.changes_of(query);
    loop {
        changes.look();
        if shared.driver.drives(query) {
            return;
        }
        changes.changed().await;
    }
}

async fn standing(
    shared: &Shared,
    query: QueryId,
    first: Option<&SchedulerId>,
    asked: &Asked,
) -> Result<Standing, JournalError> {
    let (holder, epoch) = holder(shared, query, first).await?;
    let Some(holder) = holder else {
        // One who does not answer may drive it; that shows when it is known to be dead, or answers.
        return match asked.silent.is_empty() {
            true => held_by_any(shared, query, asked).await,
            false => Ok(awaited(shared, &asked.silent)),
        };
    };
    if !shared.membership.knows(&holder) {
        // It may have started a moment ago; then it is asked next time.
        shared.membership.look().await?;
        if shared.membership.knows(&holder) {
            return Ok(Standing::Coming);
        }
    }
    let passing = &shared.journaling.passing;
    let here = holder == shared.driver.me();
    // It is there before it is not on its way any more.
    if here && (passing.is_coming(query) || shared.driver.drives(query)) {
        return Ok(Standing::Coming);
    }
    // A journal may be known to be over, and its queries to be others', before whoever sealed it knows.
    if here && shared.driver.has_moved(query) {
        return Ok(Standing::Coming);
    }
    if here && shared.has_handed_over() {
        return Ok(Standing::Left);
    }
    if here || !shared.membership.is_gone(&holder) {
        return Ok(match (here || asked.denied.contains(&holder), epoch) {
            // It did not answer; or it was not asked, because its beacon went a moment ago. Its journal
            // decides, once it is sealed.
            (false, _) if asked.silent.contains(&holder) => awaited(shared, &[holder]),
            (false, _) => Standing::Coming,
            (true, Epoch(0)) => Standing::Nowhere,
            (true, _) => Standing::Claimed,
        });
    }
    let journals = &shared.journaling.journals;
    // Of a journal that is over this is all that there will ever be, and another one is looked at again.
    let contents = passing.contents(journals, &holder, LOOK_AGAIN).await?;
    if !contents.is_over {
        if !shared.membership.knows(&holder) {
            shared.driver.newsroom.tell(News::Seal(holder));
        }
        return Ok(Standing::Coming);
    }
    if contents.hold(query) {
        return Ok(Standing::Coming);
    }
    // A journal is drained after the claims on what it held: one that was made while it was read here
    // is there by now.
    let claimed = shared.journaling.claims.adopter(query, epoch.next());
    Ok(match claimed.await? {
        Some(_) => Standing::Coming,
        None => Standing::Lost(epoch.next()),
    })
}

/// How the query of somebody stands who did not answer.
fn awaited(shared: &Shared, silent: &[SchedulerId]) -> Standing {
    let live = silent
        .iter()
        .filter(|peer| !shared.membership.is_gone(peer));
    let live: Vec<SchedulerId> = live.cloned().collect();
    match live.is_empty() {
        true => Standing::Coming,
        false => Standing::Unreached(live),
    }
}

/// Who owned the query last, and at which epoch.
async fn holder(
    shared: &Shared,
    query: QueryId,
    first: Option<&SchedulerId>,
) -> Result<(Option<SchedulerId>, Epoch), StoreError> {
    let claims = &shared.journaling.claims;
    let (mut holder, mut epoch) = (first.cloned(), Epoch(0));
    while let Some(next) = claims.adopter(query, epoch.next()).await? {
        holder = Some(next);
        epoch = epoch.next();
    }
    if holder.is_none() {
        holder = claims.submitter(query).await?;
    }
    Ok((holder, epoch))
}

/// Looks through the journals of all schedulers that have not said themselves that they do not know it.
async fn held_by_any(
    shared: &Shared,
    query: QueryId,
    asked: &Asked,
) -> Result<Standing, JournalError> {
    let (journals, passing) = (&shared.journaling.journals, &shared.journaling.passing);
    // What others read a moment ago tells where it is, and not that it is nowhere.
    if passing.is_held(query, LOOK_AGAIN).await {
        return Ok(Standing::Coming);
    }
    for journal in passing.undrained(journals).await? {
        if journal == shared.driver.me() || asked.denied.contains(&journal) {
            continue;
        }
        let contents = passing.contents(journals, &journal, Duration::ZERO);
        if contents.await?.hold(query) {
            return Ok(Standing::Coming);
        }
    }
    // See above.
    let claimed = shared.journaling.claims.adopter(query, Epoch(1)).await?;
    Ok(match claimed {
        Some(_) => Standing::Coming,
        None => Standing::Nowhere,
    })
}

fn error(error: JournalError) -> QueryError {
    QueryError::new(
        error.class(),
        format!("cannot find out who drives the query: {error}"),
    )
}

/// Who waits here has to ask elsewhere.
pub(crate) fn leaving() -> QueryError {
    QueryError::new(
        ErrorClass::Unavailable,
        "this scheduler is shutting down: ask another one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn what_was_left_to_others_is_waited_for_before_any_of_them_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let shared = testing::shared(directory.path()).await;
        let (me, record) = (shared.driver.me(), testing::record());
        let query = record.query;
        let stands = async || {
            let standing = standing(&shared, query, Some(&me), &Asked::default()).await;
            standing.unwrap()
        };
        assert!(matches!(stands().await, Standing::Nowhere));
        shared.driver.submit(record, None);
        shared.driver.close();
        assert!(matches!(stands().await, Standing::Coming));
    }

    /// As in a takeover of many queries, of which each is told of.
    #[tokio::test]
    async fn a_claim_is_not_held_for_an_old_one_because_much_happens_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let shared = testing::shared(directory.path()).await;
        let (me, mut record) = (shared.driver.me(), testing::record());
        let (query, epoch) = (record.query, Epoch(1));
        let claims = &shared.journaling.claims;
        claims.adopt(query, epoch, &me).await.unwrap();
        let operation = Operation::Status(paceline_proto::cluster::Empty {});
        let asking = ask(&shared, query, None, &operation);
        let happening = async {
            for _ in 0..5 * GRACE_LOOKS {
                shared.driver.newsroom.change();
                // This takes as long as it takes who asks to look.
                let stands = standing(&shared, query, None, &Asked::default()).await;
                assert!(matches!(stands, Ok(Standing::Claimed)));
            }
            record.epoch = epoch;
            shared.driver.submit(record, None);
        };
        let (found, ()) = tokio::join!(asking, happening);
        assert!(matches!(found, Ok(Found::Here)), "{found:?}");
    }

    /// Its claim may be this scheduler's before it knows that itself.
    #[tokio::test]
    async fn what_is_being_adopted_is_waited_for_however_long_that_takes() {
        let directory = tempfile::tempdir().unwrap();
        let shared = testing::shared(directory.path()).await;
        let (me, query, epoch) = (shared.driver.me(), testing::record().query, Epoch(1));
        let (claims, passing) = (&shared.journaling.claims, &shared.journaling.passing);
        claims.adopt(query, epoch, &me).await.unwrap();
        let stands = async || standing(&shared, query, None, &Asked::default()).await;
        assert!(matches!(stands().await, Ok(Standing::Claimed)));
        passing.begin(query, epoch);
        assert!(matches!(stands().await, Ok(Standing::Coming)));
    }

    #[test]
    fn what_takes_longer_than_a_takeover_is_looked_for_less_often() {
        assert_eq!(pause_after(0), LOOK_AGAIN);
        assert_eq!(pause_after(u32::MAX), LOOK_LATER);
    }
}
