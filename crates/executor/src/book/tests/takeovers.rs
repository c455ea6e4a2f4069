//! Commands of a former owner and of the present one, in the order in which nobody wants them.

use super::*;

fn stale(epoch: u64) -> Refusal {
    Refusal::StaleEpoch(Epoch(epoch))
}

fn live() -> LiveAttempt {
    LiveAttempt::new(CancellationToken::new(), Arc::default())
}

/// Between the two a launch is read, which takes a while.
#[test]
fn what_was_admitted_before_a_takeover_is_not_begun_after_it() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    let plan = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    book.admit(a, query(), Epoch(0)).unwrap();
    book.adopt(b, query(), Epoch(1), false).unwrap();
    let stored = book.plan(query(), StageId(0), Epoch(0), plan("old"));
    assert_eq!(stored, Err(PlanProblem::Refused(stale(1))));
    assert_eq!(book.begin(id(0), Epoch(0), live()), Err(stale(1)));
    assert_eq!(book.live_attempts(), 0, "as the new owner was told");
    let stored = book.plan(query(), StageId(0), Epoch(1), plan("new"));
    assert_eq!(stored.unwrap(), "new");

    book.end(b, query(), Epoch(1), Instant::now()).unwrap();
    let ended = Err(Refusal::Ended);
    assert_eq!(book.begin(id(0), Epoch(1), live()), ended);
    let stored = book.plan(query(), StageId(0), Epoch(1), plan("new"));
    assert_eq!(stored, Err(PlanProblem::Refused(Refusal::Ended)));
}

/// Freeing takes a while, and by then another owner may have asked what there is.
#[test]
fn who_adopts_is_told_of_no_output_that_is_about_to_be_freed() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    book.admit(a, query(), Epoch(0)).unwrap();
    for task in 0..3 {
        let serial = begin(&mut book, id(task));
        complete(&mut book, id(task), serial, true);
    }
    let two = [0, 1].map(|task| attempt_ref(id(task)));
    let to_free = book.release(a, query(), Epoch(0), &two);
    assert_eq!(to_free, Ok(vec![id(0), id(1)]));
    book.adopt(b, query(), Epoch(1), false).unwrap();
    let told = book.adopted(b);
    let held: Vec<_> = told[0].finished.iter().map(|state| state.task).collect();
    assert_eq!(held, [2]);
    let third = [attempt_ref(id(2))];
    let refused = book.release(a, query(), Epoch(0), &third);
    assert_eq!(refused, Err(stale(1)), "the new owner counts on it");
}

#[test]
fn only_the_owner_stops_attempts() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    book.admit(a, query(), Epoch(0)).unwrap();
    let running = LiveAttempt::new(CancellationToken::new(), Arc::default());
    let token = running.cancel.clone();
    book.begin(id(0), Epoch(0), running).unwrap();
    book.adopt(b, query(), Epoch(1), false).unwrap();
    book.outgoing(b, false);
    let all = [0, 1].map(|task| attempt_ref(id(task)));
    assert_eq!(book.cancel(a, query(), Epoch(0), &all), Err(stale(1)));
    assert!(!token.is_cancelled());
    assert_eq!(book.unacknowledged(), 0);
    assert_eq!(book.cancel(b, query(), Epoch(1), &all), Ok(()));
    assert!(token.is_cancelled());
    let told = book.outgoing(b, false);
    let told: Vec<_> = told.iter().map(|state| state.task).collect();
    assert_eq!(told, [1], "it is not known here, and nobody waits for it");
}

/// Somebody ended it, and somebody else has it go on: what that one is to be told waits.
#[test]
fn an_ending_that_is_forgotten_takes_nothing_of_a_later_epoch() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    let begun = Instant::now();
    book.admit(a, query(), Epoch(0)).unwrap();
    book.end(a, query(), Epoch(0), begun).unwrap();
    book.admit(b, query(), Epoch(1)).unwrap();
    let serial = begin(&mut book, id(0));
    complete(&mut book, id(0), serial, false);
    assert!(book.sweep(begun + TTL * 2, TTL).is_empty());
    assert_eq!(book.outgoing(b, false).len(), 1);
}
