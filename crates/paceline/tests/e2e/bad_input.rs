//! Whatever comes in, an error goes out and the process stays.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use paceline_model::QueryState;
use paceline_testkit::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PROGRAM, Running, attempts};
use crate::{lying_store, support};

fn paceline(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .env("PACELINE_STATE_LOCATION", "memory:///")
        // None of them comes so far, or each has ports of its own.
        .env("PACELINE_LISTEN_METRICS_PORT", "0")
        .env("PACELINE_LISTEN_HTTP_PORT", "0")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs it, and expects it to refuse with all these words and without a panic.
#[track_caller]
pub(crate) fn refuses(arguments: &[&str], words: &[&str]) {
    let output = paceline(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{arguments:?} was accepted");
    assert!(!errors.contains("panicked"), "{errors}");
    for word in words {
        assert!(
            errors.contains(word),
            "{arguments:?}: '{word}' is not in: {errors}"
        );
    }
}

#[test]
fn wrong_flags_and_keys_are_named() {
    refuses(
        &["scheduler", "--listen-htp-port", "1"],
        &["--listen-htp-port", "--listen-http-port"],
    );
    refuses(
        &["executor", "--executor-slots", "many"],
        &["--executor-slots", "many"],
    );
    refuses(
        &["scheduler", "--listen-host", "here"],
        &["--listen-host", "IP address"],
    );
    refuses(&["nonsense"], &["nonsense"]);
    refuses(
        &["executor", "--executor-schedulers", "http://x"],
        &["http://x", "host:port"],
    );
    refuses(&["scheduler", "--log-level", "loud=very"], &["loud=very"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    std::fs::write(&file, "[scheduler]\nsmall_plan = \"1MiB\"\n").unwrap();
    let file = file.display().to_string();
    for role in ["scheduler", "executor", "standalone"] {
        refuses(
            &[role, "--config", &file],
            &["scheduler.small_plan", &file, "small_plan_bytes"],
        );
    }
}

#[test]
fn taken_ports_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let free = ["http", "flight", "cluster", "metrics"];
    for (role, ports) in [
        ("scheduler", &free[..]),
        ("executor", &["http", "cluster", "metrics"][..]),
        ("standalone", &free[..]),
    ] {
        for which in ports {
            let mut arguments = vec![role.to_string()];
            for other in ports {
                let port = if other == which { port.as_str() } else { "0" };
                arguments.extend([format!("--listen-{other}-port"), port.to_string()]);
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            refuses(&arguments, &[&format!("127.0.0.1:{port}")]);
        }
    }
}

pub(crate) const ANY_PORT: [&str; 8] = [
    "--listen-http-port",
    "0",
    "--listen-flight-port",
    "0",
    "--listen-cluster-port",
    "0",
    "--listen-metrics-port",
    "0",
];

#[test]
fn unusable_state_locations_are_named() {
    for (location, word) in [
        ("gopher://x/y", "gopher"),
        ("/proc/nothing/here", "/proc/nothing/here"),
        ("s3://user:hush@bucket/x", "credentials"),
    ] {
        for role in ["scheduler", "standalone"] {
            let arguments = [&[role, "--state-location", location][..], &ANY_PORT].concat();
            refuses(&arguments, &[word]);
            let errors = paceline(&arguments).stderr;
            let printed = String::from_utf8_lossy(&errors).contains("hush");
            assert!(!printed, "a secret was printed");
        }
    }
}

#[test]
fn options_that_no_store_has_are_named() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().display().to_string();
    let state = ["--state-location", &state];
    let scheduler = [&state[..], &ANY_PORT].concat();
    let executor = ANY_PORT.iter().enumerate();
    let executor = executor.filter(|(at, _)| !matches!(at, 2 | 3));
    let executor: Vec<&str> = executor.map(|(_, flag)| *flag).collect();
    for (role, flags) in [
        ("scheduler", &scheduler),
        ("standalone", &scheduler),
        ("executor", &executor),
    ] {
        let wrong = [role, "--storage-options", "region=x,endpont=hush"];
        let arguments = [&wrong[..], flags].concat();
        refuses(&arguments, &["'endpont'", "storage.options"]);
        let errors = paceline(&arguments).stderr;
        let printed = String::from_utf8_lossy(&errors).contains("hush");
        assert!(!printed, "a secret was printed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_which_two_creates_win_is_refused() {
    let endpoint = lying_store::start().await;
    let options =
        format!("endpoint={endpoint},region=x,access_key_id=x,secret_access_key=x,allow_http=true");
    tokio::task::spawn_blocking(move || {
        let state = [
            "scheduler",
            "--state-location",
            "s3://bucket/x",
            "--state-options",
            &options,
        ];
        let arguments = [&state[..], &ANY_PORT].concat();
        refuses(&arguments, &["s3://bucket/x", "create"]);
    })
    .await
    .unwrap();
}

/// Reads a table whose file is spoilt.
const BROKEN: &str = "select n_name, n_comment from broken";

/// The file of a small table of whose rows most cannot be read, though its footer can.
fn with_spoilt_pages() -> Vec<u8> {
    let nation = support::tpch(0.1).location(paceline_testkit::Table::Nation);
    let mut bytes = std::fs::read(nation.join("part-0000.parquet")).unwrap();
    let (rest, _magic) = bytes.split_last_chunk::<4>().unwrap();
    let (rest, footer) = rest.split_last_chunk::<4>().unwrap();
    let before_footer = rest.len() - u32::from_le_bytes(*footer) as usize;
    // What lies before the footer are pages, but for a little at its end.
    bytes[4..before_footer / 2].fill(0xEE);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_statements_fail_at_once_and_say_why() {
    let running = Running::with_tpch().await;
    let broken = running.directory.path().join("broken.parquet");
    std::fs::write(&broken, with_spoilt_pages()).unwrap();
    let mut flight = running.flight(0).await;
    let create = format!(
        "CREATE EXTERNAL TABLE broken STORED AS PARQUET LOCATION '{}'",
        broken.display()
    );
    flight.run(&create).await.unwrap();
    for (sql, words) in [
        ("selec 1", &["selec"][..]),
        ("select * from nowhere", &["nowhere"]),
        ("select n_name, from where", &["where"]),
        ("select nothing from nation", &["nothing"]),
        (
            "select 1 / (n_nationkey - 7) from nation",
            &["ivide by zero"],
        ),
        ("select cast(n_name as int) from nation", &["ALGERIA"]),
        (
            "select cast(n_nationkey + 9000000000 as int) from nation",
            &["9000000000"],
        ),
        (BROKEN, &["broken.parquet"]),
        ("", &[]),
        // The tables are those of all tests: nothing here may write.
        ("insert into nation select 1", &["Column count"]),
        ("update nation set n_name = 'x'", &["UPDATE"]),
    ] {
        let error = flight.run(sql).await.unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{sql}: {error}");
        }
        assert!(!error.contains("panicked"), "{sql}: {error}");
    }
    let all = running.http(0).queries(&Default::default()).await.unwrap();
    // The statement is right, and so is all that is planned from: a task met the pages.
    let mut of_broken = all.queries.iter().filter(|query| query.sql == BROKEN);
    let report = of_broken.next().unwrap();
    assert_eq!(report.state, QueryState::Failed);
    assert_eq!(report.error.as_ref().unwrap().class, "user");
    let (attempts, tasks) = attempts(report);
    assert!(tasks > 0 && attempts == tasks, "{report:?}");
    for stage in all.queries.iter().flat_map(|query| &query.stages) {
        let again = stage.attempts > stage.tasks;
        assert!(!again, "something hopeless was tried again: {all:?}");
    }
    flight.run("select 1").await.unwrap();
}

/// Something that no client sends.
struct Garbage {
    bytes: Vec<u8>,
    /// Nothing that could follow makes sense of it: who reads it has to hang up. After anything else
    /// the sender says that it has said all.
    hopeless: bool,
}

fn garbage() -> Vec<Garbage> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let noise = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    let endless = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n";
    let no_text = b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\xff\xfe\xfd";
    let half_a_frame = [
        &preface[..],
        &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0, 1],
    ];
    let hopeless = |bytes| Garbage {
        bytes,
        hopeless: true,
    };
    let unfinished = |bytes| Garbage {
        bytes,
        hopeless: false,
    };
    vec![
        hopeless(noise.collect()),
        hopeless(endless.to_vec()),
        unfinished(no_text.to_vec()),
        hopeless([&preface[..], &[0xFF; 512]].concat()),
        unfinished(half_a_frame.concat()),
        hopeless(vec![0; 1 << 16]),
    ]
}

/// Sends garbage to ports, each of which has to hang up.
pub(crate) async fn throw_garbage(ports: &[String]) {
    for port in ports {
        for Garbage { bytes, hopeless } in garbage() {
            let mut stream = TcpStream::connect(port).await.unwrap();
            // The other end may hang up before it has read everything.
            let _ = stream.write_all(&bytes).await;
            if !hopeless {
                let _ = stream.shutdown().await;
            }
            let mut answer = Vec::new();
            let read = stream.read_to_end(&mut answer);
            let read = tokio::time::timeout(std::time::Duration::from_secs(30), read).await;
            let begun = &bytes[..bytes.len().min(40)];
            assert!(read.is_ok(), "{port} does not hang up after {begun:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_every_port_harms_nobody() {
    let mut running = Running::with_tpch().await;
    let mut ports = Vec::new();
    for node in running
        .cluster
        .schedulers()
        .iter()
        .chain(running.cluster.executors())
    {
        let announced = node.announced();
        let own = [
            &announced.http,
            &announced.flight,
            &announced.cluster,
            &announced.metrics,
        ];
        ports.extend(own.into_iter().filter(|port| !port.is_empty()).cloned());
    }
    assert_eq!(ports.len(), 2 * 4 + 3 * 3);
    throw_garbage(&ports).await;
    for (role, count) in [(Role::Scheduler, 2), (Role::Executor, 3)] {
        for index in 0..count {
            let process = running
                .cluster
                .node(role, index)
                .unwrap()
                .process()
                .unwrap();
            assert!(process.is_running().unwrap());
            let log = std::fs::read_to_string(process.log()).unwrap();
            assert!(!log.contains("panicked"), "{log}");
        }
    }
    for scheduler in 0..2 {
        let answer = running
            .flight(scheduler)
            .await
            .run("select count(*) from orders")
            .await;
        assert_eq!(answer.unwrap().rows(), 1);
    }
}
