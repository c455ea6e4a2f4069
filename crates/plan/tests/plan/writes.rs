//! Writes, on three executors in this process.

use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use datafusion::common::ScalarValue;
use paceline_model::{ByteSize, ErrorClass, QueryError};
use paceline_plan::{
    Catalog, Change, Definitions, ManagedDefinition, ManagedFile, Planned, QueryPlan, WriteInto,
    manifest_schema,
};
use url::Url;

use crate::support::{SLOTS, Session, fixture};

/// A session that stores tables in a directory.
struct Writer {
    session: Session,
    data: tempfile::TempDir,
    definitions: Definitions,
}

impl Writer {
    async fn new() -> Self {
        Writer {
            session: fixture().await,
            data: tempfile::tempdir().unwrap(),
            definitions: Definitions::default(),
        }
    }

    async fn plan(&self, sql: &str) -> Result<Planned, QueryError> {
        self.plan_with(sql, vec![]).await
    }

    async fn plan_with(
        &self,
        sql: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<Planned, QueryError> {
        let data = Url::from_directory_path(self.data.path()).unwrap();
        let planner = self.session.planner(ByteSize(0)).storing_at(Some(data));
        let (settings, catalog) = (&self.session.settings, &self.session.catalog);
        planner
            .plan(sql, parameters, settings, catalog, &SLOTS)
            .await
    }

    async fn write(&self, sql: &str) -> (QueryPlan, WriteInto) {
        match self.plan(sql).await {
            Ok(Planned::Write { plan, into }) => (plan, into),
            other => panic!("{sql}\nwrites nothing: {other:?}"),
        }
    }

    /// Runs a plan and reads its list of files.
    async fn run(&self, plan: &QueryPlan, tasks: u32) -> Vec<ManagedFile> {
        let ran = self.session.run(plan, tasks).await.unwrap();
        ran.batches.iter().flat_map(listed).collect()
    }

    /// Makes a new table known, beside those of the fixture.
    async fn define(&mut self, table: ManagedDefinition) {
        self.definitions.managed.push(table);
        self.session.define(&self.definitions.managed).await;
    }

    async fn refused(&self, sql: &str, class: ErrorClass, word: &str) {
        let error = self.plan(sql).await.unwrap_err();
        assert_eq!(error.class, class, "{sql}: {error}");
        assert!(error.message.contains(word), "{sql}: {error}");
    }
}

fn listed(batch: &RecordBatch) -> Vec<ManagedFile> {
    assert_eq!(batch.schema(), manifest_schema());
    let paths = batch.column(0).as_string::<i32>();
    let number = |column: usize| batch.column(column).as_primitive::<UInt64Type>();
    let file = |at: usize| ManagedFile {
        path: paths.value(at).to_string(),
        rows: number(1).value(at),
        bytes: number(2).value(at),
    };
    (0..batch.num_rows()).map(file).collect()
}

fn directory(location: &str) -> std::path::PathBuf {
    Url::parse(location).unwrap().to_file_path().unwrap()
}

fn length(root: &Path, file: &ManagedFile) -> u64 {
    std::fs::metadata(root.join(&file.path)).unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tasks_write_is_what_the_query_answers() {
    let mut writer = Writer::new().await;
    let query = "SELECT k, count(*) AS n, max(s) AS s FROM few GROUP BY k";
    let (plan, into) = writer.write(&format!("CREATE TABLE made AS {query}")).await;
    assert!(plan.graph.len() > 1, "it is cut");
    assert!(
        plan.graph
            .root()
            .text
            .contains("WriteFilesExec: format=parquet")
    );
    let WriteInto::Create { mut table, .. } = into else {
        panic!("{into:?}");
    };
    // Two attempts at all of it stand side by side; one is chosen.
    let aside = writer.run(&plan, 1).await;
    let files = writer.run(&plan, 3).await;
    let root = directory(&table.location);
    for file in aside.iter().chain(&files) {
        assert_eq!(length(&root, file), file.bytes);
    }
    assert!(files.len() > 1, "{files:?}");
    table.files = files;
    writer.define(table.clone()).await;
    let create = format!("CREATE TABLE made AS {query}");
    writer.session.reference.run(&create).await.unwrap();
    writer
        .session
        .check("SELECT * FROM made WHERE k > 1 ORDER BY k")
        .await;
    writer
        .session
        .check("SELECT count(*) AS n, sum(n) AS m FROM made")
        .await;

    // More rows of it, with the columns in another order.
    let insert = "INSERT INTO made (s, n, k) SELECT s, 1, id FROM few WHERE id % 2 = 0";
    let (plan, into) = writer.write(insert).await;
    let WriteInto::Append { table: id, .. } = into else {
        panic!("{into:?}");
    };
    assert_eq!(id, table.id);
    let more = writer.run(&plan, 3).await;
    writer.definitions.managed.clear();
    table.files.extend(more);
    writer.define(table).await;
    writer.session.reference.run(insert).await.unwrap();
    writer
        .session
        .check("SELECT k, n, s FROM made ORDER BY k, n, s")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_become_what_the_columns_are_that_they_are_inserted_into() {
    let mut writer = Writer::new().await;
    let create = "CREATE TABLE bound (a BIGINT NOT NULL, b VARCHAR, c DECIMAL(10,2), d TIMESTAMP, \
                  e BOOLEAN)";
    let Ok(Planned::Change(Change::CreateManaged { mut table, .. })) = writer.plan(create).await
    else {
        panic!("{create} creates nothing");
    };
    writer.define(table.clone()).await;
    writer.session.reference.run(create).await.unwrap();
    let number = |n| ScalarValue::Int64(Some(n));
    let at = || ScalarValue::from("2020-01-01T00:00:00");
    // However many tasks each is allowed, that numbers its attempt, so that none writes another's files.
    for (tasks, (sql, parameters, literally)) in (1..).zip([
        (
            "INSERT INTO bound (a, b) VALUES ($1, $2)",
            vec![number(1), ScalarValue::from("x")],
            "INSERT INTO bound (a, b) VALUES (1, 'x')",
        ),
        (
            "INSERT INTO bound (a, b) VALUES (?, ?), (3, 'z')",
            vec![number(2), ScalarValue::Null],
            "INSERT INTO bound (a, b) VALUES (2, NULL), (3, 'z')",
        ),
        (
            "INSERT INTO bound (c, a) VALUES ($1, $2)",
            vec![ScalarValue::Float64(Some(2.5)), number(4)],
            "INSERT INTO bound (c, a) VALUES (2.5, 4)",
        ),
        (
            "INSERT INTO bound VALUES ($1, $2, NULL, $3, $4)",
            vec![
                number(5),
                ScalarValue::from("y"),
                at(),
                ScalarValue::Boolean(Some(true)),
            ],
            "INSERT INTO bound VALUES (5, 'y', NULL, '2020-01-01T00:00:00', true)",
        ),
        (
            "INSERT INTO bound (a, b) SELECT $1, $2",
            vec![number(6), ScalarValue::from("w")],
            "INSERT INTO bound (a, b) SELECT 6, 'w'",
        ),
    ]) {
        let planned = writer.plan_with(sql, parameters).await;
        let Ok(Planned::Write { plan, .. }) = planned else {
            panic!("{sql}\nwrites nothing: {planned:?}");
        };
        table.files.extend(writer.run(&plan, tasks).await);
        writer.session.reference.run(literally).await.unwrap();
    }
    writer.definitions.managed.clear();
    writer.define(table).await;
    writer.session.check("SELECT * FROM bound ORDER BY a").await;
    // What cannot be one is refused before anything is written.
    let sql = "INSERT INTO bound (a) VALUES ($1)";
    let refused = writer.plan_with(sql, vec![ScalarValue::from("many")]).await;
    let error = refused.unwrap_err();
    assert_eq!(error.class, ErrorClass::User, "{error}");
    assert!(error.message.contains("many"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_of_a_copy_replaces_its_files_however_it_is_divided() {
    let writer = Writer::new().await;
    let out = writer.data.path().join("out");
    let copy = format!(
        "COPY (SELECT k, s FROM few) TO '{}/' STORED AS CSV",
        out.display()
    );
    let (plan, _) = writer.write(&copy).await;
    let names = |files: &[ManagedFile]| {
        let mut names: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        names.sort();
        names
    };
    let first = names(&writer.run(&plan, 3).await);
    assert!(first.len() > 1, "{first:?}");
    for tasks in [1, 2, 5] {
        assert_eq!(names(&writer.run(&plan, tasks).await), first);
    }
    let mut there: Vec<String> = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, first);
    // One name is one file, whatever number of partitions there was.
    let one = out.join("one.parquet");
    let copy = format!(
        "COPY (SELECT k FROM few) TO '{}' STORED AS PARQUET",
        one.display()
    );
    let (plan, into) = writer.write(&copy).await;
    assert_eq!(writer.run(&plan, 3).await.len(), 1);
    let location = Url::from_file_path(&one).unwrap().to_string();
    assert_eq!(into, WriteInto::Files { location });
    assert!(one.is_file());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_shows_the_stage_that_writes() {
    let writer = Writer::new().await;
    for sql in [
        "EXPLAIN CREATE TABLE t AS SELECT k, count(*) AS n FROM few GROUP BY k",
        "EXPLAIN COPY (SELECT k FROM few) TO 'file:///nowhere/x/' STORED AS PARQUET",
    ] {
        let Ok(Planned::Rows { batches, .. }) = writer.plan(sql).await else {
            panic!("{sql} explains nothing");
        };
        let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap();
        assert!(text.to_string().contains("WriteFilesExec"), "{text}");
    }
    assert_eq!(std::fs::read_dir(writer.data.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_cannot_be_are_refused_by_name() {
    let mut writer = Writer::new().await;
    let create = "CREATE TABLE made (a BIGINT NOT NULL, b VARCHAR)";
    let Ok(Planned::Change(Change::CreateManaged { table, .. })) = writer.plan(create).await else {
        panic!("{create} creates nothing");
    };
    assert!(!table.columns.field(0).is_nullable());
    writer.define(table).await;
    use ErrorClass::{Unsupported, User};
    for (sql, class, word) in [
        ("INSERT INTO nowhere SELECT 1", User, "nowhere"),
        ("INSERT INTO made SELECT 1", User, "Column count"),
        ("INSERT INTO made (c) SELECT 1", User, "named c"),
        (
            "INSERT INTO made SELECT id, k FROM missing",
            User,
            "missing",
        ),
        (
            "INSERT OVERWRITE made SELECT 1, 'x'",
            Unsupported,
            "INSERT OVERWRITE",
        ),
        ("UPDATE made SET a = 1", Unsupported, "UPDATE"),
        ("DELETE FROM made", Unsupported, "DELETE"),
        ("CREATE TABLE made AS SELECT 1 AS a", User, "already exists"),
        ("CREATE TABLE s.t AS SELECT 1 AS a", User, "schema 's'"),
        (
            "CREATE TABLE t AS SELECT x.id, y.id FROM few x, few y",
            User,
            "'id'",
        ),
        (
            "CREATE TABLE t (a INT PRIMARY KEY)",
            Unsupported,
            "PRIMARY KEY",
        ),
        ("CREATE TABLE t (a INT DEFAULT 3)", Unsupported, "DEFAULT"),
        ("COPY made TO 'here/' STORED AS CSV", User, "relative"),
        (
            "COPY made TO 's3://b/x/' STORED AS PARQUET OPTIONS ('aws.secret_access_key' 'x')",
            User,
            "secret",
        ),
        (
            "COPY made TO '/x/' STORED AS PARQUET OPTIONS ('format.speed' 'high')",
            User,
            "speed",
        ),
        (
            "COPY made TO '/x/' STORED AS CSV OPTIONS ('format.compression' 'gzip')",
            Unsupported,
            "compression",
        ),
        (
            "COPY made TO '/x/' STORED AS PARQUET PARTITIONED BY (b)",
            Unsupported,
            "PARTITIONED BY",
        ),
        (
            "EXPLAIN ANALYZE INSERT INTO made SELECT 1, 'x'",
            Unsupported,
            "EXPLAIN",
        ),
    ] {
        writer.refused(sql, class, word).await;
    }
    let sql = "CREATE TABLE IF NOT EXISTS made AS SELECT 1 AS a";
    let Ok(Planned::Rows { batches, .. }) = writer.plan(sql).await else {
        panic!("{sql} is no error, and writes nothing");
    };
    assert_eq!(
        batches[0].column(0).as_primitive::<UInt64Type>().values(),
        &[0]
    );
    let nowhere = writer.session.plan("CREATE TABLE t AS SELECT 1 AS a").await;
    let said = nowhere.unwrap_err().message;
    assert!(said.contains("data_location"), "{said}");
    let empty = Catalog::empty(&writer.session.engine).await.unwrap();
    assert_eq!(empty.version().0, 0);
}
