//! A storm that is drawn by hand. For more: `cargo bench -p paceline --bench cluster -- chaos`.

use std::collections::BTreeSet;
use std::time::Duration;

use paceline_testkit::Role;

use crate::storm;
use crate::storm::Round;
use crate::storm::felt::{Felt, never};
use crate::storm::forecast::{Blow, COUNT, Strike, Target, Way};
use crate::storm::recovery::{Loss, Recovery, too_slow};
use crate::turn::Turn;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_is_struck_and_every_answer_is_right() {
    let turn = Turn::take().await;
    let rounds = storm::by_hand();
    let say = |line: String| println!("{line}");
    let at_rest = || turn.end();
    let mut summary = storm::Summary::default();
    let played = storm::run("by hand", &rounds, &at_rest, &mut summary, &say).await;
    played.unwrap_or_else(|problem| {
        panic!("{problem}\nagain: cargo bench -p paceline --bench cluster -- chaos --by-hand")
    });
    // How fast it was, and whether an answer came before a fault was felt, says nothing on a machine
    // that has other things to do; the bench judges it.
    let judged = (summary.too_slow(), summary.never_felt());
    println!("{summary}; {judged:?}");
    assert_eq!(summary.rounds, rounds.len());
    let planned: usize = rounds.iter().map(victims).sum();
    assert_eq!(summary.strikes, planned, "{summary}");
    assert!(summary.meanwhile > 0 && summary.inserts > 0, "{summary}");
    // Each query whose owner was struck to bring a takeover about has another one by then.
    let openings = rounds.iter().filter(|round| round.opening.is_some());
    assert!(summary.changed_hands >= openings.count(), "{summary}");
}

/// All that strikes in a round.
fn strikes(round: &Round) -> impl Iterator<Item = &Strike> {
    round.opening.iter().chain(&round.strikes)
}

/// How many processes are struck in a round. Of all schedulers one is down already that its opening killed,
/// and is only started again with the others.
fn victims(round: &Round) -> usize {
    let targets = strikes(round).map(|strike| match strike.target {
        Target::AllSchedulers | Target::AllExecutors => COUNT,
        Target::Owner | Target::OtherScheduler | Target::Executor(_) => 1,
    });
    let all: usize = targets.sum();
    let is_down = round.opening.is_some_and(|opening| opening.blow.kills());
    let mut struck = round.strikes.iter();
    let is_met = struck.any(|strike| strike.target == Target::AllSchedulers);
    all - usize::from(is_down && is_met)
}

fn role(strike: &Strike) -> Role {
    match strike.target {
        Target::Executor(_) | Target::AllExecutors => Role::Executor,
        Target::Owner | Target::OtherScheduler | Target::AllSchedulers => Role::Scheduler,
    }
}

#[test]
fn a_seed_draws_the_same_rounds_and_eight_of_them_have_every_step() {
    for seed in 0..100 {
        let rounds = storm::draw(seed, 8);
        assert_eq!(rounds, storm::draw(seed, 8));
        let mut steps: Vec<String> = rounds.iter().map(|r| format!("{:?}", r.step)).collect();
        steps.sort();
        steps.dedup();
        assert_eq!(steps.len(), 8, "seed {seed}");
        let writes = rounds.iter().filter(|round| round.way == Way::Written);
        assert_eq!(writes.count(), 1, "seed {seed}");
        assert_eq!(rounds[..3], storm::draw(seed, 3), "seed {seed}");
    }
    assert_ne!(storm::draw(1, 8), storm::draw(2, 8));
}

/// What is done to a process, where it does not matter for how long.
fn kind(strike: &Strike) -> &'static str {
    match strike.blow {
        Blow::Kill | Blow::KillAndRestart => "SIGKILL",
        Blow::Freeze => "SIGSTOP",
        Blow::Cut | Blow::CutOff | Blow::Stall => "a cut",
    }
}

#[test]
fn the_rounds_that_are_played_strike_everybody_with_everything_at_every_step() {
    let mut struck = BTreeSet::new();
    let mut owner_lost = BTreeSet::new();
    for round in storm::by_hand() {
        let step = format!("{:?}", round.step);
        // What brings a takeover about comes before the step.
        for strike in &round.strikes {
            struck.insert(format!("{step}: {} of a {}", kind(strike), role(strike)));
        }
        let is_lost =
            |strike: &Strike| strike.target == Target::Owner && Loss::by(strike.blow).is_some();
        if strikes(&round).any(is_lost) {
            owner_lost.insert(step);
        }
    }
    assert_eq!(struck.len(), 8 * 3 * 2, "{struck:?}");
    assert_eq!(owner_lost.len(), 8, "{owner_lost:?}");
}

#[test]
fn the_rounds_that_are_played_are_asked_for_in_every_way() {
    let rounds = storm::by_hand();
    for way in [Way::Flight, Way::Named, Way::Submitted, Way::Written] {
        assert!(rounds.iter().any(|round| round.way == way), "{way:?}");
    }
    // As a seed has them that showed what must not be.
    assert_eq!(rounds[..2], storm::draw(100, 2));
}

#[test]
fn a_thousand_seeds_do_everything_to_everybody_at_every_step() {
    let mut done = BTreeSet::new();
    for round in (0..1000).flat_map(|seed| storm::draw(seed, 8)) {
        for strike in &round.strikes {
            let target = match strike.target {
                Target::Executor(_) => Target::Executor(0),
                other => other,
            };
            done.insert(format!("{:?} {:?} {target:?}", round.step, strike.blow));
        }
    }
    // Six blows at three kinds of targets, and one at all schedulers and at all executors.
    assert_eq!(done.len(), 8 * (6 * 3 + 2), "{done:?}");
}

#[test]
fn takeovers_that_take_too_long_are_noticed() {
    let took = |loss, alone, millis| Recovery {
        loss,
        alone,
        took: Duration::from_millis(millis),
    };
    let killed = |millis| took(Loss::Killed, true, millis);
    assert_eq!(too_slow(&[]), [""; 0]);
    assert_eq!(too_slow(&[299; 9].map(killed)), [""; 0]);
    assert_eq!(too_slow(&[301; 9].map(killed)).len(), 1, "the median");
    assert_eq!(too_slow(&[301; 4].map(killed)), [""; 0], "of too few");
    let worst = too_slow(&[10, 20, 30, 40, 1001].map(killed));
    assert!(
        worst.len() == 1 && worst[0].contains("slowest"),
        "{worst:?}"
    );
    assert_eq!(too_slow(&[took(Loss::Killed, false, 9000)]), [""; 0]);
    for silent in [Loss::Frozen, Loss::CutOff, Loss::Stalled] {
        assert_eq!(too_slow(&[took(silent, true, 2499)]), [""; 0]);
        assert_eq!(too_slow(&[took(silent, true, 2501)]).len(), 1);
    }
}

#[test]
fn a_kind_of_fault_that_nobody_ever_feels_is_noticed() {
    let felt = |blow, role, felt| Felt::of(blow, role, felt).unwrap();
    let executor = |ever| felt(Blow::CutOff, Role::Executor, ever);
    let scheduler = |ever| felt(Blow::CutOff, Role::Scheduler, ever);
    assert_eq!(never(&[executor(false); 9]), [""; 0], "too few");
    let said = never(&[executor(false); 10]);
    assert!(
        said.len() == 1 && said[0].contains("CutOff of executors"),
        "{said:?}"
    );
    let others = [[executor(false); 10], [scheduler(true); 10]].concat();
    assert_eq!(never(&others).len(), 1, "those of schedulers are no help");
    let once = [vec![executor(false); 10], vec![executor(true)]].concat();
    assert_eq!(never(&once), [""; 0]);
    assert!(Felt::of(Blow::Kill, Role::Executor, false).is_none());
}
