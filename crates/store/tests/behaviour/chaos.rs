//! Random faults on every write and read, and what must hold all the same.

use std::time::Duration;

use futures::future::join_all;
use paceline_model::CatalogVersion;
use paceline_store::{CatalogError, CatalogLog, Created, Key, OnExisting, StateStore, StoreError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::catalog::{by, table};
use crate::faulty::{Fault, FaultyStore};
use crate::places::{Place, Room};

const SEEDS: std::ops::Range<u64> = 0..12;

#[derive(Debug, Default)]
struct Tally {
    won: usize,
    unknown: usize,
    landed: usize,
    fired: usize,
}

fn write_fault(random: &mut StdRng) -> Fault {
    match random.random_range(0..100) {
        0..50 => Fault::None,
        50..58 => Fault::Slow(Duration::from_millis(random.random_range(1..20))),
        58..68 => Fault::FailBefore,
        68..78 => Fault::ApplyThenFail,
        78..88 => Fault::Conflict,
        88..92 => Fault::Hang,
        _ => Fault::ApplyLate,
    }
}

fn inject(faulty: &FaultyStore, random: &mut StdRng) {
    faulty.on_writes((0..200).map(|_| write_fault(random)));
    faulty.on_reads((0..400).map(|_| random.random_bool(0.2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_wins_twice_in_memory() {
    all_seeds(&Place::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_wins_twice_in_a_directory() {
    all_seeds(&Place::directory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_wins_twice_in_s3() {
    if let Some(place) = Place::ministack("state-chaos").await {
        all_seeds(&place).await;
    }
}

async fn all_seeds(place: &Place) {
    let mut tally = Tally::default();
    let runs = join_all(SEEDS.map(|seed| {
        let (race, log) = (place.fresh(), place.fresh());
        async move {
            (
                creates_race(&race, seed).await,
                catalogs_grow(&log, seed).await,
            )
        }
    }));
    for (race, log) in runs.await {
        for part in [race, log] {
            tally.won += part.won;
            tally.unknown += part.unknown;
            tally.landed += part.landed;
            tally.fired += part.fired;
        }
    }
    println!("{tally:?}");
    // A run in which nothing happened proves nothing.
    assert!(
        tally.won > 0 && tally.unknown > 0 && tally.landed > 0,
        "{tally:?}"
    );
    assert!(tally.fired > 100, "{tally:?}");
}

/// Three processes race for each of some keys.
async fn creates_race(room: &Room, seed: u64) -> Tally {
    println!("creates: seed {seed} on {}", room.name);
    let mut random = StdRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    for number in 0..4 {
        let key = Key::new("race").numbered(number);
        let racers: Vec<_> = (0..3).map(|_| room.faulty()).collect();
        for (faulty, _) in &racers {
            inject(faulty, &mut random);
        }
        let ended = join_all(racers.iter().enumerate().map(|(racer, (_, state))| {
            let key = &key;
            async move { state.create(key, racer.to_string().as_bytes()).await }
        }))
        .await;
        for (faulty, _) in &racers {
            tally.landed += faulty.land().await;
            tally.fired += faulty.fired();
        }
        let there = room.open().get(&key).await.unwrap();
        for (racer, created) in ended.iter().enumerate() {
            let name = racer.to_string();
            match created {
                Ok(Created::Won) => {
                    tally.won += 1;
                    assert_eq!(there.as_deref(), Some(name.as_bytes()), "seed {seed}");
                }
                Ok(Created::Exists(payload)) => {
                    assert_eq!(there.as_ref(), Some(payload), "seed {seed}");
                    assert_ne!(payload, name.as_bytes(), "seed {seed}: it was its own");
                }
                Err(StoreError::Unknown { .. }) => tally.unknown += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
    }
    tally
}

/// Two processes append to the catalog; what each was promised must be in the log once.
async fn catalogs_grow(room: &Room, seed: u64) -> Tally {
    println!("catalog: seed {seed} on {}", room.name);
    let mut random = StdRng::seed_from_u64(seed ^ 0xcafe);
    let writers = [room.faulty(), room.faulty()];
    let run = async |process: usize| {
        let (_, state) = &writers[process];
        let log = CatalogLog::open(state.clone()).await.unwrap();
        let mut ended = vec![];
        for n in 0..4 {
            let name = format!("t{process}_{n}");
            let statement = table(&name, "x", OnExisting::Refuse);
            ended.push((name, log.append(&statement, &by("s")).await));
        }
        ended
    };
    for (faulty, _) in &writers {
        inject(faulty, &mut random);
    }
    let (a, b) = tokio::join!(run(0), run(1));
    let mut tally = Tally::default();
    for (faulty, _) in &writers {
        tally.landed += faulty.land().await;
        tally.fired += faulty.fired();
    }
    let entries = room.open();
    let log = CatalogLog::open(entries.clone()).await.unwrap();
    for (name, appended) in a.into_iter().chain(b) {
        match appended {
            Ok(version) => {
                tally.won += 1;
                let made = entries_of(&entries, log.current().version(), &name).await;
                assert_eq!(made, [version], "seed {seed}: {name}");
            }
            Err(CatalogError::Store(StoreError::Unknown { .. })) => tally.unknown += 1,
            // Its own earlier try, whose answer it could not read, was found by a later one.
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    tally
}

/// The versions, up to `newest`, whose entry speaks of that table.
async fn entries_of(
    state: &StateStore,
    newest: CatalogVersion,
    table: &str,
) -> Vec<CatalogVersion> {
    let named = format!("\"name\":\"{table}\"");
    let mut found = vec![];
    for version in 1..=newest.0 {
        let key = Key::new("catalog").numbered(version);
        let entry = state.get(&key).await.unwrap().unwrap();
        if String::from_utf8_lossy(&entry).contains(&named) {
            found.push(CatalogVersion(version));
        }
    }
    found
}
