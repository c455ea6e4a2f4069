use paceline_core::ownership::{Closed, Hold, Step};
use paceline_model::Invariant;
use paceline_store::Members;

use super::*;
use crate::steps::Stepped;
use crate::testing::{beacon, shared, store};

/// What a former self of the scheduler recorded is in a journal that is over.
#[tokio::test]
async fn what_a_former_incarnation_began_is_nothing_to_the_present_one() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    let former = shared.driver.me();
    shared.driver.fence(|identity| {
        identity.renew();
    });
    let mut takeover = Takeover::new(Arc::clone(&shared), shared.journaling.clone());
    let (query, epoch) = (QueryId::from_slice(&[7; 16]).unwrap(), Epoch(1));
    let recorded = |by| {
        let from = SchedulerId::new("dead");
        News::Stepped(by, Step::Adopt { from, query, epoch }, Stepped::Done)
    };
    takeover.note(recorded(former));
    assert_eq!(takeover.ownership.own().epoch(query), None);
    takeover.note(recorded(shared.driver.me()));
    assert_eq!(takeover.ownership.own().epoch(query), Some(epoch));
    shared.stop.cancel();
}

/// Until then nobody would have anything of sealing its next journal.
#[tokio::test]
async fn a_fenced_scheduler_is_a_member_again_once_it_is_reached_or_has_something_to_write() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    let peer = SchedulerId::new("peer");
    let members = Members::new(store(directory.path()));
    members.beat(&beacon(peer.clone(), 1)).await.unwrap();
    shared.membership.beat(Instant::now()).await.unwrap();
    let mut takeover = Takeover::new(Arc::clone(&shared), shared.journaling.clone());
    let fenced = |takeover: &mut Takeover| {
        let (former, by) = (shared.driver.me(), peer.clone());
        takeover.note(News::Closed(former.clone(), Closed::Sealed { by }));
        assert_ne!(shared.driver.me(), former);
        assert!(shared.membership.is_apart());
        former
    };
    let former = fenced(&mut takeover);
    takeover.note(News::Doubt);
    assert!(!takeover.doubting, "there is no journal to be in doubt of");
    takeover.note(News::Needed(former));
    assert!(shared.membership.is_apart(), "that was another one");
    takeover.note(News::Needed(shared.driver.me()));
    assert!(!shared.membership.is_apart());
    fenced(&mut takeover);
    takeover.note(News::Reached);
    assert!(!shared.membership.is_apart());
    shared.stop.cancel();
}

/// A record that was under way when the journal was sealed says nothing of the seal.
#[tokio::test]
async fn a_doubt_that_comes_while_the_journal_is_written_to_is_looked_into_after_that() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    let mut takeover = Takeover::new(Arc::clone(&shared), shared.journaling.clone());
    takeover.note(News::Doubt);
    takeover.note(News::Doubt);
    takeover.note(News::Trust);
    assert!(takeover.doubting, "it is written to again");
    takeover.note(News::Trust);
    assert!(!takeover.doubting);
    shared.stop.cancel();
}

#[tokio::test]
async fn one_that_leaves_adopts_nothing_once_its_journal_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    let mut takeover = Takeover::new(Arc::clone(&shared), shared.journaling.clone());
    shared.begin_draining();
    let (me, by) = (shared.driver.me(), shared.driver.me());
    takeover.note(News::Closed(me.clone(), Closed::Sealed { by }));
    assert_eq!(takeover.ownership.own().sealed_by(), Some(&me));
    assert_eq!(shared.driver.me(), me, "it goes on as nobody else");
    shared.stop.cancel();
}

/// Each would be a query that nobody carries on, or that two schedulers drive.
#[tokio::test]
async fn what_must_never_be_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    let mut takeover = Takeover::new(Arc::clone(&shared), shared.journaling.clone());
    let counted = |invariant| shared.driver.metrics.violations.of(invariant);
    let (query, epoch) = (QueryId::from_slice(&[7; 16]).unwrap(), Epoch(1));
    let from = SchedulerId::new("dead");
    takeover.take(Step::Adopt { from, query, epoch });
    assert_eq!(counted(Invariant::NothingLost), 1, "no journal says what");
    let hold = Hold::at(epoch);
    let entry = Entry::Owned { query, hold };
    takeover.tell_ownership(OwnershipEvent::Recorded { entry });
    for by in [shared.driver.me(), SchedulerId::new("b")] {
        let by = Some(by);
        takeover.tell_ownership(OwnershipEvent::Claim { query, epoch, by });
    }
    assert_eq!(
        counted(Invariant::NothingLost),
        2,
        "it is adopted all the same"
    );
    assert_eq!(counted(Invariant::OneOwner), 1, "the claim changed hands");
    let former = shared.driver.me();
    let taken = Closed::Taken { seq: 1 };
    takeover.note(News::Closed(former.clone(), taken));
    assert_eq!(counted(Invariant::OneOwner), 2, "another process writes");
    assert_ne!(shared.driver.me(), former, "and has the id to itself");
    shared.stop.cancel();
}
