//! What decides between schedulers, on stores that fail: seals, claims, outcomes and drained markers; and
//! snapshots, which take away what was decided upon.

use std::fmt::Display;
use std::time::Duration;

use paceline_model::{Epoch, QueryState};
use paceline_store::{Claims, Ending, JournalMetrics, Journals, StateStore};
use prometheus::Registry;

use crate::faulty::Fault;
use crate::journal::{accepted, begin, finished, name, query};
use crate::places::Room;

const SCRIPTS: [&[Fault]; 7] = [
    &[Fault::Slow(Duration::from_millis(5))],
    &[Fault::FailBefore],
    &[Fault::ApplyThenFail],
    &[Fault::Conflict],
    &[Fault::Hang],
    &[Fault::ApplyLate],
    // Unknown to the end; whoever has to know asks again.
    &[Fault::FailBefore, Fault::FailBefore, Fault::ApplyLate],
];

fn metrics() -> JournalMetrics {
    JournalMetrics::register(&Registry::new()).unwrap()
}

fn journals(store: StateStore) -> Journals {
    Journals::new(store, metrics())
}

/// What comes of something that may be asked again as long as it is not known.
async fn known<T, E: Display, F: Future<Output = Result<T, E>>>(mut ask: impl FnMut() -> F) -> T {
    match ask().await {
        Ok(told) => return told,
        Err(error) => assert!(error.to_string().contains("is not known"), "{error}"),
    }
    match ask().await {
        Ok(told) => told,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn survive_every_fault(room: &Room) {
    for (number, script) in SCRIPTS.into_iter().enumerate() {
        tokio::join!(
            seals(room, number, script),
            drained_markers(room, number, script),
            claims(room, number, script),
            snapshots(room, number, script),
        );
    }
}

async fn seals(room: &Room, number: usize, script: &[Fault]) {
    let a = begin(&format!("sealed-{number}"), room.open());
    a.append(accepted(1)).await.unwrap();
    let (faulty, state) = room.faulty();
    faulty.on_writes(script.iter().copied());
    let (others, b) = (journals(state), name("b"));
    let sealed = known(|| others.seal(a.scheduler(), &b)).await;
    assert_eq!(faulty.fired(), script.len(), "{script:?}");
    assert_eq!(sealed.sealed_by(), Some(&b), "{script:?}");
    assert!(sealed.book.held(query(1)).is_some(), "{script:?}");
    assert!(a.append(accepted(2)).await.is_err(), "{script:?}");
    faulty.land().await;
    let straight = journals(room.open());
    let again = straight.seal(a.scheduler(), &name("c")).await;
    assert_eq!(
        again,
        Ok(sealed),
        "{script:?}: one seal, and nothing after it"
    );
}

async fn drained_markers(room: &Room, number: usize, script: &[Fault]) {
    let a = begin(&format!("drained-{number}"), room.open());
    a.append(accepted(1)).await.unwrap();
    a.append(finished(1)).await.unwrap();
    let (straight, b) = (journals(room.open()), name("b"));
    straight.seal(a.scheduler(), &b).await.unwrap();
    let (faulty, state) = room.faulty();
    faulty.on_writes(script.iter().copied());
    let others = journals(state);
    known(|| others.mark_drained(a.scheduler(), &b)).await;
    assert_eq!(faulty.fired(), script.len(), "{script:?}");
    assert!(straight.replay(a.scheduler()).await.unwrap().drained);
    faulty.on_removals([Fault::FailBefore, Fault::ApplyThenFail]);
    assert_eq!(others.remove_segments(a.scheduler()).await, Ok(2));
    assert_eq!(faulty.fired(), script.len() + 2, "{script:?}");
    faulty.land().await;
    let again = straight.mark_drained(a.scheduler(), &name("c")).await;
    assert_eq!(again, Ok(()), "{script:?}");
    assert_eq!(straight.remove_segments(a.scheduler()).await, Ok(0));
}

async fn claims(room: &Room, number: usize, script: &[Fault]) {
    let of = query(u8::try_from(number).unwrap() + 1);
    let (a, b) = (name("a"), name("b"));
    let (faulty, state) = room.faulty();
    let (claims, straight) = (
        Claims::new(state, metrics()),
        Claims::new(room.open(), metrics()),
    );
    faulty.on_writes(script.iter().copied());
    assert_eq!(known(|| claims.adopt(of, Epoch(1), &a)).await, a);
    faulty.on_writes(script.iter().copied());
    assert_eq!(known(|| claims.submit(of, &a)).await, a);
    let ending = |state| Ending {
        state,
        by: a.clone(),
        epoch: Epoch(1),
        error: None,
        result: serde_json::Value::Null,
    };
    let ended = ending(QueryState::Finished);
    faulty.on_writes(script.iter().copied());
    assert_eq!(known(|| claims.finish(of, &ended)).await, ended);
    assert_eq!(faulty.fired(), 3 * script.len(), "{script:?}");
    faulty.land().await;
    assert_eq!(straight.adopt(of, Epoch(1), &b).await, Ok(a.clone()));
    assert_eq!(straight.submit(of, &b).await, Ok(a.clone()));
    let other = ending(QueryState::Cancelled);
    assert_eq!(straight.finish(of, &other).await, Ok(ended));
}

async fn snapshots(room: &Room, number: usize, script: &[Fault]) {
    let (faulty, state) = room.faulty();
    let a = begin(&format!("short-{number}"), state);
    for record in [accepted(1), accepted(2), finished(1)] {
        a.append(record).await.unwrap();
    }
    faulty.on_writes(script.iter().copied());
    faulty.on_removals([Fault::ApplyThenFail, Fault::FailBefore]);
    assert_eq!(a.compact().await.unwrap(), Ok(3), "{script:?}");
    assert_eq!(faulty.fired(), script.len() + 2, "{script:?}");
    assert_eq!(a.append(accepted(3)).await, Ok(4), "{script:?}");
    faulty.land().await;
    let replayed = journals(room.open()).replay(a.scheduler()).await.unwrap();
    assert_eq!((replayed.base, replayed.next), (3, 5), "{script:?}");
    let held: Vec<_> = replayed.book.queries().map(|(query, _)| query).collect();
    assert_eq!(held, [2, 3].map(query), "{script:?}");
}
