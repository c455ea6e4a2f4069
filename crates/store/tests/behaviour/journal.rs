//! Journals: what is acknowledged is there for whoever takes over, and nothing comes after a seal.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use paceline_core::ownership::Closed;
use paceline_model::{Epoch, QueryId, QueryState, SchedulerId};
use paceline_proto::state::record::Record as Kind;
use paceline_proto::state::{
    Accepted, Adopted, Finished, PartitionRange, Record, Segment, StageFormed, Statement,
};
use paceline_store::{
    AppendError, Claims, Created, Deferred, Ending, Journal, JournalError, JournalMetrics,
    JournalOptions, Journals, Key, StateStore,
};
use prometheus::Registry;
use prost::Message;

use crate::faulty::Fault;
use crate::places::{Place, Room};

fn metrics() -> JournalMetrics {
    JournalMetrics::register(&Registry::new()).unwrap()
}

pub(crate) fn journals(store: StateStore) -> Journals {
    Journals::new(store, metrics())
}

pub(crate) fn name(name: &str) -> SchedulerId {
    SchedulerId::new(name)
}

fn options() -> JournalOptions {
    JournalOptions {
        retry_after: Duration::from_millis(1),
        ..JournalOptions::default()
    }
}

pub(crate) fn begin(scheduler: &str, store: StateStore) -> Journal {
    Journal::begin(name(scheduler), journals(store), options())
}

pub(crate) fn query(n: u8) -> QueryId {
    QueryId::from_slice(&[n; 16]).unwrap()
}

fn bytes(n: u8) -> Bytes {
    Bytes::copy_from_slice(&[n; 16])
}

pub(crate) fn record(kind: Kind) -> Record {
    Record { record: Some(kind) }
}

pub(crate) fn accepted(n: u8) -> Record {
    record(Kind::Accepted(Accepted {
        query: bytes(n),
        statement: Some(Statement {
            sql: format!("SELECT {n}"),
            ..Statement::default()
        }),
    }))
}

fn adopted(n: u8, epoch: u64) -> Record {
    record(Kind::Adopted(Adopted {
        query: bytes(n),
        epoch,
        ..Adopted::default()
    }))
}

fn formed(n: u8) -> Record {
    record(Kind::StageFormed(StageFormed {
        query: bytes(n),
        stage: 0,
        tasks: vec![PartitionRange { first: 0, count: 4 }],
        first_attempt: 0,
    }))
}

pub(crate) fn finished(n: u8) -> Record {
    record(Kind::Finished(Finished {
        query: bytes(n),
        ..Finished::default()
    }))
}

pub(crate) async fn is_replayed_by_others(room: &Room) {
    let a = begin("a", room.open());
    assert_eq!(a.append(accepted(1)).await, Ok(0));
    assert_eq!(a.append(accepted(2)).await, Ok(1));
    assert_eq!(a.append(formed(1)).await, Ok(2));
    assert_eq!(a.append(finished(2)).await, Ok(3));
    let others = journals(room.open());
    let replayed = others.replay(&name("a")).await.unwrap();
    assert_eq!((replayed.base, replayed.next), (0, 4));
    assert_eq!(replayed.sealed_by(), None);
    let held: Vec<_> = replayed.book.queries().collect();
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].0, held[0].1.epoch), (query(1), Epoch(0)));
    let known = &held[0].1.known;
    assert_eq!(known.statement.as_ref().unwrap().sql, "SELECT 1");
    assert_eq!(known.formed.len(), 1);
    let nobody = others.replay(&name("nobody")).await.unwrap();
    assert_eq!(nobody.next, 0);
    assert_eq!(others.schedulers().await, Ok(vec![name("a")]));
}

pub(crate) async fn carries_much_in_one_write(room: &Room) {
    let (faulty, state) = room.faulty();
    faulty.on_writes([Fault::Slow(Duration::from_millis(100))]);
    let a = begin("a", state);
    let appends = join_all((0..200).map(|n| a.append(accepted(n)))).await;
    assert!(appends.iter().all(Result::is_ok), "{appends:?}");
    // The first, all that gathered meanwhile, and what a slow machine may have to repeat.
    assert!(faulty.sent() <= 4, "{} writes", faulty.sent());
    let replayed = journals(room.open()).replay(&name("a")).await.unwrap();
    assert_eq!(replayed.book.queries().count(), 200);
}

pub(crate) async fn ends_with_its_seal(room: &Room) {
    let a = begin("a", room.open());
    a.append(accepted(1)).await.unwrap();
    let others = journals(room.open());
    let sealed = others.seal(&name("a"), &name("b")).await.unwrap();
    assert_eq!(sealed.sealed_by(), Some(&name("b")));
    assert!(sealed.book.held(query(1)).is_some());
    let again = others.seal(&name("a"), &name("c")).await.unwrap();
    assert_eq!(again, sealed, "one seal is enough");
    let by = name("b");
    let refused = Err(AppendError::Closed(Closed::Sealed { by: by.clone() }));
    assert_eq!(a.append(accepted(2)).await, refused);
    assert_eq!(a.ending().wait().await, Some(Closed::Sealed { by }));
    assert_eq!(a.append(accepted(3)).await, refused, "also later");
    // One that never wrote anything is ended as well.
    others.seal(&name("idle"), &name("b")).await.unwrap();
    let idle = begin("idle", room.open());
    assert!(idle.append(accepted(4)).await.is_err());
}

/// A snapshot is as large as what the journal holds, and a store has its time for it: to write it, and to
/// bring it to whoever takes over.
#[tokio::test]
async fn a_snapshot_that_takes_longer_than_a_small_request_holds_nothing_up() {
    let room = Place::memory().fresh();
    let (faulty, state) = room.faulty();
    let a = begin("a", state.clone());
    let sql = "x".repeat(100_000);
    let large = |n| {
        let statement = Some(Statement {
            sql: sql.clone(),
            ..Statement::default()
        });
        let query = bytes(n);
        record(Kind::Accepted(Accepted { query, statement }))
    };
    let appends = join_all((0..100).map(|n| a.append(large(n)))).await;
    assert!(appends.iter().all(Result::is_ok), "{appends:?}");
    faulty.throttle(8 << 20);
    let slow = async {
        let (compacted, appended) = tokio::join!(a.compact(), a.append(accepted(200)));
        assert!(compacted.unwrap().is_ok());
        appended.unwrap();
        journals(state).seal(&name("a"), &name("b")).await.unwrap()
    };
    let sealed = tokio::time::timeout(Duration::from_secs(60), slow).await;
    let sealed = sealed.unwrap();
    assert_eq!(sealed.sealed_by(), Some(&name("b")));
    assert_eq!(sealed.book.queries().count(), 101);
}

/// What is asked is whether the journal is open; what it holds is not written once more for that.
#[tokio::test]
async fn a_flush_writes_what_waits_and_no_snapshot() {
    let room = Place::memory().fresh();
    let a = begin("a", room.open());
    a.append(accepted(1)).await.unwrap();
    let before = a.grown_by();
    assert_eq!((before.records, before.segments), (1, 1));
    a.flush().await.unwrap();
    let waits = a.defer(accepted(2), Duration::from_secs(3600));
    let waits = waits.await.unwrap();
    a.flush().await.unwrap();
    assert_eq!(waits.durable().await, Ok(2), "it went along");
    let others = journals(room.open());
    let replayed = others.replay(a.scheduler()).await.unwrap();
    assert_eq!((replayed.base, replayed.next), (0, 3));
    assert_eq!(replayed.book.queries().count(), 2);
    let grown = a.grown_by();
    assert_eq!((grown.records, grown.segments), (3, 3));
    assert!(grown.held > before.held && grown.bytes > grown.held);
    a.append(finished(1)).await.unwrap();
    assert_eq!(a.grown_by().held, grown.held - before.held);
    a.compact().await.unwrap().unwrap();
    let short = a.grown_by();
    assert_eq!((short.records, short.segments), (0, 0));
    assert!(short.bytes < grown.bytes);

    let by = name("b");
    others.seal(a.scheduler(), &by).await.unwrap();
    let refused = a.flush().await.unwrap_err();
    assert_eq!(refused, AppendError::Closed(Closed::Sealed { by }));
}

/// What was acknowledged is in the journal that the sealers read; what was not is in none.
pub(crate) async fn holds_what_it_acknowledged_when_sealed(room: &Room) {
    let a = begin("a", room.open());
    let writes = async {
        let mut durable = 0;
        for n in 0..=255 {
            if a.append(accepted(n)).await.is_err() {
                break;
            }
            durable += 1;
        }
        durable
    };
    let (b, c) = (journals(room.open()), journals(room.open()));
    let sealers = [(&b, name("b")), (&c, name("c"))];
    let seals = async {
        tokio::time::timeout(Duration::from_secs(20), async {
            // Some appends go first.
            while b.replay(&name("a")).await.unwrap().next < 3 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        join_all(sealers.iter().map(|(who, by)| who.seal(a.scheduler(), by))).await
    };
    let (durable, seals) = tokio::join!(writes, seals);
    let seals: Vec<_> = seals.into_iter().map(Result::unwrap).collect();
    assert_eq!(seals[0], seals[1], "both see the same end");
    assert!(seals[0].sealed_by().is_some());
    assert_eq!(seals[0].book.queries().count(), durable);
}

pub(crate) async fn is_shortened_by_snapshots(room: &Room) {
    let a = begin("a", room.open());
    for n in 1..=5 {
        a.append(accepted(n)).await.unwrap();
    }
    a.append(finished(2)).await.unwrap();
    a.forget(query(3), Epoch(0)).await.unwrap();
    // It lost the submission, and adopted it from who had won.
    a.append(adopted(4, 1)).await.unwrap();
    a.forget(query(4), Epoch(0)).await.unwrap();
    assert_eq!(a.compact().await.unwrap(), Ok(7));
    a.append(accepted(6)).await.unwrap();
    let others = journals(room.open());
    let replayed = others.replay(&name("a")).await.unwrap();
    assert_eq!((replayed.base, replayed.next), (7, 9));
    let held: Vec<_> = replayed.book.queries().map(|(id, _)| id).collect();
    assert_eq!(held, [1, 4, 5, 6].map(query));

    // Late writes to names that were removed take them, and mean nothing.
    let late = Segment {
        append: bytes(9),
        records: vec![accepted(9)],
    };
    let seal = Segment {
        append: bytes(8),
        records: vec![record(Kind::Seal(paceline_proto::state::Seal {
            by: "z".to_string(),
        }))],
    };
    for (seq, segment) in [(2, late), (5, seal)] {
        let key = Key::new("journal").child("a").numbered(seq);
        let created = room.open().create(&key, &segment.encode_to_vec()).await;
        assert_eq!(created, Ok(Created::Won));
    }
    assert_eq!(others.replay(&name("a")).await, Ok(replayed));
    assert_eq!(a.append(finished(6)).await, Ok(9));
}

/// Also while a snapshot that has it, or its own record, is on its way.
#[tokio::test]
async fn what_is_forgotten_stays_so_whatever_is_under_way() {
    let room = Place::memory().fresh();
    let (faulty, state) = room.faulty();
    let a = begin("a", state);
    for n in 1..=3 {
        a.append(accepted(n)).await.unwrap();
    }
    let under_way = async |sent: usize| {
        let is_sent = async {
            while faulty.sent() < sent {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), is_sent)
            .await
            .unwrap();
    };
    faulty.on_writes([Fault::Slow(Duration::from_millis(100)); 2]);
    let forget = async {
        under_way(4).await;
        a.forget(query(3), Epoch(0)).await.unwrap();
    };
    let (compacted, ()) = tokio::join!(a.compact(), forget);
    compacted.unwrap().unwrap();
    let forget = async {
        under_way(5).await;
        a.forget(query(4), Epoch(0)).await.unwrap();
    };
    let (appended, ()) = tokio::join!(a.append(accepted(4)), forget);
    assert_eq!(appended, Ok(4));
    assert_eq!(faulty.fired(), 2);

    a.compact().await.unwrap().unwrap();
    let replayed = journals(room.open()).replay(a.scheduler()).await.unwrap();
    let held: Vec<_> = replayed.book.queries().map(|(query, _)| query).collect();
    assert_eq!(held, [1, 2].map(query));
    let grown = a.grown_by();
    assert!(grown.held < grown.bytes, "{grown:?}");
}

pub(crate) async fn goes_once_it_is_drained(room: &Room) {
    let a = begin("a", room.open());
    a.append(accepted(1)).await.unwrap();
    a.append(finished(1)).await.unwrap();
    let (by, others) = (name("b"), journals(room.open()));
    others.seal(a.scheduler(), &by).await.unwrap();
    let too_early = others.remove_segments(a.scheduler()).await;
    assert!(matches!(too_early, Err(JournalError::NotDrained { .. })));
    others.mark_drained(a.scheduler(), &by).await.unwrap();
    others
        .mark_drained(a.scheduler(), &name("c"))
        .await
        .unwrap();
    assert_eq!(others.remove_segments(a.scheduler()).await, Ok(2));
    assert_eq!(others.remove_segments(a.scheduler()).await, Ok(0));
    assert!(others.replay(a.scheduler()).await.unwrap().drained);
    let refused = a.append(accepted(2)).await.unwrap_err();
    assert_eq!(refused, AppendError::Closed(Closed::Sealed { by }));
}

pub(crate) async fn claims_have_one_winner(room: &Room) {
    let open = || Claims::new(room.open(), metrics());
    let names: Vec<_> = ["a", "b", "c", "d"].map(name).into();
    assert_eq!(open().adopter(query(1), Epoch(1)).await, Ok(None));
    let stores: Vec<_> = names.iter().map(|_| open()).collect();
    let race = stores.iter().zip(&names);
    let race = race.map(|(claims, me)| claims.adopt(query(1), Epoch(1), me));
    let winners: Vec<_> = join_all(race)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(names.contains(&winners[0]));
    assert!(winners.iter().all(|w| *w == winners[0]), "{winners:?}");
    let read = open().adopter(query(1), Epoch(1)).await;
    assert_eq!(read, Ok(Some(winners[0].clone())));

    assert_eq!(open().submit(query(1), &names[0]).await, Ok(name("a")));
    assert_eq!(open().submit(query(1), &names[1]).await, Ok(name("a")));
    assert_eq!(open().submitter(query(2)).await, Ok(None));
    for completes in &names[2..] {
        let completed = open().complete_submission(query(2), completes).await;
        assert_eq!(completed, Ok(name("c")));
    }

    let ending = |by: &str, state| Ending {
        state,
        by: name(by),
        epoch: Epoch(1),
        error: None,
        result: serde_json::Value::Null,
    };
    assert_eq!(open().outcome(query(1)).await, Ok(None));
    let first = ending("a", QueryState::Finished);
    let second = ending("b", QueryState::Cancelled);
    assert_eq!(open().finish(query(1), &first).await, Ok(first.clone()));
    assert_eq!(open().finish(query(1), &second).await, Ok(first.clone()));
    assert_eq!(open().outcome(query(1)).await, Ok(Some(first)));
}

pub(crate) async fn appends_survive_every_fault(room: &Room) {
    let scripts: [&[Fault]; 6] = [
        &[Fault::ApplyThenFail],
        &[Fault::Conflict],
        &[Fault::Hang],
        &[Fault::ApplyLate],
        // Unknown to the end of one create; the next one sends the same again.
        &[Fault::FailBefore, Fault::FailBefore, Fault::FailBefore],
        &[Fault::FailBefore, Fault::FailBefore, Fault::ApplyLate],
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        let scheduler = format!("s{number}");
        let (faulty, state) = room.faulty();
        faulty.on_writes(script.iter().copied());
        let journal = begin(&scheduler, state);
        assert_eq!(journal.append(accepted(1)).await, Ok(0), "script {number}");
        assert_eq!(faulty.fired(), script.len(), "script {number}");
        assert_eq!(journal.append(formed(1)).await, Ok(1), "script {number}");
        faulty.land().await;
        let others = journals(room.open());
        let replayed = others.replay(&name(&scheduler)).await.unwrap();
        assert_eq!(replayed.next, 2, "script {number}: nothing is there twice");
    }
}

#[tokio::test]
async fn an_append_of_unknown_fate_is_recognised_as_ones_own() {
    let place = Place::memory();
    let room = place.fresh();
    let (faulty, state) = room.faulty();
    // The create ends unknown though it was applied; the one after it meets its own bytes.
    faulty.on_writes([Fault::ApplyThenFail]);
    faulty.on_reads([true; 24]);
    let registry = Registry::new();
    let counted = Journals::new(state, JournalMetrics::register(&registry).unwrap());
    let a = Journal::begin(name("a"), counted, options());
    assert_eq!(a.append(accepted(1)).await, Ok(0));
    assert_eq!(a.append(accepted(2)).await, Ok(1));
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
    let unknown = r#"paceline_journal_appends_total{outcome="unknown"}"#;
    assert!(text.unwrap().contains(unknown), "the fault fired");
}

#[tokio::test]
async fn a_zombie_whose_last_append_is_late_finds_the_seal() {
    let place = Place::memory();
    let room = place.fresh();
    let (faulty, state) = room.faulty();
    let a = begin("a", state);
    a.append(accepted(1)).await.unwrap();
    faulty.on_writes([Fault::FailBefore, Fault::FailBefore, Fault::ApplyLate]);
    let late = tokio::spawn({
        let a = a.clone();
        async move { a.append(accepted(2)).await }
    });
    let fired = async {
        while faulty.fired() < 3 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(20), fired)
        .await
        .unwrap();
    let others = journals(room.open());
    let sealed = others.seal(a.scheduler(), &name("b")).await.unwrap();
    assert!(sealed.book.held(query(2)).is_none());
    let refused = late.await.unwrap().unwrap_err();
    assert_eq!(
        refused,
        AppendError::Closed(Closed::Sealed { by: name("b") })
    );
    assert_eq!(faulty.land().await, 1);
    assert_eq!(others.replay(a.scheduler()).await, Ok(sealed));
}

#[tokio::test]
async fn what_ends_within_the_linger_asks_the_store_for_nothing() {
    let place = Place::memory();
    let room = place.fresh();
    let (faulty, state) = room.faulty();
    let a = begin("a", state);
    let linger = Duration::from_secs(3600);
    for n in 0..100 {
        let short = a.defer(accepted(n), linger).await.unwrap();
        assert!(Deferred::withdraw(vec![short]).await);
    }
    assert_eq!(faulty.sent(), 0);
    // It stays when another query has something to write, and goes with its own.
    let (long, other) = (
        a.defer(accepted(1), linger).await.unwrap(),
        a.defer(accepted(4), linger).await.unwrap(),
    );
    assert_eq!(a.append(accepted(2)).await, Ok(0));
    assert!(Deferred::withdraw(vec![long]).await);
    assert_eq!(a.append(accepted(4)).await, Ok(1));
    assert!(!Deferred::withdraw(vec![other]).await);
    let lone = a
        .defer(accepted(3), Duration::from_millis(5))
        .await
        .unwrap();
    assert_eq!(
        lone.durable().await,
        Ok(2),
        "it is worth a segment in the end"
    );
    assert_eq!(faulty.sent(), 3);
}

#[tokio::test]
async fn a_second_scheduler_of_the_same_name_is_noticed() {
    let place = Place::memory();
    let room = place.fresh();
    let (one, other) = (begin("a", room.open()), begin("a", room.open()));
    assert_eq!(one.append(accepted(1)).await, Ok(0));
    let refused = other.append(accepted(2)).await.unwrap_err();
    assert_eq!(refused, AppendError::Closed(Closed::Taken { seq: 0 }));
}

#[tokio::test]
async fn a_hole_in_a_journal_is_an_error() {
    let place = Place::memory();
    let room = place.fresh();
    let a = begin("a", room.open());
    for n in 0..3 {
        a.append(accepted(n)).await.unwrap();
    }
    let key = Key::new("journal").child("a").numbered(1);
    room.open().delete(&key).await.unwrap();
    let error = journals(room.open())
        .replay(a.scheduler())
        .await
        .unwrap_err();
    assert!(
        matches!(error, JournalError::Missing { missing: 1, .. }),
        "{error}"
    );
}
