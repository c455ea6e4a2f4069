use super::*;
use crate::ownership::ranked;
use crate::ownership::testing::{query, scheduler};
use OwnershipAction::{Lost, Own, Take, WakeAt};

const T0: Now = Now(Duration::ZERO);
const PATIENCE: Duration = Duration::from_secs(1);

fn sealed(journal: &str, held: &[(u128, u64)]) -> OwnershipEvent {
    let mut standing = Standing::default();
    for (n, epoch) in held {
        standing.apply(&owned(*n, *epoch));
    }
    standing.apply(&Entry::Seal {
        by: scheduler("me"),
    });
    OwnershipEvent::Sealed {
        journal: scheduler(journal),
        standing,
    }
}

fn owned(n: u128, epoch: u64) -> Entry {
    Entry::Owned {
        query: query(n),
        hold: Hold::at(Epoch(epoch)),
    }
}

fn claim(n: u128, epoch: u64, by: Option<&str>) -> OwnershipEvent {
    OwnershipEvent::Claim {
        query: query(n),
        epoch: Epoch(epoch),
        by: by.map(scheduler),
    }
}

fn adopt(from: &str, n: u128, epoch: u64) -> OwnershipAction {
    Take(Step::Adopt {
        from: scheduler(from),
        query: query(n),
        epoch: Epoch(epoch),
    })
}

#[test]
fn a_query_is_recorded_claimed_and_then_owned() {
    let mut me = Ownership::new(scheduler("me"), PATIENCE);
    let (id, first) = (query(1), Epoch(1));
    let read = Step::ReadClaim {
        query: id,
        epoch: first,
    };
    assert_eq!(me.handle(sealed("d", &[(1, 0)]), T0), [Take(read)]);
    assert_eq!(me.handle(OwnershipEvent::Tick, T0), [], "each once");
    assert_eq!(me.handle(claim(1, 1, None), T0), [adopt("d", 1, 1)]);
    let step = Step::Claim {
        query: id,
        epoch: first,
    };
    let recorded = OwnershipEvent::Recorded { entry: owned(1, 1) };
    assert_eq!(me.handle(recorded, T0), [Take(step.clone())]);
    let failed = OwnershipEvent::Failed { step: step.clone() };
    assert_eq!(me.handle(failed, T0), [Take(step)], "again");
    let drain = Take(Step::Drain {
        journal: scheduler("d"),
    });
    let own = Own {
        query: id,
        epoch: first,
    };
    assert_eq!(me.handle(claim(1, 1, Some("me")), T0), [own, drain]);
    let drained = OwnershipEvent::Drained {
        journal: scheduler("d"),
    };
    assert_eq!(me.handle(drained, T0), []);
}

#[test]
fn who_loses_the_claim_drops_the_query() {
    let mut me = Ownership::new(scheduler("me"), PATIENCE);
    me.handle(sealed("d", &[(1, 0)]), T0);
    me.handle(claim(1, 1, None), T0);
    me.handle(OwnershipEvent::Recorded { entry: owned(1, 1) }, T0);
    let actions = me.handle(claim(1, 1, Some("b")), T0);
    let lost = Lost {
        query: query(1),
        epoch: Epoch(1),
        to: scheduler("b"),
    };
    assert_eq!(actions[0], lost);
    assert_eq!(me.own().queries().count(), 0);
    let none = Entry::Snapshot {
        owned: BTreeMap::new(),
    };
    assert_eq!(me.snapshot(), none);
}

#[test]
fn an_adoption_without_its_claim_is_settled_at_its_epoch() {
    let mut me = Ownership::new(scheduler("me"), PATIENCE);
    me.handle(sealed("d", &[(1, 4)]), T0);
    assert_eq!(me.handle(claim(1, 4, None), T0), [adopt("d", 1, 4)]);
}

#[test]
fn a_submission_is_claimed_for_its_scheduler_and_then_adopted_unless_it_was_a_copy() {
    for (winner, is_copy) in [("d", false), ("b", true)] {
        let mut me = Ownership::new(scheduler("me"), PATIENCE);
        let mut standing = Standing::default();
        standing.apply(&Entry::Owned {
            query: query(1),
            hold: Hold::Submitted,
        });
        standing.apply(&Entry::Seal {
            by: scheduler("me"),
        });
        let journal = scheduler("d");
        let sealed = OwnershipEvent::Sealed { journal, standing };
        let step = Step::Submit {
            query: query(1),
            holder: scheduler("d"),
        };
        assert_eq!(me.handle(sealed, T0), [Take(step.clone())]);
        let failed = OwnershipEvent::Failed { step: step.clone() };
        assert_eq!(me.handle(failed, T0), [Take(step)], "again");
        let next = match is_copy {
            true => Step::Drain {
                journal: scheduler("d"),
            },
            false => Step::ReadClaim {
                query: query(1),
                epoch: Epoch(1),
            },
        };
        assert_eq!(me.handle(claim(1, 0, Some(winner)), T0), [Take(next)]);
    }
}

#[test]
fn a_takeover_of_thousands_is_driven_to_its_end() {
    const QUERIES: u128 = 20_000;
    let mut me = Ownership::new(scheduler("me"), PATIENCE);
    let held: Vec<_> = (0..QUERIES).map(|n| (n, 0)).collect();
    let mut actions = me.handle(sealed("d", &held), T0);
    let (mut owned, mut drained) = (0, 0);
    while let Some(action) = actions.pop() {
        let event = match action {
            Take(Step::ReadClaim { query, epoch }) => {
                let by = None;
                OwnershipEvent::Claim { query, epoch, by }
            }
            Take(Step::Adopt { query, epoch, .. }) => {
                let hold = Hold::at(epoch);
                let entry = Entry::Owned { query, hold };
                OwnershipEvent::Recorded { entry }
            }
            Take(Step::Claim { query, epoch }) => {
                let by = Some(scheduler("me"));
                OwnershipEvent::Claim { query, epoch, by }
            }
            Take(Step::Drain { journal }) => {
                drained += 1;
                OwnershipEvent::Drained { journal }
            }
            Own { .. } => {
                owned += 1;
                continue;
            }
            other => panic!("{other:?}"),
        };
        actions.extend(me.handle(event, T0));
    }
    assert_eq!((owned, drained), (QUERIES, 1));
}

#[test]
fn each_leaves_the_first_try_to_those_before_it() {
    let live: BTreeSet<_> = ["me", "b", "c"].map(scheduler).into();
    let second = (0..100).find(|n| *ranked(query(*n), &live)[1] == scheduler("me"));
    let n = second.unwrap();
    let mut me = Ownership::new(scheduler("me"), PATIENCE);
    me.handle(OwnershipEvent::Members { live }, T0);
    me.handle(sealed("d", &[(n, 0)]), T0);
    let due = T0.after(PATIENCE);
    assert_eq!(me.handle(claim(n, 1, None), T0), [WakeAt(due)]);
    let look = Step::ReadClaim {
        query: query(n),
        epoch: Epoch(1),
    };
    let again = me.handle(OwnershipEvent::Tick, due);
    assert_eq!(again, [Take(look)], "it may be another's by now");
    assert_eq!(me.handle(claim(n, 1, None), due), [adopt("d", n, 1)]);
}

#[test]
fn what_others_adopted_in_their_turn_is_not_written_down() {
    let live: BTreeSet<_> = ["me", "b"].map(scheduler).into();
    let second = (0..100).find(|n| *ranked(query(*n), &live)[1] == scheduler("me"));
    let n = second.unwrap();
    let mut me = Ownership::new(scheduler("me"), PATIENCE);
    me.handle(OwnershipEvent::Members { live }, T0);
    me.handle(sealed("d", &[(n, 0)]), T0);
    me.handle(claim(n, 1, None), T0);
    me.handle(OwnershipEvent::Tick, T0.after(PATIENCE));
    let drain = Step::Drain {
        journal: scheduler("d"),
    };
    let late = T0.after(PATIENCE);
    assert_eq!(me.handle(claim(n, 1, Some("b")), late), [Take(drain)]);
}

#[test]
fn a_claim_that_changes_hands_is_told_and_the_first_one_counts() {
    let mut me = Ownership::new(scheduler("me"), PATIENCE);
    me.handle(OwnershipEvent::Recorded { entry: owned(1, 1) }, T0);
    let own = me.handle(claim(1, 1, Some("me")), T0);
    let (query, epoch) = (query(1), Epoch(1));
    assert_eq!(own, [Own { query, epoch }]);
    let by = ["me", "b"].map(scheduler);
    let conflict = OwnershipAction::Conflict { query, epoch, by };
    assert_eq!(me.handle(claim(1, 1, Some("b")), T0), [conflict]);
    assert_eq!(me.own().epoch(query), Some(epoch));
    assert_eq!(me.handle(claim(1, 1, Some("me")), T0), []);
}

#[test]
fn no_claim_is_kept_of_what_no_journal_holds() {
    let mut me = Ownership::new(scheduler("me"), PATIENCE);
    let drained = || OwnershipEvent::Drained {
        journal: scheduler("d"),
    };
    // Adopted, and over after the journal that it came from.
    me.handle(sealed("d", &[(1, 0)]), T0);
    me.handle(claim(1, 1, None), T0);
    me.handle(OwnershipEvent::Recorded { entry: owned(1, 1) }, T0);
    me.handle(claim(1, 1, Some("me")), T0);
    me.handle(drained(), T0);
    assert_eq!(me.claims.len(), 1, "it is one's own");
    let entry = Entry::Ended { query: query(1) };
    me.handle(OwnershipEvent::Recorded { entry }, T0);
    assert!(me.claims.is_empty());
    // Over before that.
    me.handle(sealed("d", &[(2, 0)]), T0);
    me.handle(claim(2, 1, None), T0);
    me.handle(OwnershipEvent::Recorded { entry: owned(2, 1) }, T0);
    me.handle(claim(2, 1, Some("me")), T0);
    let entry = Entry::Ended { query: query(2) };
    me.handle(OwnershipEvent::Recorded { entry }, T0);
    assert_eq!(me.claims.len(), 1, "a sealed journal holds it");
    me.handle(drained(), T0);
    assert!(me.claims.is_empty());
    // Run afresh, and won by somebody else.
    me.handle(OwnershipEvent::Recorded { entry: owned(3, 1) }, T0);
    me.handle(claim(3, 1, Some("b")), T0);
    assert!(me.claims.is_empty());
    // A look that comes to its end when all is over.
    me.handle(claim(3, 1, Some("b")), T0);
    assert!(me.claims.is_empty());
}

#[test]
fn a_fenced_scheduler_does_nothing() {
    let mut me = Ownership::new(scheduler("me"), PATIENCE);
    let by = scheduler("b");
    let entry = Entry::Seal { by };
    me.handle(OwnershipEvent::Recorded { entry }, T0);
    assert_eq!(me.handle(sealed("d", &[(1, 0)]), T0), []);
}
