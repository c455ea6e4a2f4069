//! Statements that are no queries, and those that are refused.

mod changes;
mod parameters;
mod tables;
mod texts;

use paceline_model::ErrorClass;
use paceline_plan::{Change, Planned};

use crate::support::{Session, fixture, settings};

async fn change(session: &Session, sql: &str) -> Change {
    match session.plan(sql).await {
        Ok(Planned::Change(change)) => change,
        other => panic!("{sql}: {other:?}"),
    }
}

/// The statement is refused with that class and a message that has all those words.
async fn refused(session: &Session, sql: &str, class: ErrorClass, words: &[&str]) {
    let error = match session.plan(sql).await {
        Err(error) => error,
        Ok(planned) => panic!("{sql} was accepted: {planned:?}"),
    };
    assert_eq!(error.class, class, "{sql}: {error}");
    for word in words {
        assert!(
            error.message.contains(word),
            "{sql}: '{word}' is not in: {error}"
        );
    }
    assert!(!error.message.contains("hunter2"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_checked() {
    let mut session = fixture().await;
    for (name, value, words) in [
        ("datafusion.no.such", "1", "datafusion.no.such"),
        (
            "datafusion.execution.batch_size",
            "many",
            "cannot set datafusion.execution.batch_size",
        ),
        ("shell", "zsh", "there is no setting 'shell'"),
        (
            "paceline.small_plan_bytes",
            "huge",
            "paceline.small_plan_bytes",
        ),
        (
            "datafusion.sql_parser.recursion_limit",
            "100000",
            "at most 50",
        ),
        (
            "datafusion.execution.target_partitions",
            "1000000000",
            "at most 16384",
        ),
    ] {
        session.settings = settings([(name, value)]);
        assert!(session.settings.validate().is_err(), "{name}");
        refused(&session, "SELECT id FROM many", ErrorClass::User, &[words]).await;
    }
    assert!(
        settings([("datafusion.execution.batch_size", "100")])
            .validate()
            .is_ok()
    );
}
