//! Commits of writes, by any number of owners, on stores that fail.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use object_store::memory::InMemory;
use paceline_model::{CatalogVersion, QueryId, TableId};
use paceline_store::{
    CatalogError, CatalogLog, CatalogStatement, DEFAULT_SCHEMA, DataFile, Decided, Key, Limits,
    ManagedTable, OnExisting, OnMissing, Relation, StateStore, StoreMetrics, WriteTarget,
};
use prometheus::Registry;
use uuid::Uuid;

use crate::catalog::by;
use crate::counts::counted;
use crate::faulty::Fault;
use crate::places::{LIMITS, Place, Room};

fn query(number: u8) -> QueryId {
    QueryId(Uuid::from_bytes([number; 16]))
}

fn table(id: u8) -> ManagedTable {
    ManagedTable {
        schema: DEFAULT_SCHEMA.to_string(),
        name: "t".to_string(),
        id: TableId(Uuid::from_bytes([id; 16])),
        location: format!("memory:///{id}/"),
        arrow_schema: Bytes::from_static(b"schema"),
        definition: String::new(),
    }
}

fn create(id: u8, existing: OnExisting) -> WriteTarget {
    let table = table(id);
    WriteTarget::Create { table, existing }
}

fn append(id: u8) -> WriteTarget {
    let table = table(id);
    WriteTarget::Append {
        schema: table.schema,
        name: table.name,
        table: table.id,
    }
}

fn files(attempt: &str, rows: u64) -> Vec<DataFile> {
    vec![DataFile {
        path: format!("{attempt}.parquet"),
        rows,
        bytes: 1,
    }]
}

/// The paths of the files of `t`.
fn paths(log: &CatalogLog) -> Vec<String> {
    match log.current().relation(DEFAULT_SCHEMA, "t") {
        Some(Relation::Table(table)) => table.files().map(|file| file.path.clone()).collect(),
        other => panic!("no managed table: {other:?}"),
    }
}

fn committed(version: u64, files: Vec<DataFile>) -> Decided {
    let version = CatalogVersion(version);
    Decided::Committed { version, files }
}

/// Two owners of one query and a writer beside them, all at once, several times over.
pub(crate) async fn a_query_commits_once_whoever_tries(room: &Room) {
    let logs = [
        CatalogLog::open(room.open()).await.unwrap(),
        CatalogLog::open(room.open()).await.unwrap(),
    ];
    let target = create(1, OnExisting::Refuse);
    let since = CatalogVersion(0);
    let (first, me) = (files("first", 1), by("s"));
    let made = logs[0].commit(query(0), &target, &first, since, &me).await;
    assert_eq!(made, Ok(committed(1, first)));
    for round in 1..=10_u8 {
        let since = logs[0].refresh_tail().await.unwrap().version();
        let target = append(1);
        let (mine, theirs) = (
            files(&format!("{round}a"), 2),
            files(&format!("{round}b"), 2),
        );
        let beside = files(&format!("{round}c"), 3);
        let (s1, s2, s3) = (by("1"), by("2"), by("3"));
        let (one, other, another) = tokio::join!(
            logs[0].commit(query(round), &target, &mine, since, &s1),
            logs[1].commit(query(round), &target, &theirs, since, &s2),
            logs[1].commit(query(100 + round), &target, &beside, since, &s3),
        );
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one, other, "{}: both know the same outcome", room.name);
        assert!(
            matches!(another, Ok(Decided::Committed { .. })),
            "{another:?}"
        );
        // Also one that comes late, and one that had not been told of anything.
        let late = CatalogLog::open(room.open()).await.unwrap();
        let again = late.commit(query(round), &target, &mine, since, &s1).await;
        assert_eq!(again, Ok(one.clone()));
        assert_eq!(late.abandon(query(round), since, &s1).await, Ok(one));
    }
    for log in &logs {
        log.refresh_tail().await.unwrap();
        assert_eq!(paths(log).len(), 1 + 2 * 10);
    }
}

pub(crate) async fn what_was_abandoned_is_not_committed(room: &Room) {
    let log = CatalogLog::open(room.open()).await.unwrap();
    let (since, me) = (CatalogVersion(0), by("s"));
    let target = create(1, OnExisting::Refuse);
    let gone = log.abandon(query(1), since, &me).await;
    assert_eq!(gone, Ok(Decided::Abandoned));
    let late = log
        .commit(query(1), &target, &files("late", 1), since, &me)
        .await;
    assert_eq!(late, Ok(Decided::Abandoned));
    assert!(log.current().relation(DEFAULT_SCHEMA, "t").is_none());
    assert_eq!(log.current().version(), CatalogVersion(1), "one entry");
}

/// The name may be free again when the next owner comes to decide.
pub(crate) async fn that_a_table_was_kept_is_decided_once(room: &Room) {
    let log = CatalogLog::open(room.open()).await.unwrap();
    let (since, me) = (CatalogVersion(0), by("s"));
    let other = create(1, OnExisting::Refuse);
    log.commit(query(1), &other, &files("a", 1), since, &me)
        .await
        .unwrap();
    let keep = create(2, OnExisting::Keep);
    let kept = log
        .commit(query(2), &keep, &files("b", 1), since, &me)
        .await;
    assert_eq!(kept, Ok(Decided::Kept));
    let drop = CatalogStatement::DropTable {
        schema: DEFAULT_SCHEMA.to_string(),
        name: "t".to_string(),
        missing: OnMissing::Refuse,
    };
    log.append(&drop, &me).await.unwrap();
    let late = CatalogLog::open(room.open()).await.unwrap();
    let again = late
        .commit(query(2), &keep, &files("b", 1), since, &me)
        .await;
    assert_eq!(again, Ok(Decided::Kept), "{}", room.name);
    let abandoned = late.abandon(query(2), since, &me).await;
    assert_eq!(abandoned, Ok(Decided::Kept), "it is no failure");
    let tables = late.current();
    assert!(tables.relation(DEFAULT_SCHEMA, "t").is_none());
}

pub(crate) async fn rows_go_into_the_table_they_were_meant_for(room: &Room) {
    let log = CatalogLog::open(room.open()).await.unwrap();
    let (since, me) = (CatalogVersion(0), by("s"));
    let refuse = create(1, OnExisting::Refuse);
    log.commit(query(1), &refuse, &files("a", 1), since, &me)
        .await
        .unwrap();
    let since = log.current().version();
    let taken = log
        .commit(query(2), &create(2, OnExisting::Refuse), &[], since, &me)
        .await;
    assert!(
        matches!(taken, Err(CatalogError::AlreadyExists { .. })),
        "{taken:?}"
    );
    let kept = log
        .commit(query(2), &create(2, OnExisting::Keep), &[], since, &me)
        .await;
    assert_eq!(kept, Ok(Decided::Kept));
    log.commit(query(3), &append(1), &files("b", 1), since, &me)
        .await
        .unwrap();
    assert_eq!(paths(&log), ["a.parquet", "b.parquet"]);

    let other = create(4, OnExisting::Replace);
    log.commit(query(4), &other, &files("c", 1), since, &me)
        .await
        .unwrap();
    let missed = log
        .commit(query(5), &append(1), &files("d", 1), since, &me)
        .await;
    assert!(
        matches!(missed, Err(CatalogError::Gone { .. })),
        "{missed:?}"
    );
    assert_eq!(paths(&log), ["c.parquet"]);
    // What had taken effect before stays so for who asks again, though the table is gone.
    let again = log
        .commit(query(3), &append(1), &files("b", 1), since, &me)
        .await;
    assert!(matches!(again, Ok(Decided::Committed { .. })), "{again:?}");
    let drop = CatalogStatement::DropTable {
        schema: DEFAULT_SCHEMA.to_string(),
        name: "t".to_string(),
        missing: OnMissing::Refuse,
    };
    let gone = |id: u8| log.current().was_dropped(table(id).id);
    assert!(gone(1), "it was replaced");
    assert!(!gone(4) && !gone(2), "one is there, one never was");
    log.append(&drop, &me).await.unwrap();
    assert!(log.current().relation(DEFAULT_SCHEMA, "t").is_none());
    assert!(gone(4));
    let schema = "s".to_string();
    let create_schema = CatalogStatement::CreateSchema {
        name: schema.clone(),
        existing: OnExisting::Refuse,
    };
    log.append(&create_schema, &me).await.unwrap();
    let mut inside = table(6);
    inside.schema.clone_from(&schema);
    let inside = WriteTarget::Create {
        table: inside,
        existing: OnExisting::Refuse,
    };
    log.commit(query(6), &inside, &[], since, &me)
        .await
        .unwrap();
    assert!(!gone(6));
    let drop_schema = CatalogStatement::DropSchema {
        name: schema,
        missing: OnMissing::Refuse,
        cascade: true,
    };
    log.append(&drop_schema, &me).await.unwrap();
    assert!(gone(6), "it went with its schema");
    let other = CatalogLog::open(room.open()).await.unwrap();
    assert_eq!(other.current(), log.current(), "who starts later knows too");
}

pub(crate) async fn a_commit_whose_answer_is_lost_or_late_is_made_once(place: &Place) {
    for fault in [
        Fault::Slow(Duration::from_millis(5)),
        Fault::FailBefore,
        Fault::ApplyThenFail,
        Fault::Hang,
        Fault::ApplyLate,
        Fault::Conflict,
    ] {
        let room = place.fresh();
        let (faulty, state) = room.faulty();
        let log = CatalogLog::open(state).await.unwrap();
        let (since, me) = (CatalogVersion(0), by("s"));
        let target = create(1, OnExisting::Refuse);
        log.commit(query(1), &target, &[], since, &me)
            .await
            .unwrap();
        faulty.on_writes([fault]);
        let since = log.current().version();
        let target = append(1);
        let mut told = log
            .commit(query(2), &target, &files("x", 1), since, &me)
            .await;
        faulty.land().await;
        while told.is_err() {
            told = log
                .commit(query(2), &target, &files("x", 1), since, &me)
                .await;
        }
        assert!(faulty.fired() > 0, "{fault:?} did not happen");
        let other = CatalogLog::open(room.open()).await.unwrap();
        assert_eq!(paths(&other), ["x.parquet"], "{}: {fault:?}", room.name);
        let again = other
            .commit(query(2), &target, &files("y", 1), since, &me)
            .await;
        assert_eq!(again, told, "{fault:?}");
    }
}

/// A log whose requests are counted.
async fn counting(room: &Room) -> (CatalogLog, Registry) {
    let registry = Registry::new();
    let metrics = StoreMetrics::register(&registry).unwrap();
    let store = StateStore::over(Arc::clone(&room.objects), room.name, LIMITS, metrics);
    (CatalogLog::open(store).await.unwrap(), registry)
}

fn requests(registry: &Registry) -> u64 {
    let all = counted(registry, "paceline_store_requests_total");
    all.values().sum()
}

/// Each looks once how far the log goes, and makes its entry.
#[tokio::test]
async fn many_that_commit_at_once_take_turns() {
    const MANY: u8 = 100;
    let room = Place::memory().fresh();
    let (log, registry) = counting(&room).await;
    let (since, me) = (CatalogVersion(0), by("s"));
    let target = create(1, OnExisting::Refuse);
    log.commit(query(0), &target, &[], since, &me)
        .await
        .unwrap();
    let (target, since) = (append(1), log.current().version());
    let before = requests(&registry);
    let files: Vec<_> = (0..=MANY).map(|n| files(&n.to_string(), 1)).collect();
    let commits = (1..=MANY).map(|n| {
        let files = &files[usize::from(n)];
        log.commit(query(n), &target, files, since, &me)
    });
    for made in join_all(commits).await {
        assert!(matches!(made, Ok(Decided::Committed { .. })), "{made:?}");
    }
    let asked = requests(&registry) - before;
    assert!(asked <= 2 * u64::from(MANY), "{asked} requests");
    assert_eq!(paths(&log).len(), usize::from(MANY));
}

/// What the log says since a query was planned is remembered, and not read once more.
#[tokio::test]
async fn who_commits_late_does_not_read_again_what_is_known() {
    let room = Place::memory().fresh();
    let (log, registry) = counting(&room).await;
    let (since, me) = (CatalogVersion(0), by("s"));
    let target = create(1, OnExisting::Refuse);
    log.commit(query(0), &target, &[], since, &me)
        .await
        .unwrap();
    let (target, written) = (append(1), files("x", 1));
    for n in 1..=50 {
        log.commit(query(n), &target, &written, since, &me)
            .await
            .unwrap();
    }
    let before = requests(&registry);
    let late = log.commit(query(51), &target, &[], since, &me).await;
    assert_eq!(late, Ok(committed(52, vec![])));
    assert_eq!(requests(&registry) - before, 2, "the tail and the entry");
    // One that was made before is read: what it says is in no memory.
    let again = log.commit(query(7), &target, &[], since, &me).await;
    assert_eq!(again, Ok(committed(8, written)));
    assert_eq!(requests(&registry) - before, 3);
}

/// Also of a query that was planned before thousands of others wrote.
#[tokio::test]
async fn what_is_remembered_no_more_is_read_again() {
    let room = Place::memory().fresh();
    let log = CatalogLog::open(room.open()).await.unwrap();
    let (since, me) = (CatalogVersion(0), by("s"));
    let target = create(1, OnExisting::Refuse);
    let (one, other) = (files("x", 1), files("y", 1));
    let first = log.commit(query(1), &target, &one, since, &me).await;
    let more = append(1);
    for n in 1..=5000 {
        let (beside, now) = (QueryId(Uuid::from_u128(n)), log.current().version());
        log.commit(beside, &more, &[], now, &me).await.unwrap();
    }
    let again = log.commit(query(1), &target, &other, since, &me).await;
    assert_eq!(again, first);
    let opened = CatalogLog::open(room.open()).await.unwrap();
    assert_eq!(opened.current(), log.current(), "all remember the same");
}

/// Nobody who commits makes a second entry. It takes a store that does not keep its word.
#[tokio::test]
async fn of_a_write_that_the_log_has_twice_the_first_one_counts() {
    let metrics = StoreMetrics::register(&prometheus::Registry::new()).unwrap();
    let store = Arc::new(InMemory::new());
    let store = StateStore::over(store, "memory", Limits::default(), metrics);
    let log = CatalogLog::open(store.clone()).await.unwrap();
    let (since, me) = (CatalogVersion(0), by("s"));
    let made = [(1, create(1, OnExisting::Refuse)), (2, append(1))];
    for (version, target) in &made {
        let files = files(&version.to_string(), 1);
        let made = log
            .commit(query(*version), target, &files, since, &me)
            .await;
        assert_eq!(made, Ok(committed(u64::from(*version), files)));
    }
    assert!(log.current().repeated_writes().is_empty());
    let entry = |version| Key::new("catalog").numbered(version);
    for version in [1, 2] {
        let written = store.get(&entry(version)).await.unwrap().unwrap();
        store.create(&entry(version + 2), &written).await.unwrap();
    }
    let snapshot = log.refresh_tail().await.unwrap();
    assert_eq!(snapshot.version(), CatalogVersion(4));
    assert_eq!(paths(&log), ["1.parquet", "2.parquet"]);
    assert!(!snapshot.was_dropped(table(1).id), "it is still there");
    let repeated: Vec<QueryId> = snapshot.repeated_writes().iter().copied().collect();
    assert_eq!(repeated, [query(1), query(2)]);
}
