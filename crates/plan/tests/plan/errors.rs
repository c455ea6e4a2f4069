//! What goes wrong while a query runs: whose fault it is, and which file's.

use std::fs;
use std::path::Path;

use paceline_model::{ByteSize, ErrorClass, QueryError};
use paceline_plan::{Engine, EngineOptions, Planned, Planner, PlannerOptions};

use crate::support::{Session, fixture};

async fn fails(session: &Session, sql: &str) -> QueryError {
    let query = match session.plan(sql).await {
        Ok(Planned::Query(query)) => query,
        Err(error) => return error,
        other => panic!("{other:?}"),
    };
    match session.run(&query, 3).await {
        Err(error) => error,
        Ok(ran) => {
            let rows = ran.rows(query.graph.len() - 1);
            QueryError::new(
                ErrorClass::Bug,
                format!("no error but {rows} rows of {sql}"),
            )
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_out_of_range_are_the_users() {
    let session = fixture().await;
    let mut wrong = Vec::new();
    for (sql, word) in [
        ("SELECT 1 / (id - id) FROM many", "ivide by zero"),
        ("SELECT d / (id - id) FROM many", "ivide by zero"),
        ("SELECT id % (k - k) FROM many", "zero"),
        ("SELECT CAST(id * 1000000 AS INT) FROM many", "Int32"),
        ("SELECT CAST(s AS INT) FROM many", "name"),
        ("SELECT CAST(id AS DECIMAL(3, 0)) FROM many", "recision"),
        (
            "SELECT k, count(*) FROM many WHERE 10 / (id - 7) > 1 GROUP BY k ORDER BY k",
            "ivide by zero",
        ),
        (
            "SELECT a.id FROM many a JOIN few b ON a.k = b.k AND 7 / (a.id - a.id) = 1",
            "ivide by zero",
        ),
        (
            "SELECT id, 9223372036854775807 + CAST(id AS BIGINT UNSIGNED) FROM many WHERE id < 0 OR abs(-9223372036854775808 + (id - id)) > 0",
            "verflow",
        ),
    ] {
        let error = fails(&session, sql).await;
        let said = error.message.contains(word) && !error.message.contains("backtrace");
        if error.class != ErrorClass::User || !said {
            wrong.push(format!("{sql}: {}: {error}", error.class));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What no message would carry is refused before anybody runs it, cut into stages or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_is_too_large_to_be_sent_is_the_users() {
    let session = fixture().await;
    let options = |largest_stage| PlannerOptions {
        small_plan: ByteSize(0),
        largest_stage,
    };
    let list = (0..50_000).map(|n| n.to_string()).collect::<Vec<_>>();
    let sql = format!("SELECT k FROM many WHERE id IN ({})", list.join(", "));
    for slots in [vec![2_u32, 2, 2], vec![2]] {
        let plan = async |largest| {
            let planner = Planner::new(session.engine.clone(), options(largest));
            let (settings, catalog) = (&session.settings, &session.catalog);
            planner.plan(&sql, vec![], settings, catalog, &slots).await
        };
        let error = plan(ByteSize(100 << 10)).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::User, "{error}");
        let told = error.message.split("takes ").nth(1).unwrap();
        let size: f64 = told.split(' ').next().unwrap().parse().unwrap();
        assert!(size > 0.2, "{error}");
        assert!(error.message.contains("0.1 MiB are sent"), "{error}");
        assert!(error.message.contains("into a table"), "{error}");
        // Just as large as it may be, that is some bytes beside the rounding.
        let enough = ByteSize(((size + 0.1) * f64::from(1 << 20)) as u64);
        plan(enough).await.unwrap();
    }
}

/// Three files of which the second is spoilt, below a table of their own.
async fn spoilt(session: &mut Session, root: &Path, spoil: impl FnOnce(&Path)) {
    for part in 0..3 {
        let copy = format!(
            "COPY (SELECT value AS id, value * 7 % 1000 AS k, 'some text ' || (value * 31 % 1009) AS s \
             FROM generate_series({}, {})) TO '{}/t/{part}.parquet' STORED AS PARQUET \
             OPTIONS ('format.max_row_group_size' 2000)",
            part * 10_000,
            part * 10_000 + 9_999,
            root.display()
        );
        session.reference.run(&copy).await.unwrap();
    }
    // The table is created while all is well: files may go bad later.
    let create = format!(
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{}/t/'",
        root.display()
    );
    session.change_here(&create).await;
    spoil(&root.join("t/1.parquet"));
}

fn overwrite(path: &Path, from: usize, bytes: usize) {
    let mut content = fs::read(path).unwrap();
    let end = content.len().min(from + bytes);
    for byte in &mut content[from..end] {
        *byte = !*byte;
    }
    fs::write(path, content).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrupt_parquet_files_are_named() {
    let length = |path: &Path| fs::metadata(path).unwrap().len() as usize;
    type Spoil<'a> = Box<dyn FnOnce(&Path) + 'a>;
    let cases: Vec<(&str, Spoil<'_>)> = vec![
        ("pages", Box::new(|path: &Path| overwrite(path, 4, 40_000))),
        (
            "the footer",
            Box::new(|path: &Path| overwrite(path, length(path) - 200, 190)),
        ),
        (
            "the magic number",
            Box::new(|path: &Path| overwrite(path, length(path) - 4, 4)),
        ),
        (
            "the length of the footer",
            Box::new(|path: &Path| overwrite(path, length(path) - 8, 4)),
        ),
        (
            "the end",
            Box::new(|path: &Path| {
                let content = fs::read(path).unwrap();
                fs::write(path, &content[..content.len() / 2]).unwrap();
            }),
        ),
        (
            "everything",
            Box::new(|path: &Path| fs::write(path, b"PAR1 and no more").unwrap()),
        ),
    ];
    let mut wrong = Vec::new();
    for (what, spoil) in cases {
        let directory = tempfile::tempdir().unwrap();
        let mut session = Session::new().await;
        spoilt(&mut session, directory.path(), spoil).await;
        let error = fails(&session, "SELECT k, count(*), max(s) FROM t GROUP BY k").await;
        let message = &error.message;
        let names = message.contains("t/1.parquet") && !message.contains("t/0.parquet");
        if error.class != ErrorClass::User || !names {
            wrong.push(format!("{what}: {}: {error}", error.class));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Damage that comes after planning is met by a task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_go_bad_under_a_running_query_are_named() {
    for end in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut session = Session::new().await;
        spoilt(&mut session, directory.path(), |_| ()).await;
        let query = session
            .staged("SELECT k, count(*), max(s) FROM t GROUP BY k")
            .await;
        // The executor is another process: it has not seen the file yet.
        session.engine = Engine::new(EngineOptions::default()).unwrap();
        let path = directory.path().join("t/1.parquet");
        if end {
            overwrite(
                &path,
                fs::metadata(&path).unwrap().len() as usize - 300,
                300,
            );
        } else {
            overwrite(&path, 4, 40_000);
        }
        let Err(error) = session.run(&query, 3).await else {
            panic!("a corrupt file was read");
        };
        assert_eq!(error.class, ErrorClass::User, "{error}");
        assert!(error.message.contains("t/1.parquet"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_text_files_are_named() {
    for (format, content) in [
        ("csv", "id,k\n1,2\n3,x\n"),
        ("csv", "id,k\n1,2\n3\n"),
        ("json", "{\"id\": 1, \"k\": 2}\n{\"id\": 3, \"k\": \n"),
        ("arrow", "not arrow at all"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        fs::create_dir(directory.path().join("t")).unwrap();
        fs::write(directory.path().join(format!("t/bad.{format}")), content).unwrap();
        let mut session = Session::new().await;
        let create = format!(
            "CREATE EXTERNAL TABLE t (id BIGINT, k BIGINT) STORED AS {format} LOCATION '{root}/t/'"
        );
        session.change_here(&create).await;
        let error = fails(&session, "SELECT sum(id), sum(k) FROM t").await;
        assert_eq!(error.class, ErrorClass::User, "{content}: {error}");
        assert!(error.message.contains("bad."), "{content}: {error}");
    }
}

/// Memory that runs out is nobody's fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exhausted_memory_is_a_resource() {
    let mut session = fixture().await;
    let options = EngineOptions {
        memory_limit: Some(ByteSize(64 << 10)),
        spill_limit: Some(ByteSize(1)),
        ..Default::default()
    };
    let query = session
        .staged("SELECT a.s, b.s, array_agg(a.id) FROM many a JOIN many b ON a.k = b.k GROUP BY a.s, b.s")
        .await;
    session.engine = Engine::new(options).unwrap();
    let Err(error) = session.run(&query, 1).await else {
        panic!("64 KiB were enough");
    };
    assert_eq!(error.class, ErrorClass::Resource, "{error}");
}
