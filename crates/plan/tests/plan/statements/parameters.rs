//! Parameters, numbered or not.

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use paceline_model::{ByteSize, ErrorClass};
use paceline_plan::Planned;

use super::refused;
use crate::support::{fixture, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters() {
    let session = fixture().await;
    let planner = session.planner(ByteSize(0));
    let sql = "SELECT id, $2 AS name FROM many WHERE id = $1";
    let (schema, parameters) = planner
        .describe(sql, &session.settings, &session.catalog)
        .await
        .unwrap();
    assert_eq!(schema.fields().len(), 2);
    assert_eq!(parameters[0], ("$1".to_string(), Some(DataType::Int64)));
    assert_eq!(parameters[1].0, "$2");
    let bound = vec![ScalarValue::Int64(Some(7)), ScalarValue::from("seven")];
    let planned = planner
        .plan(sql, bound, &session.settings, &session.catalog, &[2, 2])
        .await;
    let Ok(Planned::Query(query)) = planned else {
        panic!("{planned:?}");
    };
    let ran = session.run(&query, 3).await.unwrap();
    let batch = ran
        .batches
        .iter()
        .find(|batch| batch.num_rows() == 1)
        .unwrap();
    let name = arrow::compute::cast(batch.column(1), &DataType::Utf8).unwrap();
    assert_eq!(name.as_string::<i32>().value(0), "seven");
    refused(&session, sql, ErrorClass::User, &["$1"]).await;
    let few = vec![ScalarValue::Int64(Some(7))];
    let planned = planner
        .plan(sql, few, &session.settings, &session.catalog, &[2, 2])
        .await;
    assert_eq!(planned.unwrap_err().class, ErrorClass::User);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn question_marks_are_parameters_in_the_order_of_the_text() {
    let mut session = fixture().await;
    let planner = session.planner(ByteSize(0));
    let sql = "SELECT id, ? AS name, '?' AS mark FROM many WHERE id = ? -- ?";
    let (_, parameters) = planner
        .describe(sql, &session.settings, &session.catalog)
        .await
        .unwrap();
    let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["$1", "$2"]);
    assert_eq!(parameters[1].1, Some(DataType::Int64));
    let bound = vec![ScalarValue::from("seven"), ScalarValue::Int64(Some(7))];
    let planned = planner
        .plan(sql, bound, &session.settings, &session.catalog, &[2, 2])
        .await;
    let Ok(Planned::Query(query)) = planned else {
        panic!("{planned:?}");
    };
    let ran = session.run(&query, 3).await.unwrap();
    let rows: usize = ran.batches.iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rows, 1);
    let both = "SELECT id FROM many WHERE id = ? OR id = $2";
    refused(&session, both, ErrorClass::User, &["'?'", "'$2'"]).await;
    // It is an operator there.
    session.settings = settings([("datafusion.sql_parser.dialect", "PostgreSQL")]);
    let (_, parameters) = planner
        .describe(
            "SELECT id FROM many WHERE id = $1",
            &session.settings,
            &session.catalog,
        )
        .await
        .unwrap();
    assert_eq!(parameters.len(), 1);
    refused(&session, sql, ErrorClass::User, &["xpected"]).await;
}

/// Nobody has a value for them who uses the view.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_have_no_parameters() {
    let session = fixture().await;
    let planner = session.planner(ByteSize(0));
    for sql in [
        "CREATE VIEW v AS SELECT id FROM many WHERE id = $1",
        "CREATE VIEW v AS SELECT id FROM many WHERE id IN (SELECT id FROM few WHERE id = ?)",
    ] {
        let words = ["no parameters", "'$1'"];
        refused(&session, sql, ErrorClass::User, &words).await;
        let bound = vec![ScalarValue::Int64(Some(7))];
        let planned = planner
            .plan(sql, bound, &session.settings, &session.catalog, &[2, 2])
            .await;
        assert_eq!(planned.unwrap_err().class, ErrorClass::User, "{sql}");
    }
}
