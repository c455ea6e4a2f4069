use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use paceline_frontend::{Origin, Statement};
use paceline_model::{Epoch, QueryState, SchedulerId};

use super::*;

fn row(name: &str, value: i64) -> RecordBatch {
    let column = Arc::new(Int64Array::from(vec![value]));
    RecordBatch::try_from_iter([(name, column as _)]).unwrap()
}

fn session(settings: &[(&str, &str)]) -> SessionSettings {
    let settings = settings.iter();
    settings
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn waiting(sql: &str, settings: &[(&str, &str)], values: Option<RecordBatch>) -> Requested {
    Requested::statement(sql, &session(settings), values.as_ref()).unwrap()
}

fn kept(timeout: Option<u64>, result_ttl: Option<u64>) -> Requested {
    let statement = Statement::new("SELECT $1", session(&[("schema", "s")]), Origin::Http);
    let submission = Submission {
        timeout: timeout.map(Duration::from_secs),
        result_ttl: result_ttl.map(Duration::from_secs),
        ..Submission::new(statement)
    };
    Requested::submission(&submission).unwrap()
}

/// What the second one is told that it asks otherwise.
fn told(first: &Requested, again: &Requested) -> String {
    match first.agree(again) {
        Ok(()) => String::new(),
        Err(error) => {
            assert_eq!(error.class, ErrorClass::Conflict);
            error.message
        }
    }
}

#[test]
fn whatever_is_asked_otherwise_is_named() {
    let first = waiting("SELECT $1", &[("schema", "s")], Some(row("$1", 1)));
    assert_eq!(told(&first, &first.clone()), "");
    let bound_elsewhere = waiting("SELECT $1", &[("schema", "s")], Some(row("0", 1)));
    assert_eq!(told(&first, &bound_elsewhere), "", "names mean nothing");
    for (again, says) in [
        (
            waiting("SELECT $1 ", &[("schema", "s")], Some(row("$1", 1))),
            "with another statement:",
        ),
        (
            waiting("SELECT $1", &[("schema", "t")], Some(row("$1", 1))),
            "with other settings:",
        ),
        (
            waiting("SELECT $1", &[], Some(row("$1", 1))),
            "with other settings:",
        ),
        (
            waiting("SELECT $1", &[("schema", "s")], Some(row("$1", 2))),
            "with other parameters:",
        ),
        (
            waiting("SELECT $1", &[], None),
            "with other settings and other parameters:",
        ),
        (kept(None, None), "other parameters and POST /v1/sql"),
    ] {
        let told = told(&first, &again);
        assert!(told.contains(says), "{told}");
    }
    let first = kept(Some(1), Some(2));
    assert_eq!(told(&first, &kept(Some(1), Some(2))), "");
    for (again, says) in [
        (kept(None, Some(2)), "with another timeout:"),
        (kept(Some(1), None), "with another result_ttl:"),
        (kept(Some(2), Some(2)), "with another timeout:"),
        (
            waiting("SELECT $1", &[("schema", "s")], None),
            "with POST /v1/queries:",
        ),
    ] {
        let told = told(&first, &again);
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn values_are_told_apart_by_their_type_and_place() {
    let of = |columns: Vec<(&str, ArrayRef)>| {
        let values = RecordBatch::try_from_iter(columns).unwrap();
        waiting("SELECT $1, $2", &[], Some(values))
    };
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let all = [
        of(vec![("$1", text("1")), ("$2", text("2"))]),
        of(vec![("$1", text("2")), ("$2", text("1"))]),
        of(vec![("$1", text("1\") Utf8 Utf8(\"2"))]),
        of(vec![
            ("$1", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
            ("$2", text("2")),
        ]),
        of(vec![
            ("$1", Arc::new(Float64Array::from(vec![1.0])) as ArrayRef),
            ("$2", text("2")),
        ]),
        of(vec![
            (
                "$1",
                Arc::new(Int64Array::from(vec![None::<i64>])) as ArrayRef,
            ),
            ("$2", text("2")),
        ]),
    ];
    for (nth, first) in all.iter().enumerate() {
        for (other, again) in all.iter().enumerate() {
            assert_eq!(first == again, nth == other, "{nth} and {other}");
        }
    }
}

/// Others read it, and later versions: a repeat must not be refused because of a new release.
#[test]
fn what_is_written_down_is_frozen() {
    let waits = waiting("SELECT $1", &[("schema", "s")], Some(row("$1", 1)));
    let statement = "165a22d8eabe300a7430a1c63e8bd81b6fbc45f42f099dcb508a64eba90c80c1";
    let settings = "bfbf966b273ca56911f29b8ceec882637f1e8f7f16c4b0e49556ba1b400602d4";
    let parameters = "d9f2b82a78f41250bef196dc40af6887d610db1dbe5cd95768ad10a32a929a20";
    let text = format!("statement={statement} settings={settings} parameters={parameters} kept=no");
    assert_eq!(waits.to_string(), text);
    assert_eq!(Requested::read(&text), waits);
    let runs = kept(Some(1), None);
    let text = format!(
        "statement={statement} settings={settings} parameters=- kept=yes timeout=1000 result_ttl=-"
    );
    assert_eq!(runs.to_string(), text);
    assert_eq!(Requested::read(&text), runs);
    // All that there was once.
    assert_eq!(Requested::read(statement), Requested::of_text("SELECT $1"));
}

#[test]
fn what_is_not_known_agrees_with_anything() {
    let whole = waiting("SELECT $1", &[("schema", "s")], Some(row("$1", 1)));
    let text = Requested::of_text("SELECT $1");
    assert_eq!(told(&text, &whole), "");
    assert!(!told(&Requested::of_text("SELECT 2"), &whole).is_empty());
    let later = Requested::read("mood=fine");
    assert_eq!(told(&later, &whole), "");
    let ended = |result| Ending {
        state: QueryState::Finished,
        by: SchedulerId::new("a"),
        epoch: Epoch(0),
        error: None,
        result,
    };
    let former = serde_json::json!({ "status": { "sql": "SELECT $1" } });
    assert_eq!(Requested::of_ended(&ended(former)), text);
    let lost = Requested::of_ended(&ended(serde_json::json!({})));
    assert_eq!(lost, Requested::default());
    let present = serde_json::json!({ "request": whole.to_string() });
    assert_eq!(Requested::of_ended(&ended(present)), whole);
}
