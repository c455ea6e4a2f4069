//! How many queries run at once.

use paceline_core::{Event, Options, Outcome};
use paceline_model::{Epoch, ErrorClass, QueryState};

use crate::bench::{Bench, failure, outcome, started};
use crate::support::{millis, query, scan};

fn narrow() -> Bench {
    let mut bench = Bench::new(Options {
        max_running_queries: 1,
        max_queued_queries: 2,
        ..Options::default()
    });
    bench.attach("a", 4, Vec::new());
    bench
}

#[test]
fn queries_beyond_the_limit_wait_for_their_turn() {
    let mut bench = narrow();
    let first = started(&bench.submit(1, scan(1)));
    assert!(started(&bench.submit(2, scan(1))).is_empty());
    assert!(started(&bench.submit(3, scan(1))).is_empty());
    assert_eq!(bench.core.running_and_queued(), (1, 2));
    assert_eq!(bench.core.status(query(2)).unwrap().0, QueryState::Queued);
    // First come, first served, and a finished query needs no place.
    let second = started(&bench.finish(&first[0]));
    assert_eq!(second[0].query, query(2));
    let third = started(&bench.cancel(2));
    assert_eq!(third[0].query, query(3));
}

#[test]
fn beyond_the_queue_it_is_try_again() {
    let mut bench = narrow();
    for number in 1..=3 {
        bench.submit(number, scan(1));
    }
    let actions = bench.submit(4, scan(1));
    let error = failure(&actions);
    assert_eq!(error.class, ErrorClass::Resource);
    assert!(error.message.contains("try again"), "{error}");
    assert_eq!(bench.core.status(query(4)), None);
    assert_eq!(bench.core.counters().queries_refused, 1);
}

/// Its client was told that it is accepted.
#[test]
fn what_was_promised_a_place_is_not_refused() {
    let mut bench = narrow();
    bench.submit(1, scan(1));
    assert_eq!(bench.core.has_room(1), Ok(()), "one of them is on its way");
    bench.submit(2, scan(1));
    let refused = bench.core.has_room(1).unwrap_err();
    assert_eq!(refused.class, ErrorClass::Resource);
    assert_eq!(bench.core.has_room(0), Ok(()));
    bench.submit(3, scan(1));
    assert!(bench.core.has_room(0).is_err());
    assert_eq!(bench.core.counters().queries_refused, 2);
    let actions = bench.tell(Event::Submit {
        query: query(4),
        graph: scan(1),
        epoch: Epoch(0),
        deadline: None,
        promised: true,
    });
    assert_eq!(outcome(&actions), None);
    assert_eq!(bench.core.running_and_queued(), (1, 3));
    assert_eq!(bench.core.status(query(4)).unwrap().0, QueryState::Queued);
}

#[test]
fn a_waiting_query_can_be_cancelled() {
    let mut bench = narrow();
    let first = started(&bench.submit(1, scan(1)));
    bench.submit(2, scan(1));
    assert_eq!(outcome(&bench.cancel(2)), Some(&Outcome::Cancelled));
    assert!(started(&bench.finish(&first[0])).is_empty());
    assert_eq!(bench.core.running_and_queued(), (0, 0));
}

#[test]
fn a_waiting_query_has_a_limit_too() {
    let mut bench = narrow();
    bench.submit(1, scan(1));
    bench.tell(Event::Submit {
        query: query(2),
        graph: scan(1),
        epoch: Epoch(0),
        deadline: Some(millis(100)),
        promised: false,
    });
    assert_eq!(failure(&bench.at(100)).class, ErrorClass::DeadlineExceeded);
    assert_eq!(bench.core.running_and_queued(), (1, 0));
}

#[test]
fn an_adopted_query_is_not_held_up() {
    let mut bench = narrow();
    bench.submit(1, scan(1));
    let actions = bench.tell(Event::Adopt {
        query: query(2),
        graph: scan(1),
        epoch: Epoch(1),
        deadline: None,
        stages: Vec::new(),
        held: Vec::new(),
    });
    assert_eq!(started(&actions).len(), 1);
    assert_eq!(bench.core.running_and_queued(), (2, 0));
}
