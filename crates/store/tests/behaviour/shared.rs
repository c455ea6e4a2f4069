//! What every store must do.

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use paceline_model::{Incarnation, SchedulerId};
use paceline_store::{
    Addresses, Beacon, ClusterError, ClusterIdentity, Created, Key, Members, StoreError, probe,
};
use uuid::Uuid;

use crate::places::Room;

pub(crate) async fn creates_once(room: &Room) {
    let (one, other) = (room.open(), room.open());
    let key = Key::new("a").child("b");
    assert_eq!(one.create(&key, b"first").await, Ok(Created::Won));
    let first = Ok(Created::Exists(Bytes::from_static(b"first")));
    assert_eq!(other.create(&key, b"second").await, first);
    // Also the same bytes are another write.
    assert_eq!(one.create(&key, b"first").await, first);
    assert_eq!(other.get(&key).await.unwrap().unwrap(), "first");
}

pub(crate) async fn reads_and_removes(room: &Room) {
    let (one, other) = (room.open(), room.open());
    let key = Key::new("members").child("a scheduler/with:odd characters");
    assert_eq!(one.get(&key).await, Ok(None));
    one.delete(&key).await.unwrap();
    one.put(&key, b"1").await.unwrap();
    assert_eq!(other.get(&key).await.unwrap().unwrap(), "1");
    one.put(&key, b"2").await.unwrap();
    assert_eq!(other.get(&key).await.unwrap().unwrap(), "2");
    other.delete(&key).await.unwrap();
    assert_eq!(one.get(&key).await, Ok(None));
    assert_eq!(one.create(&key, b"").await, Ok(Created::Won));
    assert_eq!(
        other.get(&key).await.unwrap().unwrap(),
        "",
        "an empty payload"
    );
}

pub(crate) async fn lists_in_order(room: &Room) {
    let state = room.open();
    let folder = Key::new("journal");
    assert_eq!(state.list(&folder, None).await, Ok(vec![]));
    let keys: Vec<Key> = [1, 2, 9, 10, 11, 100].map(|n| folder.numbered(n)).to_vec();
    for key in keys.iter().rev() {
        state.create(key, b"x").await.unwrap();
    }
    // Beside it, and not in it.
    state
        .create(&Key::new("journal2").numbered(5), b"x")
        .await
        .unwrap();
    assert_eq!(state.list(&folder, None).await, Ok(keys.clone()));
    assert_eq!(
        state.list(&folder, Some(&keys[2])).await,
        Ok(keys[3..].to_vec())
    );
    let absent = folder.numbered(50);
    assert_eq!(
        state.list(&folder, Some(&absent)).await,
        Ok(keys[5..].to_vec())
    );
    assert_eq!(state.list(&folder, Some(&keys[5])).await, Ok(vec![]));
}

pub(crate) async fn lists_folders(room: &Room) {
    let state = room.open();
    let top = Key::new("results");
    assert_eq!(state.folders(&top).await, Ok(vec![]));
    let (a, b) = (top.child("a"), top.child("b/c"));
    for key in [a.child("x"), a.numbered(1).child("y"), b.child("z")] {
        state.create(&key, b"").await.unwrap();
    }
    // An object is no folder, and no folder is empty.
    state.create(&top.child("object"), b"").await.unwrap();
    assert_eq!(state.folders(&top).await, Ok(vec![a, b.clone()]));
    for key in state.list(&top.child("a"), None).await.unwrap() {
        state.delete(&key).await.unwrap();
    }
    assert_eq!(state.folders(&top).await, Ok(vec![b]));
}

pub(crate) async fn carries_large_objects(room: &Room) {
    let state = room.open();
    let payload: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let key = Key::new("large");
    assert_eq!(state.create(&key, &payload).await, Ok(Created::Won));
    assert_eq!(state.get(&key).await.unwrap().unwrap(), payload);
}

pub(crate) async fn lets_one_racer_win(room: &Room) {
    for round in 0..8 {
        let key = Key::new("race").numbered(round);
        let runs = (0..16).map(|racer: u32| {
            let (state, key) = (room.open(), key.clone());
            tokio::spawn(async move {
                let name = format!("racer {racer}");
                (state.create(&key, name.as_bytes()).await.unwrap(), name)
            })
        });
        let ended: Vec<_> = join_all(runs)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let winners: Vec<_> = ended.iter().filter(|(c, _)| *c == Created::Won).collect();
        let [(_, winner)] = winners.as_slice() else {
            panic!("{}: {} racers won", room.name, winners.len());
        };
        for (created, name) in &ended {
            if name != winner {
                let there = Bytes::copy_from_slice(winner.as_bytes());
                assert_eq!(*created, Created::Exists(there));
            }
        }
    }
}

pub(crate) async fn passes_the_probe(room: &Room) {
    let state = room.open();
    let (one, other) = tokio::join!(probe(&state), probe(&state));
    assert_eq!((one, other), (Ok(()), Ok(())), "{}", room.name);
    assert_eq!(state.list(&Key::new("probe"), None).await, Ok(vec![]));
}

pub(crate) async fn has_one_identity(room: &Room) {
    let stores = [room.open(), room.open(), room.open()];
    let found = join_all(stores.iter().map(ClusterIdentity::establish)).await;
    let first = found[0].clone().unwrap();
    assert!(
        found.iter().all(|id| id.as_ref() == Ok(&first)),
        "{found:?}"
    );

    let key = Key::new("cluster");
    let later = format!(r#"{{"v":1,"cluster":"{}","format":2}}"#, first.id);
    stores[0].put(&key, later.as_bytes()).await.unwrap();
    let refused = ClusterIdentity::establish(&stores[1]).await.unwrap_err();
    assert!(
        matches!(refused, ClusterError::Format { found: 2, .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains(room.name), "{refused}");
}

pub(crate) async fn shows_its_members(room: &Room) {
    let (one, other) = (Members::new(room.open()), Members::new(room.open()));
    let (mut a, b) = (beacon("a", 1), beacon("b", 1));
    one.beat(&a).await.unwrap();
    other.beat(&b).await.unwrap();
    a.beat = 2;
    one.beat(&a).await.unwrap();
    assert_eq!(other.list().await.unwrap().beacons, [a, b.clone()]);

    // One that nobody understands hides no other.
    let strange = Key::new("members").child("strange");
    room.open().put(&strange, br#"{"v":99}"#).await.unwrap();
    one.remove(&SchedulerId::new("a")).await.unwrap();
    let roster = other.list().await.unwrap();
    assert_eq!(roster.beacons, [b]);
    assert!(matches!(roster.unreadable[..], [StoreError::Newer { .. }]));
}

fn beacon(name: &str, beat: u64) -> Beacon {
    Beacon {
        scheduler: SchedulerId::new(name),
        incarnation: Incarnation(Uuid::from_u128(7)),
        addresses: Addresses {
            cluster: format!("{name}:50052"),
            flight: format!("{name}:50051"),
            http: format!("{name}:8090"),
        },
        zone: String::new(),
        version: "0.1.0".to_string(),
        beat,
    }
}

pub(crate) async fn says_what_is_corrupt(room: &Room) {
    let state = room.open();
    let foreign = Path::from("catalog/00000000000000000001");
    let payload = PutPayload::from_static(b"not of Paceline");
    room.objects.put(&foreign, payload).await.unwrap();
    let key = Key::new("catalog").numbered(1);
    for error in [
        state.get(&key).await.unwrap_err(),
        state.create(&key, b"x").await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(foreign.as_ref()), "{error}");
    }
}
