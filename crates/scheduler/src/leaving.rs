//! What a scheduler does when it leaves.

use std::time::{Duration, Instant};

use paceline_core::ownership::Closed;
use paceline_store::JournalError;
use tokio::time::timeout;

use crate::news::News;
use crate::shared::Shared;

/// How often one that leaves looks whether somebody still waits.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long one that leaves tries to close its journal, at most: while the store is away it cannot.
const CLOSING: Duration = Duration::from_secs(10);

/// Does all that is to be done before a scheduler may stop, within about that time.
pub(crate) async fn leave(shared: &Shared, patience: Duration) {
    let begun = Instant::now();
    shared.begin_draining();
    // Until then it is a member as before: whoever held it for gone would seal the journal that those are to
    // be recorded in. Half of the time is for those whose queries are handed over.
    if timeout(patience / 2, shared.entrance.is_empty())
        .await
        .is_err()
    {
        tracing::warn!("leaving although statements are still being accepted");
    }
    shared.begin_leaving();
    shared.membership.leave().await;
    let left = patience.saturating_sub(begun.elapsed());
    if timeout(left, finish(shared)).await.is_err() {
        tracing::warn!("stopping although clients still wait, or queries are not handed over");
    }
    // Also after a hand-over: whoever took over may be leaving as well.
    let closing = timeout(CLOSING.min(patience), close_journal(shared));
    if closing.await.is_err() {
        tracing::warn!("the journal could not be closed in time; another scheduler will");
    }
}

/// Hands over what is driven here, if there is anybody else, and waits until nobody waits here any more.
async fn finish(shared: &Shared) {
    if !shared.membership.peers().is_empty() {
        hand_over(shared).await;
    }
    while shared.driver.busy() {
        #[expect(
            clippy::disallowed_methods,
            reason = "at the end of the process; what every reader does is not worth telling"
        )]
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Seals the own journal and has the others take over what it holds.
async fn hand_over(shared: &Shared) {
    let (me, scribe) = (shared.driver.me(), &shared.driver.scribe);
    if let Err(error) = scribe.flush().await {
        tracing::warn!(%error, "the journal could not be brought up to date");
    }
    match shared.journaling.journals.seal(&me, &me).await {
        Ok(_) => {
            shared.note_handed_over();
            let by = me.clone();
            let sealed = Closed::Sealed { by };
            let closed = News::Closed(me.clone(), sealed);
            shared.driver.newsroom.tell(closed);
            shared.peers.tell_of_seal(shared, &me).await;
        }
        Err(error) => {
            tracing::warn!(%error, "cannot hand over; finishing what runs");
        }
    }
}

/// Leaves a journal behind that nobody has to look at, if it holds nothing any more.
async fn close_journal(shared: &Shared) {
    let (me, journals) = (shared.driver.me(), &shared.journaling.journals);
    // What waits is the end of queries; without it others would look for them.
    let _ = shared.driver.scribe.flush().await;
    let closed = async {
        let sealed = journals.seal(&me, &me).await?;
        if sealed.book.queries().next().is_none() {
            journals.mark_drained(&me, &me).await?;
            journals.remove_segments(&me).await?;
        }
        Ok::<_, JournalError>(())
    };
    if let Err(error) = closed.await {
        tracing::warn!(%error, "the journal could not be closed; another scheduler will");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use paceline_model::SchedulerId;
    use paceline_plan::{Planned, SessionSettings};
    use paceline_store::Members;

    use super::*;
    use crate::record::QueryRecord;
    use crate::testing::{beacon, journals, record, shared, store};

    /// More looks at a journal than it takes to seal it.
    const LOOKS: usize = 50;

    async fn planned(shared: &Shared) -> QueryRecord {
        let catalog = shared.catalog().await.unwrap();
        let settings = SessionSettings::default();
        let planner = &shared.planner;
        let planned = planner.plan("SELECT 1 AS a", vec![], &settings, &catalog, &[]);
        let Planned::Query(plan) = planned.await.unwrap() else {
            panic!("it is a query");
        };
        let mut record = record();
        record.plan = Some(plan);
        record
    }

    #[tokio::test]
    async fn what_is_being_accepted_is_handed_over_with_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let shared = shared(directory.path()).await;
        let members = Members::new(store(directory.path()));
        let peer = beacon(SchedulerId::new("peer"), 1);
        members.beat(&peer).await.unwrap();
        shared.membership.beat(Instant::now()).await.unwrap();
        let (me, journals) = (shared.driver.me(), journals(directory.path()));
        let entering = shared.entrance.enter().unwrap();
        let leaving = Arc::clone(&shared);
        let leaving = tokio::spawn(async move {
            leave(&leaving, Duration::from_secs(60)).await;
        });
        while !shared.is_draining() {
            tokio::task::yield_now().await;
        }
        assert!(shared.entrance.enter().is_none(), "nobody else is let in");
        for _ in 0..LOOKS {
            let journal = journals.replay(&me).await.unwrap();
            assert_eq!(journal.sealed_by(), None);
        }
        let beacons = members.list().await.unwrap().beacons;
        assert_eq!(beacons.len(), 2, "it is a member as before");

        let late = planned(&shared).await;
        let query = late.query;
        shared.driver.submit(late, None);
        drop(entering);
        leaving.await.unwrap();
        let journal = journals.replay(&me).await.unwrap();
        assert_eq!(journal.sealed_by(), Some(&me));
        assert!(journal.book.held(query).is_some());
        shared.stop.cancel();
    }
}
