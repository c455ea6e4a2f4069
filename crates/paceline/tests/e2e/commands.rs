//! The commands that people type.

use std::io::Write;
use std::process::{Command, Stdio};

use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use paceline::client::Answer;
use paceline_model::{QueryId, QueryState};
use paceline_testkit::Process;

use crate::answers::agrees;
use crate::bad_input::throw_garbage;
use crate::support::{PROGRAM, Running, SLOW, midway, until};

fn paceline(arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standalone_serves_until_it_is_told_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let mut arguments: Vec<String> = ["standalone", "--announce", "--with-parent"]
        .map(String::from)
        .into();
    for port in ["http", "flight", "cluster", "metrics"] {
        arguments.extend([format!("--listen-{port}-port"), "0".to_string()]);
    }
    arguments.extend(["--state-location".to_string(), at("state")]);
    arguments.extend(["--executor-directory".to_string(), at("executor")]);
    let csv = at("t.csv");
    std::fs::write(&csv, "a\n1\n2\n").unwrap();
    let config = format!(
        "[[tables]]\nname = \"configured\"\nformat = \"csv\"\nlocation = \"{csv}\"\n\
         options = {{ \"format.has_header\" = \"true\" }}\n"
    );
    std::fs::write(at("p.toml"), config).unwrap();
    arguments.extend(["--config".to_string(), at("p.toml")]);
    let log = directory.path().join("log");
    let program = std::path::Path::new(PROGRAM);
    let mut process = Process::start("standalone", program, &arguments, &log)
        .await
        .unwrap();
    let announced = process.announced().clone();
    let mut flight = paceline::client::Flight::connect(&announced.flight)
        .await
        .unwrap();
    // The one of the configuration was made before there was an executor.
    let configured = flight.run("select a from configured").await.unwrap();
    assert_eq!(configured.rows(), 2);
    let create = format!(
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{csv}' OPTIONS ('format.has_header' 'true')"
    );
    flight.run(&create).await.unwrap();
    let ports = [
        &announced.http,
        &announced.flight,
        &announced.cluster,
        &announced.metrics,
    ];
    throw_garbage(&ports.map(String::clone)).await;
    assert!(process.is_running().unwrap());
    let said = std::fs::read_to_string(process.log()).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(flight.run("select sum(a) from t").await.unwrap().rows(), 1);
    let queries = Running::metric(&announced.metrics, "paceline_queries_total").await;
    assert!(queries >= 1.0, "{queries}");
    let slots = Running::metric(&announced.metrics, "paceline_executor_slots").await;
    assert!(slots >= 1.0, "{slots}");
    drop(flight);
    stops(&mut process).await;

    // Started again, it still has what it was told, and what the file says once more.
    let again = Process::start("standalone", program, &arguments, &log).await;
    let mut process = again.unwrap();
    let mut flight = paceline::client::Flight::connect(&process.announced().flight)
        .await
        .unwrap();
    for table in ["t", "configured"] {
        let rows = flight.run(&format!("select a from {table}")).await;
        assert_eq!(rows.unwrap().rows(), 2, "{table}");
    }
    let again = flight.run(&create).await.unwrap_err().to_string();
    assert!(again.contains("exists"), "{again}");
    drop(flight);
    stops(&mut process).await;
}

async fn stops(process: &mut Process) {
    let stopped = process.stop(std::time::Duration::from_secs(30)).await;
    let status = stopped.unwrap();
    assert!(status.success(), "{status}: {}", process.log_tail(20));
}

/// The two executables of a cluster, as a machine's service manager starts them: they listen everywhere, and
/// are reached by the machine's name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_made_of_its_two_executables() {
    const HOST: &str = "localhost";
    /// Too many to come with the report of a task's end.
    const ROWS: usize = 1_000_000;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let start = async |program: &str, more: &[String]| {
        let mut arguments: Vec<String> = ["--announce", "--with-parent"].map(String::from).into();
        for port in ["http", "cluster", "metrics"] {
            arguments.extend([format!("--listen-{port}-port"), "0".to_string()]);
        }
        let everywhere = ["--listen-host", "0.0.0.0", "--listen-advertise-host", HOST];
        arguments.extend(everywhere.map(String::from));
        arguments.extend_from_slice(more);
        let (path, log) = (std::path::Path::new(program), at("log"));
        let started = Process::start("one", path, &arguments, std::path::Path::new(&log));
        let started = started.await.unwrap();
        let all = started.announced().clone();
        for address in [all.http, all.flight, all.cluster, all.metrics] {
            let named = address.is_empty() || address.starts_with(&format!("{HOST}:"));
            assert!(named, "{program}: {address}");
        }
        started
    };
    let own = [
        "--listen-flight-port",
        "0",
        "--state-location",
        &at("state"),
        // The executor that is stopped keeps no result to be read again.
        "--scheduler-result-ttl",
        "100ms",
    ]
    .map(String::from);
    let scheduler = start(env!("CARGO_BIN_EXE_paceline-scheduler"), &own).await;
    let own = [
        "--executor-schedulers",
        &scheduler.announced().cluster,
        "--executor-directory",
        &at("executor"),
    ];
    let executor = start(
        env!("CARGO_BIN_EXE_paceline-executor"),
        &own.map(String::from),
    )
    .await;
    let mut flight = paceline::client::Flight::connect(&scheduler.announced().flight)
        .await
        .unwrap();
    let csv = at("t.csv");
    let numbers: String = (0..ROWS).map(|number| format!("{number}\n")).collect();
    std::fs::write(&csv, numbers).unwrap();
    let create = format!(
        "CREATE EXTERNAL TABLE t (a BIGINT) STORED AS CSV LOCATION '{csv}' \
         OPTIONS ('format.has_header' 'false')"
    );
    flight.run(&create).await.unwrap();
    assert_eq!(flight.run("select a from t").await.unwrap().rows(), ROWS);
    let counted = async |process: &Process, name: &str| {
        let metrics = &process.announced().metrics;
        Running::metric(metrics, name).await
    };
    let tasks = counted(&executor, "paceline_executor_tasks_total").await;
    assert!(tasks >= 1.0, "the executor did nothing");
    let fetched = counted(&scheduler, "paceline_exchange_received_bytes_total").await;
    assert!(fetched > 0.0, "the result came with the task's end");
    drop(flight);
    for mut process in [executor, scheduler] {
        stops(&mut process).await;
    }
    for program in [
        env!("CARGO_BIN_EXE_paceline-scheduler"),
        env!("CARGO_BIN_EXE_paceline-executor"),
    ] {
        let refused = Command::new(program)
            .arg("--no-such-flag")
            .output()
            .unwrap();
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("--no-such-flag"), "{said}");
    }
}

/// Closing the standard input is the death of the parent, as a child sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_end_with_their_parent() {
    let mut child = Command::new(PROGRAM)
        .args([
            "executor",
            "--with-parent",
            "--announce",
            "--listen-http-port",
            "0",
        ])
        .args(["--listen-cluster-port", "0", "--listen-metrics-port", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert!(line.contains("cluster"), "{line}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
