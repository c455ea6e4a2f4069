//! How a change is written: one JSON object, which a person can read in the store.
//!
//! `{"v":1,"made_by":"…","change":{"kind":"create_schema",…}}`
//!
//! A change that a client gave a name says so: `"name":{"query":"…","statement":"…"}`.
//!
//! A reader passes over fields that it does not know. A kind that it does not know is an error,
//! unless the writer marked the entry `"ignorable": true`: then it only counts as a version.

use bytes::Bytes;
use paceline_model::SchedulerId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CatalogChange, ChangeName};
use crate::{Key, StateStore, StoreError, record};

const RECORD_VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    made_by: &'a SchedulerId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a ChangeName>,
    change: &'a CatalogChange,
}

#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    ignorable: bool,
    #[serde(default)]
    name: Option<ChangeName>,
    change: Value,
}

/// What an entry says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// None if it is of a kind that may be ignored.
    pub(crate) change: Option<CatalogChange>,
    /// The name that a client gave the change.
    pub(crate) name: Option<ChangeName>,
}

pub(super) fn encode(
    change: &CatalogChange,
    made_by: &SchedulerId,
    name: Option<&ChangeName>,
) -> Bytes {
    record::encode(&Written {
        v: RECORD_VERSION,
        made_by,
        name,
        change,
    })
}

pub(super) fn decode(store: &StateStore, key: &Key, payload: &[u8]) -> Result<Entry, StoreError> {
    let entry: Read = record::decode(store, key, payload, RECORD_VERSION)?;
    let kind = entry.change.get("kind").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| store.corrupt(key, "its change has no kind".to_string()))?;
    if !CatalogChange::KINDS.contains(&kind) {
        if entry.ignorable {
            return Ok(Entry {
                change: None,
                name: entry.name,
            });
        }
        return Err(store.newer(key, format!("a catalog change of kind '{kind}'")));
    }
    let change = serde_json::from_value(entry.change);
    Ok(Entry {
        change: Some(change.map_err(|e| store.corrupt(key, e.to_string()))?),
        name: entry.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{DataFile, ExternalTable, ManagedTable, TableFormat, View};
    use crate::{Limits, StoreMetrics};
    use object_store::memory::InMemory;
    use paceline_model::{QueryId, TableId};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn store() -> StateStore {
        let metrics = StoreMetrics::register(&prometheus::Registry::new()).unwrap();
        StateStore::over(
            Arc::new(InMemory::new()),
            "memory",
            Limits::default(),
            metrics,
        )
    }

    fn read_entry(text: &str) -> Result<Entry, StoreError> {
        decode(&store(), &Key::new("catalog").numbered(1), text.as_bytes())
    }

    fn read(text: &str) -> Result<Option<CatalogChange>, StoreError> {
        read_entry(text).map(|entry| entry.change)
    }

    fn named(schema: &str, name: &str) -> (String, String) {
        (schema.to_string(), name.to_string())
    }

    /// Every kind, with its frozen bytes. Add to it; never change a line.
    fn golden() -> Vec<(CatalogChange, &'static str)> {
        let (schema, name) = named("public", "t");
        let table = ExternalTable {
            schema: schema.clone(),
            name: name.clone(),
            location: "s3://b/t/".to_string(),
            format: TableFormat::Parquet,
            options: [("format.pushdown".to_string(), "true".to_string())].into(),
            arrow_schema: Bytes::from_static(&[0xff, 0x00, 0x10]),
            partition_columns: vec!["day".to_string()],
            definition: "CREATE EXTERNAL TABLE t".to_string(),
            settings: BTreeMap::new(),
        };
        let view = View {
            schema: schema.clone(),
            name: name.clone(),
            sql: "CREATE VIEW t AS SELECT 1".to_string(),
            settings: BTreeMap::new(),
        };
        let query = QueryId(uuid::Uuid::from_bytes([7; 16]));
        let managed = ManagedTable {
            schema: schema.clone(),
            name: name.clone(),
            id: TableId(uuid::Uuid::from_bytes([8; 16])),
            location: "s3://b/data/t/".to_string(),
            arrow_schema: Bytes::from_static(&[0xff, 0x00, 0x10]),
            definition: "CREATE TABLE t".to_string(),
        };
        let file = DataFile {
            path: "q/0-0-0-0.parquet".to_string(),
            rows: 3,
            bytes: 99,
        };
        vec![
            (
                CatalogChange::CreateSchema { name: name.clone() },
                r#"{"v":1,"made_by":"s1","change":{"kind":"create_schema","name":"t"}}"#,
            ),
            (
                CatalogChange::DropSchema { name: name.clone() },
                r#"{"v":1,"made_by":"s1","change":{"kind":"drop_schema","name":"t"}}"#,
            ),
            (
                CatalogChange::CreateExternalTable { table },
                concat!(
                    r#"{"v":1,"made_by":"s1","change":{"kind":"create_external_table","table":"#,
                    r#"{"schema":"public","name":"t","location":"s3://b/t/","format":"parquet","#,
                    r#""options":{"format.pushdown":"true"},"arrow_schema":"/wAQ","#,
                    r#""partition_columns":["day"],"definition":"CREATE EXTERNAL TABLE t"}}}"#
                ),
            ),
            (
                CatalogChange::CreateView { view },
                concat!(
                    r#"{"v":1,"made_by":"s1","change":{"kind":"create_view","view":"#,
                    r#"{"schema":"public","name":"t","sql":"CREATE VIEW t AS SELECT 1"}}}"#
                ),
            ),
            (
                CatalogChange::CreateTable {
                    table: managed,
                    query: Some(query),
                    files: vec![file.clone()],
                },
                concat!(
                    r#"{"v":1,"made_by":"s1","change":{"kind":"create_table","table":"#,
                    r#"{"schema":"public","name":"t","id":"08080808-0808-0808-0808-080808080808","#,
                    r#""location":"s3://b/data/t/","arrow_schema":"/wAQ","#,
                    r#""definition":"CREATE TABLE t"},"#,
                    r#""query":"07070707-0707-0707-0707-070707070707","#,
                    r#""files":[{"path":"q/0-0-0-0.parquet","rows":3,"bytes":99}]}}"#
                ),
            ),
            (
                CatalogChange::Append {
                    query,
                    schema: schema.clone(),
                    name: name.clone(),
                    table: TableId(uuid::Uuid::from_bytes([8; 16])),
                    files: vec![file],
                },
                concat!(
                    r#"{"v":1,"made_by":"s1","change":{"kind":"append","#,
                    r#""query":"07070707-0707-0707-0707-070707070707","schema":"public","#,
                    r#""name":"t","table":"08080808-0808-0808-0808-080808080808","#,
                    r#""files":[{"path":"q/0-0-0-0.parquet","rows":3,"bytes":99}]}}"#
                ),
            ),
            (
                CatalogChange::Abandon { query, kept: false },
                concat!(
                    r#"{"v":1,"made_by":"s1","change":{"kind":"abandon","#,
                    r#""query":"07070707-0707-0707-0707-070707070707"}}"#
                ),
            ),
            (
                CatalogChange::DropTable {
                    schema: schema.clone(),
                    name: name.clone(),
                },
                r#"{"v":1,"made_by":"s1","change":{"kind":"drop_table","schema":"public","name":"t"}}"#,
            ),
            (
                CatalogChange::DropView { schema, name },
                r#"{"v":1,"made_by":"s1","change":{"kind":"drop_view","schema":"public","name":"t"}}"#,
            ),
        ]
    }

    #[test]
    fn every_kind_is_frozen() {
        let golden = golden();
        assert_eq!(golden.len(), CatalogChange::KINDS.len());
        for (change, text) in golden {
            assert_eq!(
                encode(&change, &SchedulerId::new("s1"), None),
                text.as_bytes()
            );
            assert_eq!(read(text), Ok(Some(change)));
            let later = text.replace("\"kind\"", "\"mood\":\"fine\",\"kind\"");
            assert!(read(&later).is_ok(), "an unknown field is passed over");
        }
    }

    #[test]
    fn the_settings_of_a_view_are_frozen() {
        let view = View {
            schema: "a".to_string(),
            name: "t".to_string(),
            sql: "CREATE VIEW t AS SELECT 1".to_string(),
            settings: [("dialect".to_string(), "hive".to_string())].into(),
        };
        let text = concat!(
            r#"{"v":1,"made_by":"s1","change":{"kind":"create_view","view":"#,
            r#"{"schema":"a","name":"t","sql":"CREATE VIEW t AS SELECT 1","#,
            r#""settings":{"dialect":"hive"}}}}"#
        );
        let change = CatalogChange::CreateView { view };
        assert_eq!(
            encode(&change, &SchedulerId::new("s1"), None),
            text.as_bytes()
        );
        assert_eq!(read(text), Ok(Some(change)));
    }

    #[test]
    fn the_name_of_a_change_is_frozen() {
        let name = ChangeName {
            query: QueryId(uuid::Uuid::from_bytes([7; 16])),
            statement: "ab01".to_string(),
        };
        let change = CatalogChange::CreateSchema {
            name: "t".to_string(),
        };
        let text = concat!(
            r#"{"v":1,"made_by":"s1","name":{"query":"07070707-0707-0707-0707-070707070707","#,
            r#""statement":"ab01"},"change":{"kind":"create_schema","name":"t"}}"#
        );
        assert_eq!(
            encode(&change, &SchedulerId::new("s1"), Some(&name)),
            text.as_bytes()
        );
        let change = Some(change);
        let name = Some(name);
        assert_eq!(read_entry(text), Ok(Entry { change, name }));
    }

    /// Who does not know the word takes it for one that came to nothing, as it has.
    #[test]
    fn that_a_table_was_kept_is_frozen() {
        let query = QueryId(uuid::Uuid::from_bytes([7; 16]));
        let kept = CatalogChange::Abandon { query, kept: true };
        let text = concat!(
            r#"{"v":1,"made_by":"s1","change":{"kind":"abandon","#,
            r#""query":"07070707-0707-0707-0707-070707070707","kept":true}}"#
        );
        assert_eq!(
            encode(&kept, &SchedulerId::new("s1"), None),
            text.as_bytes()
        );
        assert_eq!(read(text), Ok(Some(kept)));
    }

    #[test]
    fn what_is_not_understood_is_an_error_unless_ignorable() {
        let unknown = r#"{"v":1,"made_by":"s","change":{"kind":"paint"}}"#;
        let said = read(unknown).unwrap_err().to_string();
        assert!(
            said.contains("'paint'") && said.contains("upgrade"),
            "{said}"
        );
        let ignorable = unknown.replace("{\"v\":1", "{\"v\":1,\"ignorable\":true");
        assert_eq!(read(&ignorable), Ok(None));
        let later = unknown.replace("\"v\":1", "\"v\":2");
        assert!(matches!(read(&later), Err(StoreError::Newer { .. })));
        for damaged in [
            "",
            "{}",
            "[1]",
            r#"{"v":1}"#,
            r#"{"v":1,"change":{"kind":"drop_view"}}"#,
        ] {
            assert!(
                matches!(read(damaged), Err(StoreError::Corrupt { .. })),
                "{damaged}"
            );
        }
    }

    #[test]
    fn debug_shows_no_credentials() {
        let (change, _) = golden().remove(2);
        let CatalogChange::CreateExternalTable { mut table } = change else {
            panic!("the third golden line is a table");
        };
        table
            .options
            .insert("secret".to_string(), "hunter2".to_string());
        table.definition = "… OPTIONS ('secret' 'hunter2')".to_string();
        assert!(!format!("{table:?}").contains("hunter2"));
    }
}
