//! A few seeds of [`storm`](crate::storm). For more: `cargo bench -p paceline --bench cluster -- chaos`.

use std::collections::BTreeSet;
use std::time::Duration;

use paceline_testkit::Role;

use crate::storm;
use crate::storm::felt::{Felt, never};
use crate::storm::forecast::{Blow, Target, Way};
use crate::storm::recovery::{Loss, Recovery, too_slow};
use crate::turn::Turn;

/// At each of its eight steps an owner is killed or frozen; see docs/faults.md.
const SEED: u64 = 8032;

/// Plays the first rounds of a seed.
async fn plays(seed: u64, rounds: usize) {
    let _turn = Turn::take().await;
    let say = |line: String| println!("{line}");
    let mut summary = storm::Summary::default();
    let drawn = storm::draw(seed, rounds);
    let played = storm::run(seed, &drawn, false, &mut summary, &say).await;
    played.unwrap_or_else(|problem| {
        panic!("{problem}\nagain: cargo bench -p paceline --bench cluster -- chaos --seed {seed}")
    });
    // How fast it was says nothing on a machine that has other things to do; the bench judges it.
    let judged = (summary.too_slow(), summary.never_felt());
    println!("seed {seed}: {summary}; {judged:?}");
    assert_eq!(summary.rounds, rounds);
    assert!(summary.strikes >= rounds, "{summary}");
    assert!(summary.meanwhile > 0 && summary.inserts > 0, "{summary}");
    // Each query whose owner was struck to bring a takeover about has another one by then.
    let openings = drawn.iter().filter(|round| round.opening.is_some());
    assert!(summary.changed_hands >= openings.count(), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_is_struck_and_every_answer_is_right() {
    plays(SEED, 8).await;
}

/// Schedulers that start in the middle of a takeover see the beacon of a dead one, and then that it is
/// gone: they must not take that for its word that there is no such query.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_schedulers_start_again_in_the_middle_of_a_takeover() {
    plays(100, 2).await;
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

#[test]
fn the_seed_that_is_played_strikes_an_owner_at_every_step() {
    for round in storm::draw(SEED, 8) {
        let mut strikes = round.opening.iter().chain(&round.strikes);
        let is_lost =
            strikes.any(|strike| strike.target == Target::Owner && Loss::by(strike.blow).is_some());
        assert!(is_lost, "{round}");
    }
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
    assert_eq!(too_slow(&[took(Loss::Frozen, true, 2499)]), [""; 0]);
    assert_eq!(too_slow(&[took(Loss::Frozen, true, 2501)]).len(), 1);
    assert_eq!(too_slow(&[took(Loss::CutOff, true, 2499)]), [""; 0]);
    assert_eq!(too_slow(&[took(Loss::CutOff, true, 2501)]).len(), 1);
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
