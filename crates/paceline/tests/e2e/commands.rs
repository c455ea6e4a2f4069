//! The commands that people type.

use std::io::Write;
use std::process::{Command, Stdio};

use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use paceline::client::Answer;
use paceline_model::{QueryId, QueryState};

use crate::answers::agrees;
use crate::support::{NOBODY, PROGRAM, Running, SLOW, midway, until};

fn paceline(arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        // A command asks who is named to it.
        .env("http_proxy", NOBODY)
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_status_queries_and_cancel() {
    let running = Running::with_tpch().await;
    let announced = running.cluster.schedulers()[0].announced().clone();
    tokio::task::spawn_blocking(move || {
        let sql = |more: &[&str], input: &str| {
            let arguments = [&["sql", "--flight", &announced.flight][..], more].concat();
            paceline(&arguments, input)
        };
        let of = "select n_nationkey as k from nation where n_nationkey < 2 order by 1";
        let (ok, text) = sql(&["-c", of], "");
        assert!(
            ok && text.contains("| 1 |") && text.contains("2 rows"),
            "{text}"
        );
        assert_eq!(
            sql(&["--format", "csv"], of),
            (true, "k\n0\n1\n".to_string())
        );
        assert_eq!(
            sql(&["--format", "json", "-c", of], "").1,
            "[{\"k\":0},{\"k\":1}]\n"
        );
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("two.sql");
        std::fs::write(&file, format!("{of};\nselect 7 as seven;\n-- the end\n")).unwrap();
        let file = file.display().to_string();
        assert_eq!(
            sql(&["--format", "csv", &file], ""),
            (true, "k\n0\n1\nseven\n7\n".to_string())
        );
        let (ok, text) = sql(&["/no/such.sql"], "");
        assert!(!ok && text.contains("/no/such.sql"), "{text}");
        let (ok, text) = sql(&[], "select 1; selec 2; select 3");
        assert!(
            !ok && text.contains("selec") && !text.contains("| 3"),
            "{text}"
        );

        let http = ["--http", announced.http.as_str()];
        let (ok, text) = paceline(&[&["status"][..], &http].concat(), "");
        assert!(ok && text.matches("executor-").count() == 3, "{text}");
        let (ok, text) = paceline(&[&["queries"][..], &http].concat(), "");
        assert!(
            ok && text.contains("finished") && text.contains("n_nationkey"),
            "{text}"
        );
        let (ok, text) = paceline(&[&["queries", "--state", "queued"][..], &http].concat(), "");
        assert!(ok && !text.contains("n_nationkey"), "{text}");
        let (ok, text) = paceline(&[&["queries", "--state", "lost"][..], &http].concat(), "");
        assert!(!ok && text.contains("'lost'"), "{text}");
        let unknown = "01890000-0000-7000-8000-000000000000";
        let (ok, text) = paceline(&[&["cancel", unknown][..], &http].concat(), "");
        assert!(!ok && text.contains(unknown), "{text}");
    })
    .await
    .unwrap();
    let (ok, text) = paceline(&["sql", "--flight", "127.0.0.1:1", "-c", "select 1"], "");
    assert!(!ok && text.contains("cannot reach 127.0.0.1:1"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handed_in_is_fetched_or_cancelled() {
    let running = Running::with_tpch().await;
    let http = running.http(1);
    let address = running.cluster.schedulers()[1].announced().http.clone();
    let typed = |command: &[&str]| paceline(&[command, &["--http", &address]].concat(), "");
    let submitted = |more: &[&str]| {
        let (ok, text) = typed(&[&["submit"][..], more].concat());
        assert!(ok, "{text}");
        text.trim().to_string()
    };

    let of = "select o_orderkey as k, o_custkey as c from orders where o_orderkey < 1000";
    let limits = ["--timeout", "30m", "--result-ttl", "24h"];
    let id = submitted(&[&["-c", of][..], &limits].concat());
    let query: QueryId = id.parse().unwrap();
    until("it has ended", || async {
        let report = http.query(query).await.unwrap();
        assert!(report.submitted && report.error.is_none(), "{report:?}");
        report.state.is_final().then_some(())
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("orders.parquet");
    let path = output.display().to_string();
    let fetch = ["results", &id, "--format", "parquet", "--output", &path];
    assert_eq!(typed(&fetch), (true, String::new()));
    agrees(of, &written(&output)).await.unwrap();
    let (ok, text) = typed(&["results", &id]);
    assert!(ok && text.starts_with("k,c\n"), "{text}");
    // It came to its end before it was told to stop.
    assert_eq!(typed(&["cancel", &id]), (true, format!("finished {id}\n")));

    let id = submitted(&["-c", SLOW]);
    let query: QueryId = id.parse().unwrap();
    until("it runs", || async {
        let report = http.query(query).await.unwrap();
        assert!(!report.state.is_final(), "it ended too soon: {report:?}");
        midway(&report).then_some(())
    })
    .await;
    let (ok, text) = typed(&["cancel", &id]);
    assert!(ok && text == format!("cancelled {id}\n"), "{text}");
    let ended = until("it has ended", || async {
        let report = http.query(query).await.unwrap();
        report.state.is_final().then_some(report.state)
    });
    assert_eq!(ended.await, QueryState::Cancelled);
    let (ok, text) = typed(&["queries", "--state", "cancelled"]);
    assert!(ok && text.contains(&id), "{text}");
    let missing = directory.path().join("nothing.csv").display().to_string();
    let (ok, text) = typed(&["results", &id, "--output", &missing]);
    assert!(!ok && text.contains("cancel"), "{text}");
    assert!(!std::path::Path::new(&missing).exists());
}

/// The rows of a Parquet file.
fn written(path: &std::path::Path) -> Answer {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    Answer {
        schema: reader.schema().clone(),
        batches: reader.build().unwrap().map(Result::unwrap).collect(),
    }
}

#[test]
fn the_configuration_is_printed_by_role() {
    let (ok, text) = paceline(
        &["config", "--role", "executor", "--executor-slots", "5"],
        "",
    );
    assert!(
        ok && text.contains("slots = 5") && !text.contains("[scheduler]"),
        "{text}"
    );
}

/// As with `paceline config | head`, once `head` has seen enough.
#[test]
fn a_reader_that_goes_away_is_a_failure_and_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(PROGRAM);
    let ended = command.arg("config").stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("the standard output"), "{said}");
}
