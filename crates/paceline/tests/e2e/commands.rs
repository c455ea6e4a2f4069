//! The commands that people type.

use std::io::Write;
use std::process::{Command, Stdio};

use paceline_testkit::Process;

use crate::bad_input::throw_garbage;
use crate::support::{PROGRAM, Running};

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
    let status = process
        .stop(std::time::Duration::from_secs(30))
        .await
        .unwrap();
    assert!(status.success(), "{status}: {}", process.log_tail(20));
}

/// The two executables of a cluster, as a machine's service manager starts them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_made_of_its_two_executables() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let start = async |program: &str, more: &[String]| {
        let mut arguments: Vec<String> = ["--announce", "--with-parent"].map(String::from).into();
        for port in ["http", "cluster", "metrics"] {
            arguments.extend([format!("--listen-{port}-port"), "0".to_string()]);
        }
        arguments.extend_from_slice(more);
        let (path, log) = (std::path::Path::new(program), at("log"));
        let started = Process::start("one", path, &arguments, std::path::Path::new(&log));
        started.await.unwrap()
    };
    let own = [
        "--listen-flight-port",
        "0",
        "--state-location",
        &at("state"),
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
    std::fs::write(&csv, "1\n2\n").unwrap();
    let create = format!(
        "CREATE EXTERNAL TABLE t (a INT) STORED AS CSV LOCATION '{csv}' \
         OPTIONS ('format.has_header' 'false')"
    );
    flight.run(&create).await.unwrap();
    assert_eq!(flight.run("select a from t").await.unwrap().rows(), 2);
    let tasks = Running::metric(
        &executor.announced().metrics,
        "paceline_executor_tasks_total",
    );
    assert!(tasks.await >= 1.0, "the executor did nothing");
    drop(flight);
    for mut process in [executor, scheduler] {
        let stopped = process.stop(std::time::Duration::from_secs(30)).await;
        let status = stopped.unwrap();
        assert!(status.success(), "{status}: {}", process.log_tail(20));
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
