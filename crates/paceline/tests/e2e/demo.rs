//! The README's first command.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::{PROGRAM, until};
use crate::turn::Turn;

fn demo(temporary: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args([
            "demo",
            "--scale",
            "0.01",
            "--data-dir",
            env!("CARGO_TARGET_TMPDIR"),
        ])
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The processes whose command line names a directory.
fn processes(directory: &Path) -> Vec<String> {
    let directory = directory.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&directory))
        .collect()
}

async fn nothing_is_left(temporary: &Path) {
    until("all processes are gone", || async {
        processes(temporary).is_empty().then_some(())
    })
    .await;
    let left: Vec<_> = std::fs::read_dir(temporary).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_22_agree_and_nothing_is_left() {
    let _turn = Turn::take().await;
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path())
        .args(["--runs", "1"])
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    for part in ["22 of 22 agree", "peak memory", "tiny query"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(errors.matches("agrees").count(), 22, "{errors}");
    nothing_is_left(temporary.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_22_agree_while_processes_are_killed() {
    let _turn = Turn::take().await;
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path())
        .args(["--chaos", "--seed", "7"])
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("22 of 22 agree (--seed 7)"), "{text}");
    let kills = |role: &str| errors.matches(&format!("SIGKILL {role}")).count();
    let (schedulers, executors) = (kills("scheduler"), kills("executor"));
    assert!(schedulers > 0 && executors > 0, "{errors}");
    let told = format!("kills: {schedulers} of schedulers, {executors} of executors");
    assert!(text.contains(&told), "{told}: {text}");
    let taken_over = errors.matches("taken over by scheduler").count();
    assert!(taken_over > 0 && errors.contains("again"), "{errors}");
    for part in [
        "lost their owner before the answer",
        "slowest",
        "tasks adopted",
        "run again",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    nothing_is_left(temporary.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_everything() {
    // The cluster is up as soon as the first query is through.
    interrupted(&["--runs", "100"], "Q01").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_chaos_as_well() {
    interrupted(&["--chaos"], "SIGKILL").await;
}

/// Interrupts a demo once it says a line with that word.
async fn interrupted(arguments: &[&str], word: &str) {
    let _turn = Turn::take().await;
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(temporary.path()).args(arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains(word) {
            break;
        }
    }
    assert!(processes(temporary.path()).len() >= 3);
    let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    kill(id, Signal::SIGINT).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(130));
    nothing_is_left(temporary.path()).await;
}
