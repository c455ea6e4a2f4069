//! What one DataFusion process answers, asked once for all tests: the same questions come again and
//! again, and each answer takes as long as a cluster takes for its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use paceline::client::Answer;
use paceline_testkit::{Answer as Expected, Reference, compare};
use tokio::sync::OnceCell;

use crate::support::tpch;

/// By statement. Whoever needs one first asks; others wait.
static ANSWERS: Mutex<BTreeMap<String, Arc<OnceCell<Expected>>>> = Mutex::new(BTreeMap::new());

/// Compares the answer to a statement that only reads TPC-H at scale 0.1 with that of one DataFusion
/// process.
pub(crate) async fn agrees(sql: &str, answer: &Answer) -> Result<(), String> {
    let cell = Arc::clone(ANSWERS.lock().unwrap().entry(sql.to_string()).or_default());
    same(cell.get_or_init(|| ask(sql)).await, answer)
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

fn same(expected: &Expected, answer: &Answer) -> Result<(), String> {
    compare(
        (&expected.schema, &expected.batches),
        (&answer.schema, &answer.batches),
        &expected.order,
    )
    .map_err(|difference| difference.to_string())
}
