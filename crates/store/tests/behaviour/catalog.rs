//! The catalog log, from two processes at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use paceline_model::{CatalogVersion, QueryId, SchedulerId};
use paceline_store::{
    CatalogError, CatalogLog, CatalogSnapshot, CatalogStatement, ChangeName, DEFAULT_SCHEMA,
    ExternalTable, Key, OnExisting, OnMissing, Relation, StateStore, StoreMetrics, TableFormat,
    View,
};
use prometheus::Registry;

use crate::counts::counted;
use crate::places::{LIMITS, Place, Room};

pub(crate) fn by(name: &str) -> SchedulerId {
    SchedulerId::new(name)
}

pub(crate) fn table(name: &str, location: &str, existing: OnExisting) -> CatalogStatement {
    CatalogStatement::CreateExternalTable {
        table: ExternalTable {
            schema: DEFAULT_SCHEMA.to_string(),
            name: name.to_string(),
            location: location.to_string(),
            format: TableFormat::Parquet,
            options: BTreeMap::new(),
            arrow_schema: Bytes::from_static(b"schema"),
            partition_columns: vec![],
            definition: String::new(),
            settings: BTreeMap::new(),
        },
        existing,
    }
}

fn view(name: &str, existing: OnExisting) -> CatalogStatement {
    CatalogStatement::CreateView {
        view: View {
            schema: DEFAULT_SCHEMA.to_string(),
            name: name.to_string(),
            sql: "SELECT 1".to_string(),
            settings: BTreeMap::new(),
        },
        existing,
    }
}

fn drop_table(name: &str, missing: OnMissing) -> CatalogStatement {
    CatalogStatement::DropTable {
        schema: DEFAULT_SCHEMA.to_string(),
        name: name.to_string(),
        missing,
    }
}

fn location_of(snapshot: &CatalogSnapshot, name: &str) -> Option<String> {
    match snapshot.relation(DEFAULT_SCHEMA, name)? {
        Relation::ExternalTable(table) => Some(table.location.clone()),
        Relation::Table(_) | Relation::View(_) => None,
    }
}

pub(crate) async fn two_processes_append_in_turn(room: &Room) {
    const EACH: usize = 12;
    let one = CatalogLog::open(room.open()).await.unwrap();
    let other = CatalogLog::open(room.open()).await.unwrap();
    let run = async |log: &CatalogLog, name: &str| {
        let mut versions = vec![];
        for n in 0..EACH {
            let statement = table(&format!("{name}{n}"), name, OnExisting::Refuse);
            versions.push(log.append(&statement, &by(name)).await.unwrap().0);
        }
        versions
    };
    let (a, b) = tokio::join!(run(&one, "a"), run(&other, "b"));
    let mut all: Vec<u64> = a.iter().chain(&b).copied().collect();
    all.sort_unstable();
    assert_eq!(
        all,
        (1..=2 * EACH as u64).collect::<Vec<_>>(),
        "{}",
        room.name
    );
    assert!(a.is_sorted() && b.is_sorted());

    let seen = [
        one.refresh_tail().await.unwrap(),
        other.refresh_tail().await.unwrap(),
    ];
    assert_eq!(seen[0], seen[1]);
    let opened = CatalogLog::open(room.open()).await.unwrap().current();
    assert_eq!(seen[0], opened);
    let relations = opened.schema(DEFAULT_SCHEMA).unwrap().relations().len();
    assert_eq!(relations, 2 * EACH);
}

pub(crate) async fn what_one_creates_the_other_finds(room: &Room) {
    let one = CatalogLog::open(room.open()).await.unwrap();
    let other = CatalogLog::open(room.open()).await.unwrap();
    let create = |location| table("t", location, OnExisting::Refuse);
    let version = one.append(&create("here"), &by("one")).await.unwrap();
    assert_eq!(
        location_of(&other.current(), "t"),
        None,
        "nobody told it yet"
    );
    let told = other.refresh_to(version).await.unwrap();
    assert_eq!(location_of(&told, "t").as_deref(), Some("here"));

    // A process that nobody told resolves against what is, not against what it knows.
    one.append(&drop_table("t", OnMissing::Refuse), &by("one"))
        .await
        .unwrap();
    let again = other.append(&create("there"), &by("other")).await.unwrap();
    assert_eq!(again, CatalogVersion(3));
    let refused = one
        .append(&create("anywhere"), &by("one"))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, CatalogError::AlreadyExists { .. }),
        "{refused}"
    );
    assert_eq!(location_of(&one.current(), "t").as_deref(), Some("there"));
}

pub(crate) async fn a_change_with_a_name_is_made_once(room: &Room) {
    let one = CatalogLog::open(room.open()).await.unwrap();
    let other = CatalogLog::open(room.open()).await.unwrap();
    let me = by("me");
    let name = |query: u8, statement: &str| ChangeName {
        query: QueryId::from_slice(&[query; 16]).unwrap(),
        statement: statement.to_string(),
    };
    let create = table("t", "here", OnExisting::Refuse);
    let (first, begun) = (name(1, "create"), CatalogVersion(0));
    let (a, b) = tokio::join!(
        one.append_once(&create, &me, Some((&first, begun))),
        other.append_once(&create, &me, Some((&first, begun))),
    );
    assert_eq!((a.unwrap().0, b.unwrap().0), (1, 1), "{}", room.name);
    let again = one
        .append_once(&create, &me, Some((&name(2, "create"), begun)))
        .await;
    assert!(matches!(again, Err(CatalogError::AlreadyExists { .. })));

    // There was nothing to do the first time, so there is nothing to do from then on.
    let (drop, second) = (drop_table("u", OnMissing::Ignore), name(3, "drop"));
    let second_once = Some((&second, begun));
    one.append_once(&drop, &me, second_once).await.unwrap();
    let create = table("u", "there", OnExisting::Refuse);
    one.append(&create, &me).await.unwrap();
    other.append_once(&drop, &me, second_once).await.unwrap();
    assert!(location_of(&other.current(), "u").is_some());
    assert_eq!(other.current().carried_out(second.query), Some("drop"));
    assert_eq!(other.current().carried_out(name(2, "").query), None);
}

pub(crate) async fn a_long_log_is_read_as_far_as_it_goes(room: &Room) {
    let log = CatalogLog::open(room.open()).await.unwrap();
    for n in 1..=40 {
        let statement = table("t", &format!("v{n}"), OnExisting::Replace);
        let version = log.append(&statement, &by("one")).await.unwrap();
        assert_eq!(version, CatalogVersion(n));
    }
    let other = CatalogLog::open(room.open()).await.unwrap();
    assert_eq!(other.current(), log.current());
    assert_eq!(location_of(&other.current(), "t").as_deref(), Some("v40"));
    let missing = other.refresh_to(CatalogVersion(41)).await.unwrap_err();
    assert!(missing.to_string().contains("41"), "{missing}");
    assert_eq!(other.current().version(), CatalogVersion(40));
}

/// Who starts reads it, and lists nothing of it. A hole is no end.
#[tokio::test]
async fn a_log_of_thousands_is_read_without_a_listing_of_it() {
    const MANY: u64 = 5000;
    let room = Place::memory().fresh();
    let log = CatalogLog::open(room.open()).await.unwrap();
    for _ in 0..MANY {
        let statement = table("t", "here", OnExisting::Replace);
        log.append(&statement, &by("s")).await.unwrap();
    }
    let registry = Registry::new();
    let metrics = StoreMetrics::register(&registry).unwrap();
    let (faulty, _) = room.faulty();
    let store = StateStore::over(faulty.clone(), room.name, LIMITS, metrics);
    let opened = CatalogLog::open(store).await.unwrap();
    assert_eq!(opened.current(), log.current());
    let requests = counted(&registry, "paceline_store_requests_total");
    let requests: u64 = requests.values().sum();
    assert!(requests < MANY + 64, "{requests} requests");
    assert_eq!(faulty.shown(), 0, "names");

    let hole = Key::new("catalog").numbered(MANY / 2);
    room.open().delete(&hole).await.unwrap();
    let refused = CatalogLog::open(room.open()).await.unwrap_err();
    let version = CatalogVersion(MANY / 2);
    assert!(
        matches!(&refused, CatalogError::Missing { version: missing, .. } if *missing == version),
        "{refused}"
    );
}

/// However many have names. Who was under way meanwhile does not make again what it cannot know.
#[tokio::test]
async fn a_name_is_remembered_for_thousands_of_others() {
    let room = Place::memory().fresh();
    let log = CatalogLog::open(room.open()).await.unwrap();
    let late = CatalogLog::open(room.open()).await.unwrap();
    let (me, begun) = (by("me"), CatalogVersion(0));
    let name = |n: u128| ChangeName {
        query: QueryId::from_slice(&n.to_be_bytes()).unwrap(),
        statement: "replace".to_string(),
    };
    let (first, replace) = (name(0), table("t", "here", OnExisting::Replace));
    let once = Some((&first, begun));
    log.append_once(&replace, &me, once).await.unwrap();
    let mut others = 0;
    while log.current().carried_out(first.query).is_some() {
        others += 1;
        assert!(others < 10_000, "none is forgotten");
        let (other, since) = (name(others), log.current().version());
        log.append_once(&replace, &me, Some((&other, since)))
            .await
            .unwrap();
    }
    assert!(others > 1000, "only {others} are remembered");
    let opened = CatalogLog::open(room.open()).await.unwrap().current();
    assert_eq!(opened, log.current(), "all remember the same");
    assert_eq!(opened.carried_out(name(others).query), Some("replace"));

    late.refresh_tail().await.unwrap();
    let again = late.append_once(&replace, &me, once).await;
    assert_eq!(again, Err(CatalogError::Forgotten));
    let version = late.current().version();
    let again = late.append_once(&replace, &me, Some((&first, version)));
    assert_eq!(again.await, Ok(version.next()), "by one who begins now");
}

#[tokio::test]
async fn statements_mean_what_sql_says() {
    let place = Place::memory();
    let log = CatalogLog::open(place.fresh().open()).await.unwrap();
    let s1 = by("s1");
    let schema = |name: &str, existing| CatalogStatement::CreateSchema {
        name: name.to_string(),
        existing,
    };
    let drop_schema = |name: &str, missing, cascade| CatalogStatement::DropSchema {
        name: name.to_string(),
        missing,
        cascade,
    };
    let drop_view = |name: &str, missing| CatalogStatement::DropView {
        schema: DEFAULT_SCHEMA.to_string(),
        name: name.to_string(),
        missing,
    };
    let elsewhere = || {
        let CatalogStatement::CreateExternalTable {
            mut table,
            existing,
        } = table("t", "x", OnExisting::Refuse)
        else {
            unreachable!()
        };
        table.schema = "sales".to_string();
        CatalogStatement::CreateExternalTable { table, existing }
    };
    // Each statement, and the version it leads to or a word of the error.
    let script: Vec<(CatalogStatement, Result<u64, &str>)> = vec![
        (
            drop_table("t", OnMissing::Refuse),
            Err("table 'public.t' does not exist"),
        ),
        (drop_table("t", OnMissing::Ignore), Ok(0)),
        (elsewhere(), Err("schema 'sales' does not exist")),
        (schema("sales", OnExisting::Refuse), Ok(1)),
        (
            schema("sales", OnExisting::Refuse),
            Err("schema 'sales' already exists"),
        ),
        (schema("sales", OnExisting::Keep), Ok(1)),
        (
            schema("", OnExisting::Refuse),
            Err("at least one character"),
        ),
        (
            schema("information_schema", OnExisting::Keep),
            Err("always there"),
        ),
        (elsewhere(), Ok(2)),
        (
            drop_schema("sales", OnMissing::Refuse, false),
            Err("still holds 1"),
        ),
        (drop_schema("sales", OnMissing::Refuse, true), Ok(3)),
        (drop_schema("sales", OnMissing::Ignore, false), Ok(3)),
        (
            drop_schema("sales", OnMissing::Refuse, false),
            Err("does not exist"),
        ),
        (
            drop_schema(DEFAULT_SCHEMA, OnMissing::Refuse, true),
            Err("cannot be dropped"),
        ),
        (table("t", "x", OnExisting::Refuse), Ok(4)),
        (table("t", "y", OnExisting::Keep), Ok(4)),
        (table("t", "z", OnExisting::Replace), Ok(5)),
        (
            view("t", OnExisting::Refuse),
            Err("table 'public.t' already exists"),
        ),
        (
            view("t", OnExisting::Replace),
            Err("is a table, not a view"),
        ),
        (
            drop_view("t", OnMissing::Ignore),
            Err("is a table, not a view"),
        ),
        (drop_table("t", OnMissing::Refuse), Ok(6)),
        (view("v", OnExisting::Refuse), Ok(7)),
        (view("v", OnExisting::Replace), Ok(8)),
        (drop_table("v", OnMissing::Refuse), Err("use DROP VIEW")),
        (drop_view("v", OnMissing::Refuse), Ok(9)),
        (drop_view("v", OnMissing::Ignore), Ok(9)),
    ];
    for (number, (statement, expected)) in script.into_iter().enumerate() {
        let found = log.append(&statement, &s1).await;
        match expected {
            Ok(version) => assert_eq!(found, Ok(CatalogVersion(version)), "statement {number}"),
            Err(word) => {
                let said = found.expect_err(word).to_string();
                assert!(said.contains(word), "statement {number}: {said}");
            }
        }
    }
    let current = log.current();
    let left: Vec<_> = current
        .schemas()
        .map(|(name, s)| (name, s.relations().len()))
        .collect();
    assert_eq!(left, [(DEFAULT_SCHEMA, 0)]);
}
