//! What the tables that were written hold in the end, and that nothing lies beside it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use paceline::client::{Answer, Anywhere};
use serde_json::Value;

use super::asking::LIMIT;
use super::forecast::COUNT;
use super::load::{REGIONS, ask, number};
use super::world::{World, files_below, text};

const KEPT: &str =
    "select k, count(*) as n, count(distinct part) as parts from kept group by k order by k";

const STRUCK: &str = "select count(distinct name) as names from struck";

/// Whether each of so many small inserts took effect once, in the eyes of every scheduler, and every
/// insert has one entry in the catalog and one outcome.
pub(crate) async fn hold_each_row_once(world: &World, inserts: usize) -> Result<(), String> {
    let anywhere = Anywhere::new(world.doors().flight, LIMIT);
    let parts = REGIONS as i64;
    let expected: Vec<Vec<i64>> = (0..inserts as i64).map(|k| vec![k, parts, parts]).collect();
    for scheduler in 0..COUNT {
        let found = rows(&ask(&anywhere, scheduler, KEPT).await?)?;
        if found != expected {
            let wrong: Vec<_> = found.iter().filter(|row| !expected.contains(row)).collect();
            let count = found.len();
            return Err(format!(
                "of {inserts} inserts {count} are there; key, rows, distinct rows: {wrong:?}"
            ));
        }
    }
    let names = number(&ask(&anywhere, 0, STRUCK).await?).ok_or("nobody counts the names")?;
    let mut appended = changes(world)?;
    appended.retain(|change| change["kind"] == "append");
    let queries: BTreeSet<&str> = appended
        .iter()
        .filter_map(|c| c["query"].as_str())
        .collect();
    let wanted = inserts + names as usize;
    if appended.len() != wanted || queries.len() != wanted {
        return Err(format!(
            "{wanted} inserts have {} entries in the catalog, of {} queries",
            appended.len(),
            queries.len()
        ));
    }
    for query in queries {
        let outcome = world.state().join("queries").join(query).join("finished");
        let outcome = object(&outcome)?;
        if outcome["state"] != "finished" {
            return Err(format!("{query} took effect, and its outcome is {outcome}"));
        }
    }
    Ok(())
}

/// Files that lie where tables are stored and are named nowhere, and the other way round.
pub(crate) fn strays(world: &World) -> Result<Vec<String>, String> {
    let data = world.state().join("data");
    let mut stored: BTreeSet<PathBuf> = files_below(&data).into_iter().collect();
    // What a killed executor had begun to send is no object. A directory keeps it under such a name; a
    // bucket is told to forget it.
    stored.retain(|path| !is_unfinished(path));
    let mut named = BTreeSet::new();
    for change in changes(world)? {
        let table = change["table"]["id"].as_str().or(change["table"].as_str());
        for file in change["files"].as_array().into_iter().flatten() {
            if let (Some(table), Some(path)) = (table, file["path"].as_str()) {
                named.insert(data.join(table).join(path));
            }
        }
    }
    let stray = stored.difference(&named);
    let missing = named.difference(&stored);
    Ok(stray
        .map(|path| format!("stray: {}", path.display()))
        .chain(missing.map(|path| format!("missing: {}", path.display())))
        .collect())
}

fn is_unfinished(path: &Path) -> bool {
    path.to_string_lossy().contains('#')
}

/// Every change in the catalog log.
fn changes(world: &World) -> Result<Vec<Value>, String> {
    let mut entries = files_below(&world.state().join("catalog"));
    entries.retain(|path| !is_unfinished(path));
    let change = |path: &PathBuf| object(path).map(|mut entry| entry["change"].take());
    entries.iter().map(change).collect()
}

/// Reads an object of the state, which is JSON behind a head that is none.
fn object(path: &Path) -> Result<Value, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
    let begin = bytes.iter().position(|byte| *byte == b'{');
    let json = begin.and_then(|begin| bytes.get(begin..));
    let json = json.ok_or_else(|| format!("{shown} holds no JSON"))?;
    serde_json::from_slice(json).map_err(text)
}

/// The rows of an answer that has nothing but whole numbers.
fn rows(answer: &Answer) -> Result<Vec<Vec<i64>>, String> {
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let columns = batch.columns().iter();
        let columns: Option<Vec<_>> = columns
            .map(|column| column.as_primitive_opt::<Int64Type>())
            .collect();
        let columns = columns.ok_or("a column holds other things than whole numbers")?;
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row)).collect());
        }
    }
    Ok(rows)
}
