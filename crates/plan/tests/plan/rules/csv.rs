//! How CSV is written reaches whoever reads it: without that there would be other rows, or none.

use std::fs;
use std::ops::Range;
use std::path::Path;

use super::check_all;
use crate::support::fixture;

/// The ids that a file has.
fn ids(part: i64) -> Range<i64> {
    part * 100..part * 100 + 50
}

/// Three files, in a directory of their own.
fn write(directory: &Path, heading: &str, line: impl Fn(i64) -> String) {
    fs::create_dir(directory).unwrap();
    for part in 0..3 {
        let lines: String = ids(part).map(&line).collect();
        let path = directory.join(format!("{part}.csv"));
        fs::write(path, heading.to_string() + &lines).unwrap();
    }
}

/// A number, or nothing, which is NULL.
fn number(id: i64) -> String {
    match id % 4 {
        0 => String::new(),
        _ => (id % 13).to_string(),
    }
}

/// A way to write CSV.
struct Way {
    /// Where files lie that are written like that.
    folder: &'static str,
    options: &'static str,
    /// The columns as they are called if nobody names them.
    found: [&'static str; 3],
    /// How the text of a row with the id 3 stands in SQL.
    text: &'static str,
}

const BARS: Way = Way {
    folder: "bars",
    options: "'format.has_header' 'false', 'format.delimiter' '|', 'format.quote' '~'",
    found: ["column_1", "column_2", "column_3"],
    text: "'a ~3~ | b'",
};

const LINES: Way = Way {
    folder: "lines",
    options: "'format.has_header' 'true', 'format.delimiter' ';', 'format.quote' '''', \
              'format.escape' '\\', 'format.comment' '#', 'format.newlines_in_values' 'true'",
    found: ["id", "n", "s"],
    text: "'it''s\n3; b'",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn csv_is_read_as_it_is_written() {
    let mut session = fixture().await;
    let files = tempfile::tempdir().unwrap();
    let root = files.path();
    // Such files are divided among tasks.
    write(&root.join(BARS.folder), "", |id| {
        format!("{id}|{}|~a ~~{}~~ | b~\n", number(id), id % 7)
    });
    // Such files are not, because a line may end within a value.
    write(&root.join(LINES.folder), "id;n;s\n", |id| {
        let (n, s) = (number(id), id % 7);
        format!("# nothing; at; all\n{id};{n};'it\\'s\n{s}; b'\n")
    });
    let alike = (0..3).flat_map(ids).filter(|id| id % 7 == 3).count();
    for way in [BARS, LINES] {
        let location = root.join(way.folder).display().to_string();
        for (kind, types, [id, n, s]) in [
            (
                "given",
                "(id BIGINT, n BIGINT, s VARCHAR) ",
                ["id", "n", "s"],
            ),
            ("found", "", way.found),
        ] {
            let table = format!("{}_{kind}", way.folder);
            let create = format!(
                "CREATE EXTERNAL TABLE {table} {types}STORED AS CSV LOCATION '{location}/' \
                 OPTIONS ({})",
                way.options
            );
            session.change(&create).await;
            let some = format!("SELECT {id}, {n} FROM {table} WHERE {s} = {}", way.text);
            let expected = session.expected(&some).await.unwrap();
            let rows: usize = expected.batches.iter().map(|batch| batch.num_rows()).sum();
            assert_eq!(rows, alike, "{some}");
            check_all(
                &session,
                &[
                    some,
                    format!("SELECT {id}, {n}, {s} FROM {table}"),
                    format!(
                        "SELECT count(*), count({n}), count(DISTINCT {s}), sum({id}) FROM {table}"
                    ),
                    format!("SELECT {s}, count(*), sum({n}) FROM {table} GROUP BY {s}"),
                    format!("SELECT m.id, t.{s} FROM many m JOIN {table} t ON m.id = t.{id}"),
                    format!("SELECT {s} FROM {table} ORDER BY {id} LIMIT 5"),
                ],
            )
            .await;
        }
    }
}
