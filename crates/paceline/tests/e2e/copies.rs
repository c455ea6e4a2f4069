//! Files for others: what `COPY` and `INSERT` write is read back, and a `COPY` that fails leaves none.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use paceline_testkit::Reference;

use crate::answers::{check, reference};
use crate::left::nothing_is_left;
use crate::stored::files_below;
use crate::support::{Running, until};
use crate::writes::count;

const COPIED: &str = "select o_orderkey as k, o_totalprice as p, o_comment as t from orders where o_orderkey % 2 = 0";

/// It fails at one row, which one of its tasks meets.
const FAILING: &str = "select 1 / (o_orderkey - 7) from orders";

/// How files are written and read.
struct Files {
    /// Of a folder, if it ends in `/`, or of one file.
    name: &'static str,
    format: &'static str,
    /// Options of the `COPY`.
    written: &'static str,
    /// Columns and options of the table that reads them.
    columns: &'static str,
    read: &'static str,
}

const COLUMNS: &str = "(k bigint, p decimal(15, 2), t varchar)";

const SEMICOLONS: &str = "options ('format.delimiter' ';')";

const ALL: [Files; 5] = [
    Files {
        name: "a/",
        format: "parquet",
        written: "options ('format.compression' 'snappy')",
        columns: "",
        read: "options ('format.pruning' 'true')",
    },
    Files {
        name: "b/",
        format: "csv",
        written: SEMICOLONS,
        columns: COLUMNS,
        read: SEMICOLONS,
    },
    Files {
        name: "c/",
        format: "json",
        written: "",
        columns: COLUMNS,
        read: "",
    },
    Files {
        name: "d/",
        format: "arrow",
        written: "",
        columns: "",
        read: "",
    },
    Files {
        name: "e.parquet",
        format: "parquet",
        written: "",
        columns: "",
        read: "",
    },
];

impl Files {
    fn table(&self) -> String {
        self.name.trim_end_matches('/').replace('.', "_")
    }

    /// Copies so many rows, and reads them at the other scheduler.
    async fn are_read_back(&self, running: &Running, reference: &Reference, out: &Path, rows: u64) {
        let (format, table) = (self.format, self.table());
        let location = format!("{}/{}", out.display(), self.name);
        let copy = format!(
            "copy ({COPIED}) to '{location}' stored as {format} {}",
            self.written
        );
        let mut flight = running.flight(0).await;
        let answer = flight.run(&copy).await.unwrap();
        assert_eq!(count(&answer), rows, "{copy}");
        let create = format!(
            "create external table {table} {} stored as {format} location '{location}' {}",
            self.columns, self.read
        );
        let created = flight.run(&create).await;
        created.unwrap_or_else(|error| panic!("{create}: {error}"));
        let read = |from: &str| {
            format!("select count(*) as n, sum(k) as k, sum(p) as p, max(t) as t from {from}")
        };
        let answer = running.flight(1).await.run(&read(&table)).await.unwrap();
        let checked = check(reference, &read(&format!("({COPIED})")), &answer).await;
        checked.unwrap_or_else(|difference| panic!("{copy}: {difference}"));
    }

    /// Inserts the same rows once more.
    async fn take_more_rows(&self, running: &Running, rows: u64) {
        let table = self.table();
        let insert = format!("insert into {table} {COPIED}");
        let answer = running.flight(0).await.run(&insert).await.unwrap();
        assert_eq!(count(&answer), rows, "{insert}");
        let twice = format!("select count(*) as n from {table}");
        let answer = running.flight(1).await.run(&twice).await.unwrap();
        let found = answer.batches[0].column(0).as_primitive::<Int64Type>();
        let found = u64::try_from(found.value(0)).unwrap();
        assert_eq!(found, 2 * rows, "{insert}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_read_back() {
    let running = Running::with_tpch_kept_for("2s").await;
    let reference = reference().await;
    let out = tempfile::tempdir().unwrap();
    let rows = reference.run(COPIED).await.unwrap();
    let rows = rows.batches.iter().map(|batch| batch.num_rows() as u64);
    let rows: u64 = rows.sum();
    for files in ALL {
        files
            .are_read_back(&running, &reference, out.path(), rows)
            .await;
        if files.name.ends_with('/') {
            files.take_more_rows(&running, rows).await;
        }
    }
    assert!(out.path().join("e.parquet").is_file());
    nothing_is_left(&running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_fails_leaves_no_file() {
    let running = Running::with_tpch_kept_for("2s").await;
    let out = tempfile::tempdir().unwrap();
    let (folder, single) = (out.path().join("f"), out.path().join("g.csv"));
    let mut flight = running.flight(0).await;
    for location in [
        format!("{}/", folder.display()),
        single.display().to_string(),
    ] {
        let copy = format!("copy ({FAILING}) to '{location}' stored as csv");
        let failed = flight.run(&copy).await.unwrap_err().to_string();
        assert!(failed.to_lowercase().contains("divi"), "{failed}");
    }
    // Other tasks than the one that failed write as well, and stop when they hear of it.
    let http = running.http(0);
    until("nothing runs, and what failed is gone", || async {
        let status = http.status().await.unwrap();
        let idle = status.executors.iter().all(|e| e.slots_used == 0);
        (idle && files_below(out.path()).is_empty()).then_some(())
    })
    .await;
    nothing_is_left(&running).await;
}
