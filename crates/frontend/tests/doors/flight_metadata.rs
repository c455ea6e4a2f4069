//! What Flight SQL asks about catalogs, tables and the server.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow_flight::FlightInfo;
use arrow_flight::IpcMessage;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables,
    CommandGetXdbcTypeInfo, SqlInfo,
};

use crate::house::{House, fetch};

/// The answer as one batch, whose schema must be the one that was announced.
async fn rows(house: &House, info: FlightInfo) -> RecordBatch {
    let announced = info.clone().try_decode_schema().unwrap();
    let batches = fetch(&mut house.sql().await, &info).await.unwrap();
    if batches.is_empty() {
        return RecordBatch::new_empty(announced.into());
    }
    assert_eq!(*batches[0].schema(), announced);
    concat_batches(&announced.into(), &batches).unwrap()
}

fn texts(batch: &RecordBatch, column: usize) -> Vec<&str> {
    batch
        .column(column)
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect()
}

#[tokio::test]
async fn catalogs_and_schemas_are_listed() {
    let house = House::open().await;
    let mut client = house.sql().await;
    let catalogs = rows(&house, client.get_catalogs().await.unwrap()).await;
    assert_eq!(texts(&catalogs, 0), ["lake", "pond"]);

    let asked = CommandGetDbSchemas {
        catalog: Some("lake".to_string()),
        db_schema_filter_pattern: None,
    };
    let schemas = rows(&house, client.get_db_schemas(asked).await.unwrap()).await;
    assert_eq!(texts(&schemas, 1), ["other", "tpch"]);
}

#[tokio::test]
async fn tables_are_listed_with_their_columns() {
    let house = House::open().await;
    let mut client = house.sql().await;
    let mut asked = CommandGetTables {
        catalog: Some("lake".to_string()),
        db_schema_filter_pattern: Some("tp%".to_string()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let tables = rows(&house, client.get_tables(asked.clone()).await.unwrap()).await;
    assert_eq!(texts(&tables, 2), ["broken", "nation"]);
    let schemas = tables.column(4).as_binary::<i32>();
    let schema = |row: usize| {
        let bytes = bytes::Bytes::copy_from_slice(schemas.value(row));
        arrow::datatypes::Schema::try_from(IpcMessage(bytes)).unwrap()
    };
    assert_eq!(
        schema(0).fields().len(),
        0,
        "a table that cannot be read hides no other"
    );
    assert_eq!(schema(1).field(1).name(), "big");

    asked.include_schema = false;
    asked.table_types = vec!["VIEW".to_string()];
    let views = rows(&house, client.get_tables(asked).await.unwrap()).await;
    assert_eq!(texts(&views, 2), ["broken"]);
    let kinds = rows(&house, client.get_table_types().await.unwrap()).await;
    assert!(texts(&kinds, 0).contains(&"BASE TABLE"));
}

#[tokio::test]
async fn the_server_tells_what_it_is_and_what_types_it_has() {
    let house = House::open().await;
    let mut client = house.sql().await;
    let asked = vec![SqlInfo::FlightSqlServerName];
    let name = rows(&house, client.get_sql_info(asked).await.unwrap()).await;
    assert_eq!(name.num_rows(), 1);
    let value = name.column(1).as_union().value(0);
    assert_eq!(value.as_string::<i32>().value(0), "Paceline");
    let all = rows(&house, client.get_sql_info(vec![]).await.unwrap()).await;
    assert!(all.num_rows() > 10);

    let asked = CommandGetXdbcTypeInfo { data_type: None };
    let types = rows(&house, client.get_xdbc_type_info(asked).await.unwrap()).await;
    assert!(texts(&types, 0).contains(&"DECIMAL"));
}

#[tokio::test]
async fn there_are_no_keys() {
    let house = House::open().await;
    let mut client = house.sql().await;
    let asked = CommandGetPrimaryKeys {
        table: "nation".to_string(),
        ..CommandGetPrimaryKeys::default()
    };
    let keys = rows(&house, client.get_primary_keys(asked).await.unwrap()).await;
    assert_eq!((keys.num_rows(), keys.num_columns()), (0, 6));
    let asked = CommandGetCrossReference::default();
    let keys = rows(&house, client.get_cross_reference(asked).await.unwrap()).await;
    assert_eq!((keys.num_rows(), keys.num_columns()), (0, 13));
}
