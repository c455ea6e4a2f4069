//! What one DataFusion process answers, asked once for all tests: the same questions come again and
//! again, and each answer takes as long as a cluster takes for its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use paceline::client::Answer;
use paceline_testkit::{Answer as Expected, Reference, compare, says_something};
use tokio::sync::OnceCell;

use crate::support::tpch;

/// By statement. Whoever needs one first asks; others wait.
static ANSWERS: Mutex<BTreeMap<String, Arc<OnceCell<Expected>>>> = Mutex::new(BTreeMap::new());

/// Compares the answer to a statement that only reads TPC-H at scale 0.1 with that of one DataFusion
/// process.
pub(crate) async fn agrees(sql: &str, answer: &Answer) -> Result<(), String> {
    same(cell(sql).get_or_init(|| ask(sql)).await, answer)
}

/// The same, of a statement whose answer says something.
pub(crate) async fn agrees_on_something(sql: &str, answer: &Answer) -> Result<(), String> {
    same_something(cell(sql).get_or_init(|| ask(sql)).await, answer)
}

fn cell(sql: &str) -> Arc<OnceCell<Expected>> {
    let mut answers = ANSWERS.lock().unwrap();
    Arc::clone(answers.entry(sql.to_string()).or_default())
}

async fn ask(sql: &str) -> Expected {
    reference().await.run(sql).await.unwrap()
}

/// One DataFusion with TPC-H at scale 0.1, for a test that changes what it holds.
pub(crate) async fn reference() -> Reference {
    Reference::with_tables(&tpch(0.1), 2).await.unwrap()
}

/// Compares an answer with what a DataFusion process holds now.
pub(crate) async fn check(reference: &Reference, sql: &str, answer: &Answer) -> Result<(), String> {
    same(&reference.run(sql).await.unwrap(), answer)
}

/// The same, of a statement whose answer says something.
pub(crate) async fn check_something(
    reference: &Reference,
    sql: &str,
    answer: &Answer,
) -> Result<(), String> {
    same_something(&reference.run(sql).await.unwrap(), answer)
}

fn same_something(expected: &Expected, answer: &Answer) -> Result<(), String> {
    match says_something(&expected.batches, &expected.order) {
        Ok(true) => same(expected, answer),
        Ok(false) => Err("the right answer says nothing, so any would do".to_string()),
        Err(difference) => Err(difference.to_string()),
    }
}

fn same(expected: &Expected, answer: &Answer) -> Result<(), String> {
    compare(
        (&expected.schema, &expected.batches),
        (&answer.schema, &answer.batches),
        &expected.order,
    )
    .map_err(|difference| difference.to_string())
}
