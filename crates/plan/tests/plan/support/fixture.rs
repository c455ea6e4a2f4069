//! Small tables with what trips planners up: nulls, several files and row groups, nested types,
//! dictionaries, nothing at all.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::Session;

/// Columns of `many` and, with other rows and no duplicates in `id`, of `few`.
const COLUMNS: &str = "
    value AS id,
    value % 97 AS k,
    CASE WHEN value % 11 = 0 THEN NULL ELSE value % 13 END AS n,
    'name ' || (value % 7) AS s,
    arrow_cast('kind ' || (value % 5), 'Dictionary(Int32, Utf8)') AS dict,
    make_array(value, value + 1) AS arr,
    named_struct('a', value % 3, 'b', 'b' || (value % 4)) AS st,
    CAST(value AS DECIMAL(20, 3)) / 8 AS d,
    CAST(value AS DOUBLE) / 3 AS f,
    date '1995-01-01' + CAST(value % 700 AS INT) AS day,
    to_timestamp_nanos(value * 1000000000) AS at,
    value % 2 = 0 AS even";

/// The directory that the tables lie in; it goes when the process does.
async fn files() -> PathBuf {
    static FILES: OnceCell<TempDir> = OnceCell::const_new();
    let files = FILES.get_or_init(|| async {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        write(directory.path().to_str().unwrap()).await;
        directory
    });
    files.await.path().to_path_buf()
}

async fn write(directory: &str) {
    let session = Session::new().await;
    let copy = async |query: String, file: &str| {
        let copy = format!(
            "COPY ({query}) TO '{directory}/{file}' STORED AS PARQUET \
             OPTIONS ('format.max_row_group_size' 200)"
        );
        session.reference.run(&copy).await.unwrap();
    };
    for part in 0..4 {
        let many = format!(
            "SELECT {COLUMNS} FROM generate_series(0, 2999) AS t(value) WHERE value % 4 = {part}"
        );
        copy(many, &format!("many/{part}.parquet")).await;
        let few = format!(
            "SELECT {COLUMNS} FROM generate_series(0, 120) AS t(value) WHERE value % 4 = {part}"
        );
        copy(few, &format!("few/{part}.parquet")).await;
    }
    let whole = |rows: &str| format!("SELECT {COLUMNS} FROM {rows} AS t(value)");
    copy(whole("generate_series(40, 60)"), "single/0.parquet").await;
    let nothing = format!("{} WHERE value < 0", whole("generate_series(0, 9)"));
    copy(nothing.clone(), "nothing/0.parquet").await;
    copy(nothing, "nothing/1.parquet").await;
    for part in 0..3 {
        let sorted = format!(
            "SELECT value AS id, value % 10 AS k FROM generate_series({}, {}) AS t(value) ORDER BY 1",
            part * 500,
            part * 500 + 700
        );
        copy(sorted, &format!("sorted/{part}.parquet")).await;
    }
}

/// A session that knows `many` (3,000 rows in 4 files), `few` (121 rows in 4 files), `single` (21
/// rows in one), `nothing` (no rows, in two files), `sorted` (files in order of `id`) and a view.
pub(crate) async fn fixture() -> Session {
    let files = files().await;
    let mut session = Session::new().await;
    for table in ["many", "few", "single", "nothing"] {
        let location = files.join(table);
        let create = format!(
            "CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{}/'",
            location.display()
        );
        session.change(&create).await;
    }
    let create = format!(
        "CREATE EXTERNAL TABLE sorted (id BIGINT, k BIGINT) STORED AS PARQUET WITH ORDER (id) \
         LOCATION '{}/'",
        files.join("sorted").display()
    );
    session.change(&create).await;
    session
        .change(
            "CREATE VIEW grouped AS SELECT k, count(*) AS c, sum(d) AS total FROM many GROUP BY k",
        )
        .await;
    session
}
