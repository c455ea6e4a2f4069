//! Listings that break off, lag behind creates, or name things twice.

use std::collections::BTreeSet;
use std::time::Duration;

use paceline_model::{QueryId, QueryState};
use paceline_store::{
    CatalogLog, Claims, Ending, JournalMetrics, Journals, Key, Limits, OnExisting, Outcomes,
    Replayed, StateStore,
};
use prometheus::Registry;

use crate::catalog::{by, table};
use crate::faulty::Listing;
use crate::journal::{accepted, begin, finished, name, query};
use crate::places::{Place, Room, metrics};

fn journals(store: StateStore) -> Journals {
    let metrics = JournalMetrics::register(&Registry::new()).unwrap();
    Journals::new(store, metrics)
}

/// What is read does not depend on them.
pub(crate) async fn may_fail_lag_and_repeat(room: &Room) {
    let a = begin("a", room.open());
    for n in 1..=4 {
        a.append(accepted(n)).await.unwrap();
    }
    let log = CatalogLog::open(room.open()).await.unwrap();
    for name in ["t1", "t2", "t3"] {
        let statement = table(name, "x", OnExisting::Refuse);
        log.append(&statement, &by("s")).await.unwrap();
    }
    let folder = Key::new("journal").child("a");
    let keys: Vec<Key> = (0..4).map(|seq| folder.numbered(seq)).collect();
    let replayed = journals(room.open()).replay(a.scheduler()).await.unwrap();
    assert_eq!(replayed.book.queries().count(), 4);
    for fault in [Listing::Fails, Listing::Lags, Listing::Repeats] {
        let (faulty, state) = room.faulty();
        faulty.on_listings([fault]);
        let listed = state.list(&folder, None).await.unwrap();
        let shown = if fault == Listing::Lags { 3 } else { 4 };
        assert_eq!(listed, keys[..shown], "{}: {fault:?}", room.name);
        faulty.on_listings([fault]);
        let folders = state.folders(&Key::new("journal")).await.unwrap();
        assert_eq!(folders.len(), usize::from(fault != Listing::Lags));
        faulty.on_listings([fault]);
        let others = journals(state.clone());
        let again = others.replay(a.scheduler()).await;
        assert_eq!(again, Ok(replayed.clone()), "{}: {fault:?}", room.name);
        faulty.on_listings([fault]);
        let opened = CatalogLog::open(state).await.unwrap();
        assert_eq!(opened.current(), log.current(), "{}: {fault:?}", room.name);
        assert_eq!(faulty.fired(), 4, "{fault:?}");
    }
}

/// What is limited is how long nothing comes.
#[tokio::test]
async fn a_listing_may_take_longer_than_a_request() {
    let room = Place::memory().fresh();
    let folder = Key::new("queries");
    let keys: Vec<Key> = (0..100).map(|n| folder.numbered(n)).collect();
    for key in &keys {
        room.open().create(key, b"").await.unwrap();
    }
    let limits = Limits {
        request: Duration::from_millis(400),
        total: Duration::from_millis(800),
    };
    let (faulty, _) = room.faulty();
    let state = StateStore::over(faulty.clone(), room.name, limits, metrics());
    faulty.on_listings([Listing::Trickles(Duration::from_millis(100))]);
    assert_eq!(state.list(&folder, None).await, Ok(keys));
    assert_eq!((faulty.fired(), faulty.shown()), (1, 100), "one listing");
}

#[tokio::test]
async fn a_long_listing_that_breaks_off_goes_on_where_it_was() {
    let room = Place::memory().fresh();
    let folder = Key::new("queries");
    let keys: Vec<Key> = (0..2500).map(|n| folder.numbered(n)).collect();
    for key in &keys {
        room.open().create(key, b"").await.unwrap();
    }
    let (faulty, state) = room.faulty();
    faulty.on_listings([Listing::BreaksOff(1000); 2]);
    assert_eq!(state.list(&folder, None).await, Ok(keys.clone()));
    assert_eq!(
        (faulty.fired(), faulty.shown()),
        (2, 2500),
        "each name once"
    );
    // A short one says nothing of its order.
    faulty.on_listings([Listing::BreaksOff(500)]);
    assert_eq!(state.list(&folder, None).await, Ok(keys));
    assert_eq!(faulty.shown(), 2500 + 500 + 2500);
}

/// Those of which nothing but the acceptance is there, or nothing at all, have no outcome.
pub(crate) async fn show_which_queries_have_an_outcome(room: &Room) {
    let metrics = JournalMetrics::register(&Registry::new()).unwrap();
    let claims = Claims::new(room.open(), metrics);
    let ending = Ending {
        state: QueryState::Finished,
        by: name("a"),
        epoch: Default::default(),
        error: None,
        result: Default::default(),
    };
    for n in 1..=3 {
        claims.submit(query(n), &name("a")).await.unwrap();
    }
    for n in [2, 3, 4] {
        claims.finish(query(n), &ending).await.unwrap();
    }
    for (fault, last) in [
        (Listing::Fails, 4),
        (Listing::Lags, 3),
        (Listing::Repeats, 4),
    ] {
        let (faulty, state) = room.faulty();
        faulty.on_listings([fault]);
        let shown = Outcomes::new(state).queries().await.unwrap();
        let expected: BTreeSet<QueryId> = (2..=last).map(query).collect();
        assert_eq!(shown, expected, "{}: {fault:?}", room.name);
        assert_eq!(faulty.fired(), 1, "{fault:?}");
    }
}

/// A seal follows the last segment, snapshots take away what is before them and nothing else, and a
/// journal whose marker is not shown yet still holds nothing.
pub(crate) async fn a_journal_ends_where_it_ends_whatever_they_show(room: &Room) {
    for fault in [Listing::Fails, Listing::Lags, Listing::Repeats] {
        let scheduler = format!("{fault:?}").to_lowercase();
        let (faulty, state) = room.faulty();
        let a = begin(&scheduler, state.clone());
        a.append(accepted(1)).await.unwrap();
        a.append(accepted(2)).await.unwrap();
        faulty.on_listings([fault]);
        assert_eq!(a.compact().await.unwrap(), Ok(2), "{fault:?}");
        a.append(finished(1)).await.unwrap();
        a.append(finished(2)).await.unwrap();
        let (others, straight) = (journals(state), journals(room.open()));
        faulty.on_listings([fault]);
        let sealed = others.seal(a.scheduler(), &name("b")).await.unwrap();
        assert_eq!(
            (sealed.base, sealed.next),
            (2, 6),
            "{}: {fault:?}",
            room.name
        );
        assert_eq!(sealed.sealed_by(), Some(&name("b")));
        let told = straight.replay(a.scheduler()).await;
        assert_eq!(told, Ok(sealed), "{}: {fault:?}", room.name);

        straight
            .mark_drained(a.scheduler(), &name("b"))
            .await
            .unwrap();
        faulty.on_listings([fault]);
        let shown = others.replay(a.scheduler()).await.unwrap();
        assert_eq!(shown.drained, fault != Listing::Lags);
        assert_eq!(shown.book.queries().count(), 0, "{}: {fault:?}", room.name);
        let drained = Replayed {
            drained: true,
            ..Replayed::default()
        };
        assert_eq!(others.replay(a.scheduler()).await, Ok(drained));
        assert!(faulty.fired() >= 3, "{fault:?}");
    }
}
