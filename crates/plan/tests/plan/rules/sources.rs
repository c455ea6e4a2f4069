//! Where rows come from but Parquet: VALUES, functions, the catalog, other formats.

use std::fs::{self, File};
use std::path::Path;

use arrow::ipc::writer::StreamWriter;
use paceline_plan::Planned;

use super::check_all;
use crate::support::{Session, fixture};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_a_table() {
    let session = fixture().await;
    check_all(
        &session,
        &[
            "SELECT 1",
            "SELECT 1 AS a, 'x' AS b, NULL AS c WHERE false",
            "VALUES (1, 'a'), (2, 'b'), (3, NULL)",
            "SELECT m.id, v.b FROM many m JOIN (VALUES (1, 'a'), (2, 'b')) AS v(a, b) ON m.id = v.a",
            "SELECT v.a, count(m.id) FROM (VALUES (1), (2), (5000)) AS v(a) LEFT JOIN many m ON m.id = v.a GROUP BY v.a",
            "SELECT * FROM generate_series(1, 10)",
            "SELECT count(*) FROM generate_series(1, 10)",
            "SELECT count(*) FROM generate_series(1, 10000)",
            "SELECT count(*) FROM generate_series(5, 1)",
            "SELECT count(*) FROM generate_series(1, NULL)",
            "SELECT count(*) FROM range(1, 10, 3)",
            "SELECT count(*) FROM generate_series(timestamp '2024-01-01', timestamp '2024-01-03', interval '1 hour')",
            "SELECT 'x' FROM generate_series(1, 3)",
            "SELECT count(*) FROM few CROSS JOIN generate_series(1, 10)",
            "SELECT id, 'x' FROM few CROSS JOIN generate_series(1, 3)",
            "SELECT m.id FROM many m JOIN generate_series(5, 25, 5) AS g(x) ON m.id = g.x",
            "SELECT g.x, count(*) FROM generate_series(0, 200) AS g(x) LEFT JOIN many m ON m.k = g.x GROUP BY g.x",
            "SELECT * FROM range(0, 100) WHERE value % 7 = 0",
            "SELECT unnest(make_array(1, 2, 3)) AS x",
            "SELECT id, unnest(arr) AS x FROM many",
            "SELECT x, count(*) FROM (SELECT unnest(arr) AS x FROM many) GROUP BY x ORDER BY x LIMIT 10",
            "SELECT id, unnest(st) FROM few",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_knows_itself() {
    let session = fixture().await;
    for (sql, rows) in [
        (
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
            6,
        ),
        ("SHOW TABLES", 6 + 8),
        (
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'many'",
            12,
        ),
        ("SHOW COLUMNS FROM many", 12),
        ("DESCRIBE many", 12),
        (
            "SELECT definition FROM information_schema.views WHERE table_name = 'grouped'",
            1,
        ),
        (
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name = 'public'",
            1,
        ),
        ("SHOW datafusion.execution.batch_size", 1),
    ] {
        match session.plan(sql).await {
            Ok(Planned::Rows { schema, batches }) => {
                let found: usize = batches.iter().map(|batch| batch.num_rows()).sum();
                let width = schema.fields().len();
                assert!(
                    batches.iter().all(|batch| batch.num_columns() == width),
                    "{sql}"
                );
                // How many tables describe the others is DataFusion's business.
                let exact = sql != "SHOW TABLES";
                assert!(found == rows || (!exact && found > 6), "{sql}: {found}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}

/// Executors do not have the tables of the catalog; its rows travel with the plan.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_joins_data() {
    let session = fixture().await;
    for sql in [
        "SELECT c.column_name, count(*) FROM many m JOIN information_schema.columns c \
         ON m.id = c.ordinal_position AND c.table_name = 'many' GROUP BY c.column_name ORDER BY 1",
        "SELECT m.id, c.column_name FROM information_schema.columns c LEFT JOIN many m \
         ON m.id = c.ordinal_position WHERE c.table_name = 'few'",
        "SELECT id FROM many WHERE s NOT IN (SELECT table_name FROM information_schema.tables)",
    ] {
        session.check(sql).await;
    }
}

/// A directory with the table `few` in every format, and of `many` by day of week.
async fn formats(session: &Session) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display();
    for format in ["CSV", "JSON", "ARROW", "PARQUET"] {
        for part in 0..3 {
            let copy = format!(
                "COPY (SELECT id, k, n, s, f, day FROM few WHERE id % 3 = {part}) \
                 TO '{root}/{format}/{part}.{}' STORED AS {format}",
                format.to_lowercase()
            );
            session.reference.run(&copy).await.unwrap();
        }
    }
    streams(session, &directory.path().join("STREAM")).await;
    let copy = format!(
        "COPY (SELECT id, d, k % 7 AS w, s FROM many) TO '{root}/hive/' STORED AS PARQUET \
         PARTITIONED BY (w, s)"
    );
    session.reference.run(&copy).await.unwrap();
    directory
}

/// The same as Arrow streams, which nobody but arrow writes.
async fn streams(session: &Session, directory: &Path) {
    fs::create_dir(directory).unwrap();
    for part in 0..3 {
        let rows = format!("SELECT id, k, n, s, f, day FROM few WHERE id % 3 = {part}");
        let rows = session.reference.run(&rows).await.unwrap();
        let file = File::create(directory.join(format!("{part}.arrow"))).unwrap();
        let mut writer = StreamWriter::try_new(file, &rows.schema).unwrap();
        for batch in &rows.batches {
            writer.write(batch).unwrap();
        }
        writer.finish().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_every_format() {
    let mut session = fixture().await;
    let files = formats(&session).await;
    let root = files.path().display().to_string();
    for directory in ["CSV", "JSON", "ARROW", "PARQUET", "STREAM"] {
        let table = directory.to_lowercase();
        let format = if directory == "STREAM" {
            "ARROW"
        } else {
            directory
        };
        let create = format!(
            "CREATE EXTERNAL TABLE {table}_found STORED AS {format} LOCATION '{root}/{directory}/'"
        );
        session.change(&create).await;
        let create = format!(
            "CREATE EXTERNAL TABLE {table}_given (id BIGINT, k BIGINT, n BIGINT, s VARCHAR, f DOUBLE, day DATE) \
             STORED AS {format} LOCATION '{root}/{directory}/'"
        );
        session.change(&create).await;
        for kind in ["found", "given"] {
            let table = format!("{table}_{kind}");
            session
                .check(&format!("SELECT id, k, n, s, f, day FROM {table}"))
                .await;
            session
                .check(&format!(
                    "SELECT s, count(*), sum(n), sum(f) FROM {table} WHERE k > 10 GROUP BY s"
                ))
                .await;
            session
                .check(&format!(
                    "SELECT m.id, t.s FROM many m JOIN {table} t ON m.id = t.id ORDER BY 1"
                ))
                .await;
            session
                .check(&format!("SELECT count(*) FROM {table}"))
                .await;
            session
                .check(&format!("SELECT id FROM {table} ORDER BY id LIMIT 5"))
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitioned_tables() {
    let mut session = fixture().await;
    let files = formats(&session).await;
    let root = files.path().display().to_string();
    let create = format!(
        "CREATE EXTERNAL TABLE found STORED AS PARQUET PARTITIONED BY (w, s) LOCATION '{root}/hive/'"
    );
    session.change(&create).await;
    let create = format!(
        "CREATE EXTERNAL TABLE given (id BIGINT, d DECIMAL(24, 7), w INT, s VARCHAR) STORED AS PARQUET \
         PARTITIONED BY (w, s) LOCATION '{root}/hive/'"
    );
    session.change(&create).await;
    for preserve in ["0", "1"] {
        session
            .set("datafusion.optimizer.preserve_file_partitions", preserve)
            .await;
        check_all(
            &session,
            &[
                "SELECT id, w, s FROM found",
                "SELECT w, s, count(*), sum(id) FROM found GROUP BY w, s",
                "SELECT id FROM found WHERE w = '3' AND s = 'name 2'",
                "SELECT w, count(*), sum(d) FROM given GROUP BY w ORDER BY w",
                "SELECT s, max(id) FROM given WHERE w > 4 GROUP BY s",
                "SELECT g.id, m.k FROM given g JOIN many m ON g.id = m.id WHERE g.w = 2",
                "SELECT a.w, count(*) FROM given a JOIN given b ON a.w = b.w AND a.s = b.s GROUP BY a.w",
                "SELECT a.s, count(*) FROM found a LEFT JOIN found b ON a.w = b.w AND a.s = b.s GROUP BY a.s",
                "SELECT a.id, f.id FROM found a JOIN few f ON a.s = f.s WHERE f.id < 5",
                "SELECT s, row_number() OVER (PARTITION BY s, w ORDER BY id), id FROM given",
                "SELECT id FROM given WHERE w > 100",
            ],
        )
        .await;
    }
}

/// Text that is compressed, JSON that is one array, lines that end in something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_files_that_are_read_in_another_way() {
    let mut session = fixture().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display().to_string();
    for (format, end) in [("CSV", "csv.gz"), ("JSON", "json.gz")] {
        for part in 0..3 {
            let copy = format!(
                "COPY (SELECT id, k, s FROM few WHERE id % 3 = {part}) TO '{root}/{format}_GZIP/{part}.{end}' \
                 STORED AS {format} OPTIONS ('format.compression' 'gzip')"
            );
            session.reference.run(&copy).await.unwrap();
        }
    }
    for folder in ["JSON_ARRAY", "CSV_LINES"] {
        fs::create_dir(directory.path().join(folder)).unwrap();
    }
    for part in 0..3 {
        let ids = (part * 100)..(part * 100 + 50);
        let values = ids
            .clone()
            .map(|id| format!("{{\"id\": {id}, \"k\": {}, \"s\": \"a\\nb\"}}", id % 7));
        let values = format!("[{}]", values.collect::<Vec<_>>().join(",\n"));
        fs::write(
            directory.path().join(format!("JSON_ARRAY/{part}.json")),
            values,
        )
        .unwrap();
        let lines = ids
            .map(|id| format!("{id},{},x;", id % 7))
            .collect::<String>();
        let lines = format!("id,k,s;{lines}");
        fs::write(
            directory.path().join(format!("CSV_LINES/{part}.csv")),
            lines,
        )
        .unwrap();
    }
    for (folder, options) in [
        ("CSV_GZIP", "'format.compression' 'gzip'"),
        ("JSON_GZIP", "'format.compression' 'gzip'"),
        ("JSON_ARRAY", "'format.newline_delimited' 'false'"),
        ("CSV_LINES", "'format.terminator' ';'"),
    ] {
        let format = folder.split('_').next().unwrap();
        for (table, columns) in [
            ("found", ""),
            ("given", "(id BIGINT, k BIGINT, s VARCHAR) "),
        ] {
            // DataFusion looks for columns in what ends with a newline.
            if (folder, table) == ("CSV_LINES", "found") {
                continue;
            }
            let table = format!("{folder}_{table}");
            let create = format!(
                "CREATE EXTERNAL TABLE {table} {columns}STORED AS {format} LOCATION '{root}/{folder}/' \
                 OPTIONS ({options})"
            );
            session.change(&create).await;
            check_all(
                &session,
                &[
                    format!("SELECT id, k, s FROM {table}"),
                    format!("SELECT count(*) FROM {table}"),
                    format!("SELECT k, count(*), max(s) FROM {table} WHERE id > 10 GROUP BY k"),
                    format!("SELECT s FROM {table} ORDER BY id LIMIT 5"),
                    format!("SELECT m.id, t.s FROM many m JOIN {table} t ON m.id = t.id"),
                ],
            )
            .await;
        }
    }
}
