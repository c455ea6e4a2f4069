//! What others ask meanwhile: small queries, and changes of the catalog that everybody must see once
//! they are acknowledged.

use std::time::Duration;

use arrow::array::Int64Array;
use paceline::client::{Answer, Anywhere};
use tokio_util::sync::CancellationToken;

use super::asking::LIMIT;
use super::meanwhile::Meanwhile;
use super::world::{Addresses, agrees};

pub(super) const SMALL: &str = "select n_regionkey, count(*) as n from nation group by n_regionkey";

/// The rows of `region`.
pub(super) const REGIONS: usize = 5;

/// Between two questions: the load is not what is measured.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks until it is told to stop. `expected` is the answer to [`SMALL`].
pub(super) fn begin(addresses: Addresses, expected: paceline_testkit::Answer) -> Meanwhile {
    Meanwhile::begin(|stop| keep_asking(addresses, expected, stop))
}

async fn keep_asking(
    addresses: Addresses,
    expected: paceline_testkit::Answer,
    stop: CancellationToken,
) -> Result<usize, String> {
    let anywhere = Anywhere::new(addresses.flight, LIMIT);
    let (mut asked, mut version) = (0, 0);
    while !stop.is_cancelled() {
        let small = ask(&anywhere, asked, SMALL).await?;
        agrees(&expected, &small).map_err(|problem| format!("{SMALL}: {problem}"))?;
        version += 1;
        let change = format!("create or replace view chaos as select {version} as version");
        ask(&anywhere, asked + 1, &change).await?;
        // Acknowledged, so everybody who answers from now on has seen it.
        let seen = ask(&anywhere, asked + 2, "select version from chaos").await?;
        let seen = number(&seen).ok_or("the view gives no number")?;
        if seen != version {
            return Err(format!(
                "version {seen} of a view was read after {version} was acknowledged"
            ));
        }
        asked += 3;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(asked)
}

/// Asks that scheduler first.
pub(super) async fn ask(anywhere: &Anywhere, first: usize, sql: &str) -> Result<Answer, String> {
    let answer = anywhere.run(first, sql, |_| std::future::ready(())).await;
    answer.map_err(|error| format!("{sql}: {error}"))
}

/// The number in the first row and column.
pub(super) fn number(answer: &Answer) -> Option<i64> {
    let batch = answer.batches.iter().find(|batch| batch.num_rows() > 0)?;
    let column = batch.column(0).as_any().downcast_ref::<Int64Array>()?;
    Some(column.value(0))
}
