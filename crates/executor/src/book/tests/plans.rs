//! Which plan an attempt runs.

use super::*;

fn plan(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

#[test]
fn a_plan_is_sent_once_and_never_silently_another() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    let ask = |book: &mut Book, epoch, sent| book.plan(query(), StageId(0), Epoch(epoch), sent);
    book.admit(a, query(), Epoch(0)).unwrap();
    assert_eq!(ask(&mut book, 0, None), Err(PlanProblem::Missing));
    assert_eq!(ask(&mut book, 0, plan("one")).unwrap(), "one");
    assert_eq!(ask(&mut book, 0, None).unwrap(), "one");
    let two = ask(&mut book, 0, plan("two"));
    assert_eq!(two.unwrap(), "two", "the first one is not in use yet");
    begin(&mut book, id(0));
    let conflict = Err(PlanProblem::Conflict);
    assert_eq!(ask(&mut book, 0, plan("three")), conflict);

    book.admit(b, query(), Epoch(1)).unwrap();
    let adopted = ask(&mut book, 1, plan("two"));
    assert_eq!(adopted.unwrap(), "two", "as it is");
    assert_eq!(ask(&mut book, 1, plan("three")), conflict, "in use by both");
}

/// Planned afresh by an owner that did not know of this executor yet, so that nothing here went by that.
#[test]
fn a_plan_of_a_later_epoch_takes_nothing_of_that_epoch() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    let of_stage = |stage, attempt| OutputId {
        stage: StageId(stage),
        attempt: Attempt(attempt),
        ..id(0)
    };
    let former = of_stage(1, 0);
    book.admit(a, query(), Epoch(0)).unwrap();
    book.plan(query(), StageId(1), Epoch(0), plan("old"))
        .unwrap();
    // It is about to be stopped, and has not noticed.
    let stopping = begin(&mut book, former);

    book.adopt(b, query(), Epoch(1), false).unwrap();
    book.outgoing(b, false);
    book.plan(query(), StageId(0), Epoch(1), plan("scan"))
        .unwrap();
    let present = of_stage(0, 1 << 16);
    let serial = begin(&mut book, present);
    let new = book.plan(query(), StageId(1), Epoch(1), plan("new"));
    assert_eq!(new.unwrap(), "new");
    assert!(complete(&mut book, present, serial, true));
    assert!(complete(&mut book, former, stopping, false), "it is told");
    let told = book.outgoing(b, false);
    let mut attempts: Vec<_> = told.iter().map(|state| state.attempt).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [0, 1 << 16]);
    let kept = book.plan(query(), StageId(1), Epoch(1), None);
    assert_eq!(kept.unwrap(), "new");
}
