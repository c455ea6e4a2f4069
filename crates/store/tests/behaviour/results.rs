//! Results of submitted queries: whole or not there, whoever writes them.

use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use paceline_model::{Epoch, ErrorClass, QueryId};
use paceline_store::{
    Key, ResultError, ResultIndex, ResultReader, ResultWriter, Results, StateStore, StoreError,
};

use crate::faulty::Fault;
use crate::places::{Place, Room};

const SCHEMA: &[u8] = b"columns";
const PATIENCE: Duration = Duration::from_secs(20);

fn query(number: u8) -> QueryId {
    QueryId::from_slice(&[number; 16]).unwrap()
}

fn begin(state: StateStore, epoch: u64) -> ResultWriter {
    let schema = Bytes::from_static(SCHEMA);
    Results::new(state).write(query(1), Epoch(epoch), schema, PATIENCE)
}

/// Part `number` of a result whose parts begin with `name`.
fn part(name: &str, number: usize) -> Bytes {
    Bytes::from(format!("{name}{number}").repeat(1 + 7 * number))
}

async fn written(mut writer: ResultWriter, name: &str, parts: usize) -> ResultIndex {
    for number in 0..parts {
        let rows = number as u64;
        writer.write(rows, part(name, number)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

async fn open(room: &Room, epoch: u64) -> Option<ResultReader> {
    let results = Results::new(room.open());
    results.open(query(1), Epoch(epoch)).await.unwrap()
}

async fn all(reader: ResultReader) -> Vec<Bytes> {
    let parts = reader.index().parts.len();
    reader.parts(0..parts).try_collect().await.unwrap()
}

fn expected(name: &str, parts: usize) -> Vec<Bytes> {
    (0..parts).map(|number| part(name, number)).collect()
}

pub(crate) async fn are_whole_or_not_there(room: &Room) {
    let results = Results::new(room.open());
    let mut writer = begin(room.open(), 0);
    for number in 0..10 {
        writer.write(1, part("a", number)).await.unwrap();
    }
    assert!(open(room, 0).await.is_none(), "nothing is committed yet");
    let index = writer.finish().await.unwrap();
    assert_eq!((index.parts.len(), index.rows), (10, 10));
    let bytes: usize = expected("a", 10).iter().map(Bytes::len).sum();
    assert_eq!(index.bytes, bytes as u64);

    let reader = open(room, 0).await.unwrap();
    assert_eq!(*reader.index(), index);
    assert_eq!(reader.index().schema, SCHEMA);
    assert_eq!(all(reader.clone()).await, expected("a", 10));
    assert_eq!(reader.part(3).await, Ok(part("a", 3)));
    let middle: Vec<_> = reader.clone().parts(4..6).try_collect().await.unwrap();
    assert_eq!(middle, [part("a", 4), part("a", 5)]);
    let beyond = reader.part(10).await.unwrap_err();
    assert!(matches!(beyond, ResultError::NoSuchPart { parts: 10, .. }));
    assert_eq!(beyond.class(), ErrorClass::NotFound);

    // And one without rows.
    let empty = results.write(query(2), Epoch(3), Bytes::new(), PATIENCE);
    assert_eq!(empty.finish().await.unwrap(), ResultIndex::default());
    let read = results.open(query(2), Epoch(3)).await.unwrap().unwrap();
    assert_eq!(all(read).await, Vec::<Bytes>::new());
}

pub(crate) async fn of_two_owners_never_mix(room: &Room) {
    let (old, new) = (begin(room.open(), 1), begin(room.open(), 2));
    let (first, second) = tokio::join!(written(old, "old", 9), written(new, "new", 7));
    assert_eq!((first.parts.len(), second.parts.len()), (9, 7));
    let read = all(open(room, 1).await.unwrap()).await;
    assert_eq!(read, expected("old", 9));
    let read = all(open(room, 2).await.unwrap()).await;
    assert_eq!(read, expected("new", 7));
}

pub(crate) async fn an_owner_may_begin_again(room: &Room) {
    // What a first writer of the epoch left when it was given up.
    let folder = Key::new("results").child(&query(1).to_string()).numbered(0);
    for number in [0, 1, 3] {
        let key = folder.numbered(number);
        room.open().create(&key, b"left behind").await.unwrap();
    }
    let index = written(begin(room.open(), 0), "b", 4).await;
    assert!(
        index
            .parts
            .iter()
            .all(|part| ![0, 1, 3].contains(&part.number))
    );
    assert_eq!(all(open(room, 0).await.unwrap()).await, expected("b", 4));
    // What was completed stays, whatever comes later.
    let again = written(begin(room.open(), 0), "c", 2).await;
    assert_eq!(again, index);
    assert_eq!(all(open(room, 0).await.unwrap()).await, expected("b", 4));
}

pub(crate) async fn go_without_leaving_anything(room: &Room) {
    let results = Results::new(room.open());
    assert_eq!(results.queries().await, Ok(vec![]));
    assert_eq!(results.remove(query(1)).await, Ok(0));
    written(begin(room.open(), 0), "a", 5).await;
    // Of this one nothing but a part is there.
    let folder = Key::new("results").child(&query(1).to_string()).numbered(1);
    room.open().create(&folder.numbered(0), b"x").await.unwrap();
    let other = results.write(query(2), Epoch(0), Bytes::new(), PATIENCE);
    other.finish().await.unwrap();
    let strange = Key::new("results").child("strange").child("x");
    room.open().create(&strange, b"x").await.unwrap();
    assert_eq!(results.queries().await, Ok(vec![query(1), query(2)]));

    let reader = open(room, 0).await.unwrap();
    assert_eq!(results.remove(query(1)).await, Ok(7));
    assert!(open(room, 0).await.is_none());
    assert_eq!(results.queries().await, Ok(vec![query(2)]));
    let left = room.open().list(&Key::new("results"), None).await.unwrap();
    assert_eq!(left.len(), 2, "{left:?}");
    // Who was reading is told, and gets nothing after that.
    let rest: Vec<_> = reader.parts(0..5).collect().await;
    let [Err(error)] = rest.as_slice() else {
        panic!("{rest:?}");
    };
    assert!(matches!(error, ResultError::Removed { part: 0, .. }));
}

pub(crate) async fn survive_every_fault(room: &Room) {
    let (faulty, state) = room.faulty();
    let script = [
        Fault::ApplyThenFail,
        Fault::FailBefore,
        Fault::Conflict,
        Fault::Hang,
        Fault::FailBefore,
        Fault::FailBefore,
        Fault::FailBefore,
        Fault::ApplyThenFail,
        Fault::Slow(Duration::from_millis(5)),
    ];
    faulty.on_writes(script);
    let index = written(begin(state, 0), "a", 6).await;
    assert_eq!(faulty.fired(), script.len());
    assert_eq!(index.parts.len(), 6);
    assert_eq!(all(open(room, 0).await.unwrap()).await, expected("a", 6));
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for_and_then_given_up() {
    let place = Place::memory();
    let room = place.fresh();
    let (faulty, state) = room.faulty();
    // More than one create takes.
    faulty.on_writes([Fault::FailBefore; 10]);
    assert_eq!(written(begin(state, 0), "a", 1).await.parts.len(), 1);
    assert_eq!(faulty.fired(), 10);

    let (faulty, state) = room.faulty();
    faulty.on_writes([Fault::FailBefore; 1000]);
    let patience = Duration::from_millis(200);
    let results = Results::new(state);
    let mut writer = results.write(query(1), Epoch(1), Bytes::new(), patience);
    writer.write(1, part("a", 0)).await.unwrap();
    let error = writer.finish().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable, "{error}");
    assert!(open(&room, 1).await.is_none());

    let (faulty, state) = room.faulty();
    faulty.on_writes([Fault::Denied; 2]);
    let mut writer = begin(state, 2);
    writer.write(1, part("a", 0)).await.unwrap();
    let error = writer.finish().await.unwrap_err();
    let refused = matches!(error, ResultError::Store(StoreError::Refused { .. }));
    assert!(refused, "waiting is of no use: {error}");
}

#[tokio::test]
async fn few_parts_are_under_way_at_a_time() {
    let place = Place::memory();
    let room = place.fresh();
    let (faulty, state) = room.faulty();
    faulty.on_writes([Fault::Hang; 4]);
    let mut writer = begin(state, 0);
    for number in 0..4 {
        let taken = writer.write(1, part("a", number)).now_or_never();
        taken.expect("there is room").unwrap();
    }
    assert!(writer.write(1, part("a", 4)).now_or_never().is_none());
    writer.write(1, part("a", 4)).await.unwrap();
    let index = writer.finish().await.unwrap();
    assert_eq!((index.parts.len(), faulty.fired()), (5, 4));
    assert_eq!(all(open(&room, 0).await.unwrap()).await, expected("a", 5));
}

#[tokio::test]
async fn a_part_that_is_not_what_the_index_says_is_noticed() {
    let place = Place::memory();
    let room = place.fresh();
    written(begin(room.open(), 0), "a", 2).await;
    let folder = Key::new("results").child(&query(1).to_string()).numbered(0);
    let second = folder.numbered(1);
    room.open().delete(&second).await.unwrap();
    room.open().create(&second, b"another").await.unwrap();
    let reader = open(&room, 0).await.unwrap();
    assert_eq!(reader.part(0).await, Ok(part("a", 0)));
    let error = reader.part(1).await.unwrap_err();
    let corrupt = matches!(error, ResultError::Store(StoreError::Corrupt { .. }));
    assert!(corrupt, "{error}");
    assert!(error.to_string().contains(&second.to_string()), "{error}");
}
