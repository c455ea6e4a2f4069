use super::*;
use crate::ownership::testing::scheduler;

const NOW: Now = Now(Duration::from_secs(9));

fn alive(name: &str) -> Evidence {
    let scheduler = scheduler(name);
    Evidence::Alive { scheduler }
}

fn refused(name: &str) -> Evidence {
    let scheduler = scheduler(name);
    Evidence::Refused { scheduler }
}

fn still(name: &str, millis: u64) -> Evidence {
    Evidence::Still {
        scheduler: scheduler(name),
        silence: Duration::from_millis(millis),
    }
}

fn stream(executor: &str, name: &str, held: bool) -> Evidence {
    Evidence::Stream {
        executor: ExecutorId::new(executor),
        scheduler: scheduler(name),
        held,
    }
}

/// Who is dead in the end, with peers `a` and `b`.
fn dead(evidence: Vec<Evidence>) -> Vec<String> {
    let mut suspicion = Suspicion::new(SuspicionOptions::default());
    suspicion.handle(alive("a"), NOW);
    let mut dead = suspicion.handle(alive("b"), NOW);
    for piece in evidence {
        dead = suspicion.handle(piece, NOW);
    }
    dead.iter().map(ToString::to_string).collect()
}

#[test]
fn a_refused_connection_confirmed_by_executors_is_enough() {
    let lost = |x| stream(x, "a", false);
    assert_eq!(dead(vec![refused("a")]), [""; 0]);
    assert_eq!(dead(vec![lost("x"), lost("y")]), [""; 0]);
    assert_eq!(dead(vec![refused("a"), lost("x")]), ["a"]);
    assert_eq!(dead(vec![lost("x"), refused("a")]), ["a"]);
    let half = vec![refused("a"), lost("x"), stream("y", "a", true)];
    assert_eq!(dead(half), ["a"]);
    let again = vec![refused("a"), alive("a"), lost("x")];
    assert_eq!(dead(again), [""; 0], "it answered since");
}

#[test]
fn who_is_cut_off_is_dead_though_its_beacon_goes_on() {
    let unanswered = |millis, executors| Evidence::Unanswered {
        scheduler: scheduler("a"),
        silence: Duration::from_millis(millis),
        executors,
    };
    let lost = || stream("x", "a", false);
    assert_eq!(dead(vec![unanswered(2999, 1), lost()]), [""; 0]);
    assert_eq!(dead(vec![unanswered(3000, 1), lost()]), ["a"]);
    assert_eq!(dead(vec![unanswered(3000, 1)]), ["a"], "new ones");
    let beating = vec![unanswered(2000, 1), alive("a"), unanswered(3000, 1)];
    assert_eq!(dead(beating), ["a"], "a beacon is no answer");
    let answered = Evidence::Answered {
        scheduler: scheduler("a"),
    };
    let answers = vec![unanswered(3000, 1), answered, lost()];
    assert_eq!(dead(answers), [""; 0]);
    assert_eq!(dead(vec![unanswered(9000, 0)]), [""; 0], "nobody is here");
    let held = vec![stream("x", "a", true), unanswered(9000, 1)];
    assert_eq!(dead(held), [""; 0], "it is there for executors");
}

/// Executors are held for attached a while longer than they are heard of. When they are given up, they
/// turn out to have been witnesses to nothing.
#[test]
fn whom_nothing_reaches_suspects_nobody_once_its_executors_are_gone_as_well() {
    let unanswered = |executors| Evidence::Unanswered {
        scheduler: scheduler("a"),
        silence: Duration::from_millis(3500),
        executors,
    };
    let gone = |x| Evidence::ExecutorGone {
        executor: ExecutorId::new(x),
    };
    let mut evidence = vec![
        stream("x", "a", true),
        stream("y", "a", true),
        unanswered(2),
        gone("x"),
        gone("y"),
    ];
    assert_eq!(dead(evidence.clone()), [""; 0]);
    evidence.push(unanswered(0));
    assert_eq!(dead(evidence.clone()), [""; 0]);
    evidence.push(unanswered(1));
    assert_eq!(dead(evidence), ["a"], "another one is here, and not there");
}

#[test]
fn silence_waits() {
    assert_eq!(dead(vec![still("a", 2999)]), [""; 0]);
    assert_eq!(dead(vec![still("a", 3000)]), ["a"]);
    assert_eq!(dead(vec![still("a", 3000), alive("a")]), [""; 0]);
}

#[test]
fn whom_most_executors_hold_is_not_dead() {
    let mut evidence = vec![refused("a"), still("a", 60_000)];
    evidence.push(stream("x", "a", true));
    evidence.push(stream("y", "a", true));
    evidence.push(stream("z", "a", false));
    assert_eq!(dead(evidence.clone()), [""; 0]);
    let executor = ExecutorId::new("x");
    evidence.push(Evidence::ExecutorGone { executor });
    assert_eq!(dead(evidence), ["a"], "half is not most");
}

#[test]
fn when_all_look_dead_oneself_is_suspect_first() {
    let silent = |millis| vec![still("a", millis), still("b", millis)];
    assert_eq!(dead(silent(3500)), [""; 0]);
    assert_eq!(dead(silent(6000)), ["a", "b"], "it may be true after all");
    let mut frozen = silent(3500);
    frozen.push(stream("x", "a", false));
    frozen.push(stream("x", "b", false));
    assert_eq!(dead(frozen), ["a", "b"], "executors have lost them too");
    let mut confirmed = silent(3500);
    confirmed.push(refused("a"));
    confirmed.push(stream("x", "a", false));
    assert_eq!(dead(confirmed), ["a", "b"]);
}

/// It would be waited for with every query that it should adopt first, and remembered for ever.
#[test]
fn who_took_its_beacon_away_is_forgotten_unless_an_executor_reaches_it() {
    let mut suspicion = Suspicion::new(SuspicionOptions::default());
    let seen = [
        alive("a"),
        alive("b"),
        stream("x", "new", true),
        stream("x", "b", true),
        stream("x", "b", false),
    ];
    for piece in seen {
        suspicion.handle(piece, NOW);
    }
    let of = BTreeSet::from([scheduler("a")]);
    suspicion.handle(Evidence::Beacons { of }, NOW);
    assert_eq!(suspicion.live(), ["a", "new"].map(scheduler).into());
    // What was held of those that stay is held of them still.
    let of = BTreeSet::from(["a", "new"].map(scheduler));
    suspicion.handle(refused("new"), NOW);
    suspicion.handle(Evidence::Beacons { of }, NOW);
    let dead = suspicion.handle(stream("x", "new", false), NOW);
    assert_eq!(dead, [scheduler("new")]);
}

#[test]
fn who_is_gone_is_not_suspected() {
    let gone = Evidence::Gone {
        scheduler: scheduler("a"),
    };
    assert_eq!(dead(vec![still("a", 5000), gone.clone()]), [""; 0]);
    // Executors notice late, and it does not take part in anything again.
    let mut suspicion = Suspicion::new(SuspicionOptions::default());
    for piece in [alive("a"), alive("b"), gone, stream("x", "a", false)] {
        suspicion.handle(piece, NOW);
    }
    assert_eq!(suspicion.live(), [scheduler("b")].into());
}
