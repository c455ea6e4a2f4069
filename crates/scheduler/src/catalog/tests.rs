use arrow::datatypes::Schema;
use paceline_model::TableId;
use paceline_store::{Key, ManagedTable, OnExisting};
use uuid::Uuid;

use super::*;
use crate::testing::{shared, store};

#[tokio::test]
async fn a_write_that_the_log_has_twice_is_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let shared = shared(directory.path()).await;
    let (catalog, me) = (&shared.catalog, shared.driver.me());
    let table = ManagedTable {
        schema: "public".to_string(),
        name: "t".to_string(),
        id: TableId(Uuid::from_bytes([8; 16])),
        location: "file:///nowhere/".to_string(),
        arrow_schema: schema_to_ipc(&Schema::empty()).into(),
        definition: String::new(),
    };
    let existing = OnExisting::Refuse;
    let target = WriteTarget::Create { table, existing };
    let (query, since) = (QueryId(Uuid::from_bytes([7; 16])), catalog.version());
    let decided = catalog.commit(query, &target, &[], since, &me).await;
    let Ok(Decided::Committed { version, .. }) = decided else {
        panic!("{decided:?}");
    };
    let store = store(directory.path());
    let entry = |version: CatalogVersion| Key::new("catalog").numbered(version.0);
    let written = store.get(&entry(version)).await.unwrap().unwrap();
    let again = entry(version.next());
    store.create(&again, &written).await.unwrap();

    let counted = || shared.driver.metrics.violations.of(Invariant::ExactlyOnce);
    assert_eq!(counted(), 0);
    catalog.doubt();
    catalog.current().await.unwrap();
    assert_eq!((catalog.version(), counted()), (version.next(), 1));
    let change = Change::CreateSchema {
        name: "s".to_string(),
        if_not_exists: false,
    };
    catalog.change(change, &me, None).await.unwrap();
    assert_eq!(counted(), 1, "it is no other one");
    shared.stop.cancel();
}
