//! Statements that write, each under a name of its own: small ones all the time, which several
//! schedulers get, and large ones, which rounds strike.

use std::time::Duration;

use arrow::array::{Array, UInt64Array};
use futures::future::try_join_all;
use paceline::client::{Answer, Anywhere};
use tokio_util::sync::CancellationToken;

use super::asking::{Asking, LIMIT, Question};
use super::forecast::{COUNT, Way};
use super::load::{REGIONS, ask, number};
use super::meanwhile::Meanwhile;
use super::world::{Addresses, World};

/// The tables that are written.
pub(crate) const CREATE: [&str; 2] = [
    "create table kept (k bigint, part bigint)",
    "create table struck (name varchar, supplier bigint, pairs bigint, quantity bigint, lowest bigint)",
];

/// A join that takes its time, with a row for each supplier.
const PAIRS: &str = "select a.l_suppkey as supplier, count(*) as pairs, \
     sum(cast(a.l_quantity + b.l_quantity as bigint)) as quantity, \
     min(a.l_orderkey * 3 + b.l_orderkey) as lowest \
     from lineitem a join lineitem b on a.l_suppkey = b.l_suppkey \
     where a.l_orderkey % 12 = 0 and a.l_orderkey % 7 <> b.l_orderkey % 5 group by a.l_suppkey";

/// Between two small ones.
const PAUSE: Duration = Duration::from_millis(200);

/// A large one.
pub(crate) fn large(name: &str) -> String {
    format!(
        "insert into struck select '{name}' as name, supplier, pairs, quantity, lowest \
         from ({PAIRS}) as p"
    )
}

fn summed(from: &str) -> String {
    format!(
        "select count(*) as n, count(distinct supplier) as s, sum(pairs) as p, \
         sum(quantity) as q, sum(lowest) as l from {from}"
    )
}

/// Whether the rows of a large one are there once, in the eyes of every scheduler, and are so many as
/// its client was told; also when the same is sent again.
pub(crate) async fn is_there_once(
    world: &mut World,
    question: &Question,
    told: &Answer,
) -> Result<(), String> {
    let told = count(told)?;
    let anywhere = Anywhere::new(world.doors().flight, LIMIT);
    let read = summed(&format!("struck where name = '{}'", question.key));
    let expected = summed(&format!("({PAIRS}) as p"));
    for scheduler in 0..COUNT {
        let again = Question {
            entry: scheduler,
            ..question.clone()
        };
        let again = Asking::begin(again, world.doors()).answer().await?;
        let again = count(&again)?;
        if again != told {
            return Err(format!("{told} rows were told of, and {again} later"));
        }
        let answer = ask(&anywhere, scheduler, &read).await?;
        world.check(&expected, &answer).await?;
        let rows = number(&answer).unwrap_or_default();
        if u64::try_from(rows) != Ok(told) {
            return Err(format!("{told} rows were told of, and there are {rows}"));
        }
    }
    Ok(())
}

/// Writes small ones until it is told to stop.
pub(super) fn begin(addresses: Addresses) -> Meanwhile {
    Meanwhile::begin(|stop| keep_writing(addresses, stop))
}

async fn keep_writing(addresses: Addresses, stop: CancellationToken) -> Result<usize, String> {
    let mut key = 0;
    while !stop.is_cancelled() {
        once(key, &addresses)
            .await
            .map_err(|problem| format!("insert {key}: {problem}"))?;
        key += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(key)
}

/// Sends the same to two schedulers at once, and to the third one when it is there.
async fn once(key: usize, addresses: &Addresses) -> Result<(), String> {
    let send = |to: usize| {
        let question = Question {
            way: Way::Written,
            entry: key + to,
            sql: format!("insert into kept select {key} as k, r_regionkey as part from region"),
            key: format!("kept-{key}"),
            holds: false,
        };
        Asking::begin(question, addresses.clone()).answer()
    };
    let mut answers = try_join_all([send(0), send(1)]).await?;
    answers.push(send(2).await?);
    for answer in answers {
        let rows = count(&answer)?;
        if rows != REGIONS as u64 {
            return Err(format!("{rows} rows instead of {REGIONS}"));
        }
    }
    Ok(())
}

/// The number of rows that a write says it wrote.
fn count(answer: &Answer) -> Result<u64, String> {
    let rows = answer.batches.iter().find(|batch| batch.num_rows() > 0);
    let column = rows.and_then(|rows| rows.column(0).as_any().downcast_ref::<UInt64Array>());
    let count = column.map(|column| column.value(0));
    count.ok_or_else(|| "a write does not say how many rows it wrote".to_string())
}
