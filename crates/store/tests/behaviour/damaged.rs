//! Journals of which something cannot be read: it is named, and holds up no more than what it may mean.

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use paceline_core::ownership::Closed;
use paceline_model::QueryId;
use paceline_proto::state::Accepted;
use paceline_proto::state::record::Record as Kind;
use paceline_store::{AppendError, Key, Replayed};

use crate::journal::{accepted, begin, journals, name, query, record};
use crate::places::Room;

/// The queries that a journal holds.
fn held(replayed: &Replayed) -> Vec<QueryId> {
    let queries = replayed.book.queries().map(|(query, _)| query);
    queries.collect()
}

/// Puts something in the place of a segment that nobody can read.
async fn damage(room: &Room, segment: &Key) {
    let path = Path::from(segment.to_string());
    let bytes = PutPayload::from_static(b"x");
    room.objects.put(&path, bytes).await.unwrap();
}

fn segment(seq: u64) -> Key {
    Key::new("journal").child("a").numbered(seq)
}

/// What cannot be read is named, and nothing else is held up by it: not what came with it either.
pub(crate) async fn is_sealed_whatever_a_record_says(room: &Room) {
    let nameless = || {
        record(Kind::Accepted(Accepted {
            query: Bytes::from_static(b"no id"),
            ..Accepted::default()
        }))
    };
    let others = journals(room.open());
    let a = begin("a", room.open());
    for record in [accepted(1), nameless(), accepted(2)] {
        a.append(record).await.unwrap();
    }
    let sealed = others.seal(&name("a"), &name("b")).await.unwrap();
    assert_eq!(sealed.sealed_by(), Some(&name("b")));
    assert_eq!(held(&sealed), [query(1), query(2)]);
    let [what] = &sealed.left_out[..] else {
        panic!("{:?}", sealed.left_out)
    };
    let place = "journal/a/00000000000000000001: accepted: query";
    assert!(what.starts_with(place), "{what}");
    others.mark_drained(&name("a"), &name("b")).await.unwrap();
    assert_eq!(others.remove_segments(&name("a")).await, Ok(3));

    let b = begin("b", room.open());
    let together = [accepted(1), nameless(), accepted(2)].map(|record| b.append(record));
    let appends = join_all(together).await;
    assert!(appends.iter().all(Result::is_ok), "{appends:?}");
    b.compact().await.unwrap().unwrap();
    let replayed = others.replay(&name("b")).await.unwrap();
    assert_eq!(held(&replayed), [query(1), query(2)]);
    assert_eq!(replayed.left_out, [""; 0], "the snapshot is without it");
}

/// Bytes that are wrong on their way are read again; those that stay wrong hold up what they may mean, and
/// keep nobody from ending the journal.
pub(crate) async fn is_ended_whatever_cannot_be_read(room: &Room) {
    let (faulty, state) = room.faulty();
    let a = begin("a", room.open());
    for n in 1..=3 {
        a.append(accepted(n)).await.unwrap();
    }
    let others = journals(state.clone());
    faulty.garble_reads(1);
    let replayed = others.replay(&name("a")).await.unwrap();
    assert_eq!(held(&replayed), [1, 2, 3].map(query));
    assert_eq!(faulty.fired(), 1);

    damage(room, &segment(1)).await;
    for _ in 0..2 {
        let unreadable = others.seal(&name("a"), &name("b")).await.unwrap_err();
        assert!(
            unreadable.to_string().contains("journal/a/"),
            "{unreadable}"
        );
    }
    let refused = a.append(accepted(4)).await.unwrap_err();
    let by = name("b");
    assert_eq!(refused, AppendError::Closed(Closed::Sealed { by }));
    assert_eq!(state.get(&segment(4)).await, Ok(None), "one seal is enough");

    for by in ["b", "c"] {
        others.give_up_damaged(&name("a"), &name(by)).await.unwrap();
    }
    let sealed = others.seal(&name("a"), &name("b")).await.unwrap();
    assert_eq!(held(&sealed), [1, 3].map(query));
    assert_eq!(sealed.left_out.len(), 1, "{:?}", sealed.left_out);
    others.mark_drained(&name("a"), &name("b")).await.unwrap();
    assert_eq!(others.remove_segments(&name("a")).await, Ok(3));
}

/// What lies before a snapshot means nothing, whatever it is.
pub(crate) async fn is_read_whatever_lies_before_its_snapshot(room: &Room) {
    let a = begin("a", room.open());
    a.append(accepted(1)).await.unwrap();
    a.append(accepted(2)).await.unwrap();
    a.compact().await.unwrap().unwrap();
    let replayed = journals(room.open()).replay(&name("a")).await.unwrap();
    damage(room, &segment(0)).await;
    let again = journals(room.open()).replay(&name("a")).await;
    assert_eq!(again, Ok(replayed));
}
