//! A few seeds of [`storm`](crate::storm). For more: `cargo bench -p paceline --bench chaos`.

use crate::storm;

/// Plays the first rounds of a seed.
async fn plays(seed: u64, rounds: usize) {
    let say = |line: String| println!("{line}");
    let mut summary = storm::Summary::default();
    let drawn = storm::draw(seed, rounds);
    let played = storm::run(seed, &drawn, false, &mut summary, &say).await;
    played.unwrap_or_else(|problem| {
        panic!("{problem}\nagain: cargo bench -p paceline --bench chaos -- --seed {seed}")
    });
    println!("seed {seed}: {summary}");
    assert_eq!(summary.rounds, rounds);
    assert!(summary.strikes >= rounds, "{summary}");
    assert!(summary.meanwhile > 0, "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_is_struck_and_every_answer_is_right() {
    plays(1, 8).await;
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
    }
    assert_ne!(storm::draw(1, 8), storm::draw(2, 8));
}
