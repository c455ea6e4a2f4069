//! A create's outcome is found out, whatever becomes of its requests.

use std::time::Duration;

use bytes::Bytes;
use paceline_store::{Created, Key, StoreError};

use crate::faulty::Fault;
use crate::places::{Place, Room};

/// What a script of faults must lead to, on a key that is free and on one that is taken.
struct Case {
    writes: &'static [Fault],
    reads: &'static [bool],
    sends: usize,
}

const fn case(writes: &'static [Fault], reads: &'static [bool], sends: usize) -> Case {
    Case {
        writes,
        reads,
        sends,
    }
}

const WON: [Case; 8] = [
    case(&[Fault::Slow(Duration::from_millis(5))], &[], 1),
    case(&[Fault::ApplyThenFail], &[], 1),
    case(&[Fault::ApplyThenFail], &[true, true], 1),
    case(&[Fault::FailBefore], &[], 2),
    case(&[Fault::Conflict], &[], 2),
    case(&[Fault::Conflict, Fault::FailBefore], &[], 3),
    case(&[Fault::Hang], &[], 2),
    case(&[Fault::FailBefore, Fault::ApplyThenFail], &[true], 2),
];

pub(crate) async fn every_outcome_is_settled(room: &Room) {
    for (number, case) in WON.iter().enumerate() {
        let key = Key::new("won").numbered(number as u64);
        let (faulty, state) = room.faulty();
        faulty.on_writes(case.writes.iter().copied());
        faulty.on_reads(case.reads.iter().copied());
        let created = state.create(&key, b"mine").await;
        assert_eq!(created, Ok(Created::Won), "{}, case {number}", room.name);
        let injected = case.writes.len() + case.reads.iter().filter(|&&fail| fail).count();
        assert_eq!(faulty.fired(), injected, "case {number}");
        assert_eq!(faulty.sent(), case.sends, "case {number}");
        let there = room.open().get(&key).await.unwrap();
        assert_eq!(there.as_deref(), Some(&b"mine"[..]));
    }
    for (number, case) in WON.iter().enumerate() {
        let key = Key::new("lost").numbered(number as u64);
        room.open().create(&key, b"theirs").await.unwrap();
        let (faulty, state) = room.faulty();
        faulty.on_writes(case.writes.iter().copied());
        faulty.on_reads(case.reads.iter().copied());
        let created = state.create(&key, b"mine").await;
        let theirs = Ok(Created::Exists(Bytes::from_static(b"theirs")));
        assert_eq!(created, theirs, "{}, case {number}", room.name);
        assert!(faulty.fired() > 0);
    }
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_known_to_be_won() {
    let place = Place::memory();
    let room = place.fresh();
    let key = Key::new("answerless");
    let (faulty, state) = room.faulty();
    faulty.on_writes([Fault::ApplyThenFail]);
    assert_eq!(state.create(&key, b"mine").await, Ok(Created::Won));
    assert_eq!(faulty.fired(), 1);
    // Somebody else's write of the very same bytes is not mistaken for it.
    let theirs = room.open().create(&key, b"mine").await;
    assert_eq!(theirs, Ok(Created::Exists(Bytes::from_static(b"mine"))));
}

#[tokio::test]
async fn a_write_that_lands_late_is_ones_own() {
    let place = Place::memory();
    let room = place.fresh();
    let key = Key::new("late");
    let (faulty, state) = room.faulty();
    // The first send is given up, the second one wins, then the first one arrives.
    faulty.on_writes([Fault::ApplyLate]);
    assert_eq!(state.create(&key, b"mine").await, Ok(Created::Won));
    assert_eq!(faulty.land().await, 1);
    assert_eq!(state.get(&key).await.unwrap().unwrap(), "mine");
}

#[tokio::test]
async fn what_cannot_be_known_is_called_unknown() {
    let place = Place::memory();
    let room = place.fresh();
    let key = Key::new("unknown");
    let (faulty, state) = room.faulty();
    faulty.on_writes([Fault::FailBefore, Fault::FailBefore, Fault::ApplyLate]);
    let error = state.create(&key, b"mine").await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
    assert_eq!(
        (faulty.fired(), faulty.sent()),
        (3, 3),
        "it stops after three"
    );
    assert_eq!(state.get(&key).await, Ok(None));
    // It was right not to say "no".
    faulty.land().await;
    assert_eq!(state.get(&key).await.unwrap().unwrap(), "mine");
}

#[tokio::test]
async fn without_reading_back_nothing_is_known() {
    let place = Place::memory();
    let room = place.fresh();
    let (faulty, state) = room.faulty();
    faulty.on_writes([Fault::ApplyThenFail]);
    faulty.on_reads([true; 1000]);
    let error = state.create(&Key::new("x"), b"mine").await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_is_final_unless_something_is_under_way() {
    let place = Place::memory();
    let room = place.fresh();
    let (faulty, state) = room.faulty();
    faulty.on_writes([Fault::Denied]);
    let error = state.create(&Key::new("x"), b"mine").await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("403"), "{error}");
    assert_eq!(faulty.sent(), 1, "asking again is of no use");

    faulty.on_writes([Fault::ApplyLate, Fault::Denied, Fault::Denied]);
    let error = state.create(&Key::new("y"), b"mine").await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
}

#[tokio::test]
async fn reads_are_repeated_and_then_given_up() {
    let place = Place::memory();
    let room = place.fresh();
    let (faulty, state) = room.faulty();
    let key = Key::new("x");
    state.create(&key, b"mine").await.unwrap();
    faulty.on_reads([true, true, true]);
    assert_eq!(state.get(&key).await.unwrap().unwrap(), "mine");
    assert_eq!(faulty.fired(), 3);
    faulty.on_reads([true; 1000]);
    let error = state.get(&key).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}
