//! One test for each thing that a planner of stages gets wrong.

mod aggregates;
mod csv;
mod cuts;
mod edges;
mod joins;
mod limits;
mod sources;
mod subqueries;
mod types;
mod unions;
mod windows;

use crate::support::Session;

/// Every one of the statements is answered as one DataFusion answers it.
async fn check_all<S: AsRef<str>>(session: &Session, statements: &[S]) {
    let mut failures = Vec::new();
    for sql in statements {
        if let Err(failure) = session.try_check(sql.as_ref(), &[3, 1, 5]).await {
            failures.push(failure);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
