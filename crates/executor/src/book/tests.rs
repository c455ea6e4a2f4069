//! The book's promises: epochs fence, states reach the present owner, nothing is lost or kept for
//! ever.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use paceline_model::{Attempt, StageId, TaskId};
use uuid::Uuid;

use super::*;

mod plans;
mod takeovers;

const TTL: Duration = Duration::from_secs(600);

fn query() -> QueryId {
    QueryId(Uuid::from_u128(7))
}

fn id(task: u32) -> OutputId {
    OutputId {
        query: query(),
        stage: StageId(0),
        task: TaskId(task),
        attempt: Attempt(0),
    }
}

fn finished() -> cluster::task_state::State {
    cluster::task_state::State::Finished(cluster::Finished::default())
}

fn failed() -> cluster::task_state::State {
    cluster::task_state::State::Failed(cluster::Failed::default())
}

/// Begins an attempt for whoever owns its query.
fn begin(book: &mut Book, id: OutputId) -> u64 {
    let live = LiveAttempt::new(CancellationToken::new(), Arc::default());
    let epoch = book.epoch(id.query).unwrap();
    match book.begin(id, epoch, live) {
        Ok(Begin::Started(serial)) => serial,
        other => panic!("{other:?}"),
    }
}

fn complete(book: &mut Book, id: OutputId, serial: u64, holds_output: bool) -> bool {
    book.complete(Completion {
        id,
        serial,
        state: finished(),
        holds_output,
    })
}

fn attach(book: &mut Book, name: &str) -> LinkId {
    book.attach(SchedulerId::new(name)).id
}

#[test]
fn a_lower_epoch_is_refused_whoever_speaks() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    assert_eq!(book.admit(a, query(), Epoch(1)), Ok(()));
    assert_eq!(book.admit(b, query(), Epoch(1)), Err(Refusal::NotOwner));
    assert_eq!(book.admit(b, query(), Epoch(2)), Ok(()));
    let stale = Err(Refusal::StaleEpoch(Epoch(2)));
    assert_eq!(book.admit(a, query(), Epoch(1)), stale);
    assert_eq!(book.admit(b, query(), Epoch(1)), stale);
}

#[test]
fn states_are_said_again_until_the_owner_acknowledges_them() {
    let mut book = Book::default();
    let a = attach(&mut book, "a");
    book.admit(a, query(), Epoch(0)).unwrap();
    let serial = begin(&mut book, id(0));
    assert!(complete(&mut book, id(0), serial, false));
    let first = book.outgoing(a, false);
    assert_eq!(first.len(), 1);
    assert!(book.outgoing(a, false).is_empty(), "said once a link");

    book.detach(a, Instant::now());
    let a = attach(&mut book, "a");
    assert_eq!(book.outgoing(a, false), first, "said again on the next");
    book.acknowledge(a, &[first[0].number]);
    book.detach(a, Instant::now());
    let a = attach(&mut book, "a");
    assert!(book.outgoing(a, false).is_empty());
    assert_eq!(book.unacknowledged(), 0);
}

#[test]
fn a_new_owner_is_told_everything_and_the_old_one_counts_for_nothing() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    book.admit(a, query(), Epoch(0)).unwrap();
    let kept = begin(&mut book, id(0));
    complete(&mut book, id(0), kept, true);
    let told = book.outgoing(a, false);
    book.acknowledge(a, &[told[0].number]);
    let unheard = begin(&mut book, id(1));
    complete(&mut book, id(1), unheard, false);
    let told = book.outgoing(a, false);
    let _running = begin(&mut book, id(2));

    book.admit(b, query(), Epoch(3)).unwrap();
    let news = book.adopted(a);
    assert_eq!(
        (news.len(), news[0].epoch),
        (1, 3),
        "it is told that it is over"
    );
    book.acknowledge(a, &[told[0].number]);
    let states = book.outgoing(b, false);
    let mut tasks: Vec<_> = states.iter().map(|state| state.task).collect();
    tasks.sort_unstable();
    assert_eq!(tasks, [0, 1, 2]);
    assert!(states.iter().all(|state| state.epoch == 3));
    assert_eq!(book.unacknowledged(), 2, "the old owner's word is void");
}

#[test]
fn an_inventory_names_outputs_and_all_whose_end_nobody_heard() {
    let mut book = Book::default();
    let a = attach(&mut book, "a");
    book.admit(a, query(), Epoch(4)).unwrap();
    let held = begin(&mut book, id(0));
    complete(&mut book, id(0), held, true);
    let inline = begin(&mut book, id(1));
    complete(&mut book, id(1), inline, false);
    begin(&mut book, id(2));
    let inventory = book.inventory();
    let [held] = &inventory.queries[..] else {
        panic!("{inventory:?}");
    };
    assert_eq!((held.epoch, held.owner.as_str()), (4, "a"));
    let finished: Vec<_> = held.finished.iter().map(|state| state.task).collect();
    let mut running: Vec<_> = held.running.iter().map(|attempt| attempt.task).collect();
    running.sort_unstable();
    assert_eq!((finished, running), (vec![0], vec![1, 2]));
}

#[test]
fn an_ended_query_stays_ended() {
    let mut book = Book::default();
    let a = attach(&mut book, "a");
    book.admit(a, query(), Epoch(1)).unwrap();
    let serial = begin(&mut book, id(0));
    let live = book.end(a, query(), Epoch(1), Instant::now()).unwrap();
    assert_eq!(live.len(), 1);
    assert!(!complete(&mut book, id(0), serial, true), "nobody wants it");
    assert_eq!(book.admit(a, query(), Epoch(1)), Err(Refusal::Ended));
    assert_eq!(
        book.admit(a, query(), Epoch(2)),
        Ok(()),
        "a later owner may"
    );
}

#[test]
fn the_end_of_an_ended_querys_attempt_is_confirmed() {
    let mut book = Book::default();
    let a = attach(&mut book, "a");
    book.admit(a, query(), Epoch(1)).unwrap();
    let (stopped, done) = (begin(&mut book, id(0)), begin(&mut book, id(1)));
    book.end(a, query(), Epoch(1), Instant::now()).unwrap();
    book.complete(Completion {
        id: id(0),
        serial: stopped,
        state: cluster::task_state::State::Cancelled(cluster::Cancelled {}),
        holds_output: false,
    });
    // It came to its end just before it was to stop: what it left is dropped.
    assert!(!complete(&mut book, id(1), done, true));
    let states = book.outgoing(a, false);
    assert_eq!(states.len(), 2);
    for state in &states {
        assert_eq!(state.epoch, 1);
        let state = state.state.as_ref();
        let cancelled = cluster::task_state::State::Cancelled(cluster::Cancelled {});
        assert_eq!(state, Some(&cancelled));
    }
    assert!(book.is_quiet(), "nobody depends on it");
}

#[test]
fn only_what_nobody_owns_for_long_is_an_orphan() {
    let mut book = Book::default();
    let a = attach(&mut book, "a");
    book.admit(a, query(), Epoch(0)).unwrap();
    begin(&mut book, id(0));
    let lost = Instant::now();
    assert!(book.sweep(lost + TTL * 2, TTL).is_empty(), "owned");
    book.detach(a, lost);
    assert!(book.sweep(lost + TTL / 2, TTL).is_empty(), "not yet");
    let again = attach(&mut book, "a");
    assert!(book.sweep(lost + TTL * 2, TTL).is_empty(), "owned again");
    book.detach(again, lost);
    let orphans = book.sweep(lost + TTL, TTL);
    assert_eq!(orphans.len(), 1);
    assert_eq!(orphans[0].1.len(), 1);
    assert_eq!((book.queries(), book.unacknowledged()), (0, 0));
}

#[test]
fn a_dropped_attempt_says_nothing_of_its_successor() {
    let mut book = Book::default();
    let a = attach(&mut book, "a");
    book.admit(a, query(), Epoch(0)).unwrap();
    let former = begin(&mut book, id(0));
    book.clear(query());
    let present = begin(&mut book, id(0));
    assert!(!complete(&mut book, id(0), former, true));
    assert!(book.outgoing(a, false).is_empty());
    assert!(complete(&mut book, id(0), present, true));
    assert_eq!(book.outgoing(a, false).len(), 1);
}

#[test]
fn repeated_launches_begin_nothing_twice() {
    let mut book = Book::default();
    let a = attach(&mut book, "a");
    book.admit(a, query(), Epoch(0)).unwrap();
    let serial = begin(&mut book, id(0));
    let again = || LiveAttempt::new(CancellationToken::new(), Arc::default());
    let launch = |book: &mut Book| book.begin(id(0), Epoch(0), again());
    assert_eq!(launch(&mut book), Ok(Begin::Live));
    complete(&mut book, id(0), serial, true);
    let told = book.outgoing(a, false);
    book.acknowledge(a, &[told[0].number]);
    assert_eq!(launch(&mut book), Ok(Begin::Finished));
    assert_eq!(book.outgoing(a, false).len(), 1, "told again");
}

#[test]
fn progress_is_said_when_it_changed() {
    let mut book = Book::default();
    let a = attach(&mut book, "a");
    book.admit(a, query(), Epoch(0)).unwrap();
    let progress = Arc::new(Progress::default());
    let live = LiveAttempt::new(CancellationToken::new(), progress.clone());
    book.begin(id(0), Epoch(0), live).unwrap();
    assert!(book.outgoing(a, true).is_empty(), "it waits");
    progress
        .started
        .store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(book.outgoing(a, true).len(), 1);
    assert!(book.outgoing(a, true).is_empty());
    progress.add(5, 40);
    assert!(book.outgoing(a, false).is_empty(), "not between heartbeats");
    let states = book.outgoing(a, true);
    let running = cluster::Running { rows: 5, bytes: 40 };
    assert_eq!(
        states[0].state,
        Some(cluster::task_state::State::Running(running))
    );
    assert_eq!(states[0].number, 0, "not kept");
}

#[test]
fn a_second_link_to_a_scheduler_takes_the_place_of_the_first() {
    let mut book = Book::default();
    let first = book.attach(SchedulerId::new("a"));
    book.admit(first.id, query(), Epoch(0)).unwrap();
    let second = book.attach(SchedulerId::new("a"));
    assert!(first.superseded.is_cancelled());
    book.detach(first.id, Instant::now());
    assert!(book.is_attached(&SchedulerId::new("a")));
    assert_eq!(
        book.admit(first.id, query(), Epoch(0)),
        Err(Refusal::Detached)
    );
    book.tell(id(0), failed());
    assert_eq!(book.outgoing(second.id, false).len(), 1);
}

#[test]
fn an_adopter_is_told_what_is_held_and_everybody_who_is_attached() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    book.admit(a, query(), Epoch(0)).unwrap();
    let kept = begin(&mut book, id(0));
    complete(&mut book, id(0), kept, true);
    let _running = begin(&mut book, id(1));

    assert!(book.adopt(b, query(), Epoch(1), false).unwrap().is_empty());
    let told = book.adopted(b);
    assert_eq!((told.len(), told[0].epoch), (1, 1));
    assert_eq!((told[0].finished.len(), told[0].running.len()), (1, 1));
    assert!(book.adopted(b).is_empty(), "said once");
    assert_eq!(book.adopted(a).len(), 1);

    let refused = book.adopt(a, query(), Epoch(0), false);
    assert_eq!(refused.unwrap_err(), Refusal::StaleEpoch(Epoch(1)));
    let told = book.adopted(a);
    assert_eq!((told[0].epoch, told[0].finished.len()), (1, 0));

    book.detach(a, Instant::now());
    assert_eq!(book.attached(), [SchedulerId::new("b")]);
}

#[test]
fn a_query_planned_afresh_leaves_nothing_of_its_former_plan() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    book.admit(a, query(), Epoch(0)).unwrap();
    let kept = begin(&mut book, id(0));
    complete(&mut book, id(0), kept, true);
    let _running = begin(&mut book, id(1));
    let dropped = book.adopt(b, query(), Epoch(1), true).unwrap();
    assert_eq!(dropped.len(), 1, "what runs is stopped");
    let told = book.adopted(b);
    assert!(told[0].finished.is_empty() && told[0].running.is_empty());
    assert!(book.outgoing(b, true).is_empty());
}

/// Completes an attempt whose output of so many bytes goes to the owner with its end, which hears of it.
fn bring(book: &mut Book, owner: LinkId, id: OutputId, bytes: usize) {
    let serial = begin(book, id);
    let finished = cluster::Finished {
        inline_result: Some(Bytes::from(vec![0; bytes])),
        ..cluster::Finished::default()
    };
    assert!(book.complete(Completion {
        id,
        serial,
        state: cluster::task_state::State::Finished(finished),
        holds_output: false,
    }));
    let told = book.outgoing(owner, false);
    book.acknowledge(owner, &[told[0].number]);
}

/// The tasks whose results come along with the answer to an adoption, and how large they are.
fn brought(book: &mut Book, by: LinkId, epoch: u64) -> Vec<(u32, usize)> {
    book.adopt(by, query(), Epoch(epoch), false).unwrap();
    // It may also be told that it had lost the query before.
    let told = book.adopted(by);
    let held = told.last().unwrap();
    assert_eq!(held.epoch, epoch);
    let results = held.finished.iter().filter_map(|state| {
        let Some(cluster::task_state::State::Finished(finished)) = &state.state else {
            return None;
        };
        Some((state.task, finished.inline_result.as_ref()?.len()))
    });
    results.collect()
}

#[test]
fn a_result_that_went_to_the_owner_is_brought_to_the_next_one() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    book.admit(a, query(), Epoch(0)).unwrap();
    bring(&mut book, a, id(0), 10);
    assert_eq!(book.unacknowledged(), 0);
    let inventory = book.inventory();
    let held = &inventory.queries[0];
    assert!(
        held.finished.is_empty() && held.running.is_empty(),
        "who attaches again has it"
    );
    assert!(book.is_quiet(), "nobody who drains waits for its end");

    assert_eq!(brought(&mut book, b, 1), [(0, 10)]);
    assert_eq!(brought(&mut book, a, 2), [(0, 10)], "and so on");
    let released = book.release(a, query(), Epoch(2), &[attempt_ref(id(0))]);
    assert_eq!(released, Ok(vec![id(0)]));
    assert!(brought(&mut book, b, 3).is_empty());
}

#[test]
fn copies_of_results_are_bounded_and_go_with_their_query() {
    let mut book = Book::default();
    let (a, b) = (attach(&mut book, "a"), attach(&mut book, "b"));
    book.admit(a, query(), Epoch(0)).unwrap();
    let much = 40 << 20;
    for (task, bytes) in [(0, much), (1, much), (2, 10)] {
        bring(&mut book, a, id(task), bytes);
    }
    assert_eq!(brought(&mut book, b, 1), [(0, much), (2, 10)]);
    book.end(b, query(), Epoch(1), Instant::now()).unwrap();
    book.admit(b, query(), Epoch(2)).unwrap();
    bring(&mut book, b, id(3), much);
    assert_eq!(brought(&mut book, a, 3), [(3, much)], "there is room again");
    assert!(book.adopt(b, query(), Epoch(4), true).is_ok());
    let left = brought(&mut book, a, 5);
    assert!(left.is_empty(), "those of another plan are nothing");
}
