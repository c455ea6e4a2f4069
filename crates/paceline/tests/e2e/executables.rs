//! Servers as people start them: each executable by itself, and children of another process.

use std::process::{Command, Stdio};

use paceline_testkit::Process;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::bad_input::throw_garbage;
use crate::support::{PROGRAM, Running, text_of};

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

/// Whatever was begun on the port that says how it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_is_told_to_stop_waits_for_no_half_request() {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("executor").display().to_string();
    let mut arguments: Vec<String> = ["executor", "--announce", "--with-parent"]
        .map(String::from)
        .into();
    for port in ["http", "cluster", "metrics"] {
        arguments.extend([format!("--listen-{port}-port"), "0".to_string()]);
    }
    arguments.extend(["--executor-directory".to_string(), own]);
    let log = directory.path().join("log");
    let program = std::path::Path::new(PROGRAM);
    let started = Process::start("executor", program, &arguments, &log).await;
    let mut process = started.unwrap();
    let http = process.announced().http.clone();
    let mut half = TcpStream::connect(&http).await.unwrap();
    let begun = b"GET /health HTTP/1.1\r\nHost:";
    half.write_all(begun).await.unwrap();
    // By the time that another one is answered it has read that.
    assert_eq!(text_of(&format!("http://{http}/health")).await, "alive\n");
    let stopped = process.stop(std::time::Duration::from_secs(10)).await;
    let status = stopped.unwrap();
    assert!(status.success(), "{status}: {}", process.log_tail(20));
    drop(half);
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
