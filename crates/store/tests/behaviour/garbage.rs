//! What nobody needs any more goes in time, and nothing else does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use paceline_model::{Epoch, Incarnation, QueryId, QueryState, SchedulerId};
use paceline_store::{
    Addresses, Beacon, Claims, Ending, Garbage, JournalMetrics, Journals, Key, Members, Results,
    StateStore, Swept,
};
use prometheus::Registry;
use uuid::Uuid;

use crate::journal::{accepted, begin, finished, name, query};
use crate::places::Room;

/// On S3 an object's age is known to the second.
const PATIENCE: Duration = Duration::from_secs(30);

fn metrics() -> JournalMetrics {
    JournalMetrics::register(&Registry::new()).unwrap()
}

pub(crate) fn garbage(store: StateStore) -> Garbage {
    let journals = Journals::new(store.clone(), metrics());
    Garbage::new(store.clone(), journals, Results::new(store))
}

pub(crate) async fn beat(store: StateStore) {
    let address = || "127.0.0.1:1".to_string();
    let beacon = Beacon {
        scheduler: name("b"),
        incarnation: Incarnation(Uuid::from_u128(1)),
        addresses: Addresses {
            cluster: address(),
            flight: address(),
            http: address(),
        },
        zone: String::new(),
        version: String::new(),
        beat: 1,
    };
    Members::new(store).beat(&beacon).await.unwrap();
}

async fn outcome(claims: &Claims, of: QueryId, by: &SchedulerId) {
    claims.submit(of, by).await.unwrap();
    let ending = Ending {
        state: QueryState::Finished,
        by: by.clone(),
        epoch: Epoch(0),
        error: None,
        result: serde_json::Value::Null,
    };
    claims.finish(of, &ending).await.unwrap();
}

async fn result(results: &Results, of: QueryId) {
    let mut writer = results.write(of, Epoch(0), Bytes::new(), Duration::from_secs(5));
    writer.write(1, Bytes::from_static(b"rows")).await.unwrap();
    writer.finish().await.unwrap();
}

fn sum(a: Swept, b: Swept) -> Swept {
    Swept {
        journals: a.journals + b.journals,
        claims: a.claims + b.claims,
        outcomes: a.outcomes + b.outcomes,
        results: a.results + b.results,
        probes: a.probes + b.probes,
        staged: a.staged + b.staged,
    }
}

/// Queries 1 to 4 have ended and left all that queries leave; 5 and 6 have not.
pub(crate) async fn goes_in_time_and_nothing_else_does(room: &Room) {
    let (a, b) = (begin("a", room.open()), begin("b", room.open()));
    let journals = Journals::new(room.open(), metrics());
    let claims = Claims::new(room.open(), metrics());
    let results = Results::new(room.open());
    a.append(accepted(1)).await.unwrap();
    a.append(finished(1)).await.unwrap();
    journals.seal(a.scheduler(), b.scheduler()).await.unwrap();
    journals
        .mark_drained(a.scheduler(), b.scheduler())
        .await
        .unwrap();
    journals.remove_segments(a.scheduler()).await.unwrap();
    for (of, epoch) in [(2, 1), (2, 2), (5, 1)] {
        let claimed = claims.adopt(query(of), Epoch(epoch), b.scheduler());
        claimed.await.unwrap();
    }
    for of in [3, 5, 6] {
        outcome(&claims, query(of), b.scheduler()).await;
    }
    for of in [4, 6] {
        result(&results, query(of)).await;
    }
    // Its owner drives it, however old its claims are.
    b.append(accepted(5)).await.unwrap();
    let probe = Key::new("probe").child("left").numbered(0);
    room.open().create(&probe, b"x").await.unwrap();

    let garbage = garbage(room.open());
    let nothing = Swept::default();
    assert_eq!(garbage.sweep(Duration::ZERO).await, Ok(nothing), "no time");
    beat(room.open()).await;
    let hour = Duration::from_secs(3600);
    assert_eq!(garbage.sweep(hour).await, Ok(nothing), "all of it is young");

    let all = Swept {
        journals: 1,
        claims: 2,
        outcomes: 2,
        results: 1,
        probes: 1,
        staged: 0,
    };
    let deadline = Instant::now() + PATIENCE;
    let mut gone = nothing;
    while gone != all {
        assert!(Instant::now() < deadline, "{}: {gone:?}", room.name);
        #[expect(
            clippy::disallowed_methods,
            reason = "what has to be older gets older; there is a deadline"
        )]
        tokio::time::sleep(Duration::from_millis(20)).await;
        beat(room.open()).await;
        gone = sum(gone, garbage.sweep(Duration::ZERO).await.unwrap());
    }

    let left = room.open().list(&Key::new("journal"), None).await.unwrap();
    assert!(
        left.iter()
            .all(|key| key.to_string().starts_with("journal/b/"))
    );
    assert_eq!(claims.adopter(query(2), Epoch(1)).await, Ok(None));
    assert_eq!(
        claims.adopter(query(5), Epoch(1)).await,
        Ok(Some(name("b")))
    );
    for (of, there) in [(3, false), (5, true), (6, true)] {
        let outcome = claims.outcome(query(of)).await.unwrap();
        assert_eq!(outcome.is_some(), there, "query {of}");
        let by = claims.submitter(query(of)).await.unwrap();
        assert_eq!(by.is_some(), there, "query {of}");
    }
    assert_eq!(results.queries().await.unwrap(), [query(6)]);
    assert_eq!(room.open().list(&Key::new("probe"), None).await, Ok(vec![]));
}
