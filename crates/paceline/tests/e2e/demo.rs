//! The README's first command.

mod failing;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::support::{NOBODY, PROGRAM, not_run, until};
use crate::turn::Turn;

/// Where tables lie that are there already, or will be for the next test.
const SHARED: &str = env!("CARGO_TARGET_TMPDIR");

fn demo(temporary: &Path, data: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("demo")
        .arg("--data-dir")
        .arg(data)
        .env("TMPDIR", temporary)
        // Nobody but its own processes is asked for anything.
        .env("http_proxy", NOBODY)
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What the processes are that a demo with that temporary directory has started, and the demo itself:
/// the first argument of each, sorted. They have its environment, whatever their arguments are.
fn processes(temporary: &Path) -> Vec<String> {
    let variable = format!("TMPDIR={}", temporary.display());
    let parts = |text: Vec<u8>| {
        let text = String::from_utf8_lossy(&text).into_owned();
        text.split('\0').map(str::to_string).collect::<Vec<_>>()
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let environment = parts(std::fs::read(entry.path().join("environ")).ok()?);
            let line = parts(std::fs::read(entry.path().join("cmdline")).ok()?);
            let role = line.get(1).cloned().unwrap_or_default();
            environment.contains(&variable).then_some(role)
        })
        .collect();
    found.sort();
    found
}

async fn no_process_is_left(temporary: &Path) {
    until("all processes are gone", || async {
        processes(temporary).is_empty().then_some(())
    })
    .await;
}

async fn nothing_is_left(temporary: &Path) {
    no_process_is_left(temporary).await;
    let left: Vec<_> = std::fs::read_dir(temporary).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A terminal: what a process is to write to, and what was on it in the end.
fn terminal() -> (Stdio, JoinHandle<String>) {
    let size = Winsize {
        ws_row: 24,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(&size, None).unwrap();
    // Clones are not inherited by the processes that other tests start meanwhile.
    let [master, slave] = [pty.master, pty.slave].map(|end| end.try_clone().unwrap());
    let shown = tokio::task::spawn_blocking(move || {
        let mut shown = Vec::new();
        // An error is how its end looks: nobody writes to it any more.
        let _ = File::from(master).read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    (Stdio::from(slave), shown)
}

/// How much of the tables a bar said were written, in percent.
fn percentages(shown: &str) -> Vec<u32> {
    let before = shown.split(" %, ");
    let numbers = before.filter_map(|text| text.rsplit(' ').next()?.parse::<u32>().ok());
    numbers.collect()
}

/// The rows of the table of queries, cell by cell: the headings, one of each query, and that of all.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let cells = line.split('┆');
        let bare = cells.map(|cell| cell.trim_matches([' ', '│']).to_string());
        bare.collect::<Vec<String>>()
    };
    // The other table has fewer.
    let rows = text.lines().map(cells).filter(|row| row.len() == 9);
    rows.collect()
}

/// Most queries were cut into stages, and rows went from one to the next.
fn were_cut(text: &str) {
    let rows = rows(text);
    assert_eq!(rows.len(), 1 + 22 + 1, "{text}");
    let number = |row: &[String], column: usize| row[column].parse::<f64>().unwrap();
    let (stages, tasks, exchanged) = (5, 6, 7);
    let queries = &rows[1..23];
    let cut = queries.iter().filter(|row| number(row, stages) > 1.0);
    assert!(cut.count() > 11, "{text}");
    assert!(number(&rows[23], tasks) > 2.0 * 22.0, "{text}");
    assert!(number(&rows[23], exchanged) > 0.0, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_22_agree_and_nothing_is_left() {
    let _turn = Turn::take().await;
    let temporary = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let (stderr, shown) = terminal();
    let child = demo(temporary.path(), data.path())
        .args(["--scale", "0.01", "--runs", "1"])
        // No bar is missed by so much.
        .arg("--strict=1000")
        .env("TERM", "xterm")
        .stderr(stderr)
        .spawn()
        .unwrap();
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let shown = shown.await.unwrap();
    assert!(output.status.success(), "{text}{shown}");
    were_cut(&text);
    for part in [
        // The queries, column by column.
        "query",
        "rows",
        "here (s)",
        "one process (s)",
        "ratio",
        "stages",
        "tasks",
        "exchanged (MiB)",
        "answer",
        "22 of 22 agree",
        // What they come to, bar by bar.
        "all queries, against one process",
        "1.40 ×",
        "worst query, Q",
        "2.50 ×",
        "peak memory of the executors",
        "1.50 ×",
        "median of 200 tiny queries",
        "5.00 ms",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        shown.contains("starting 2 schedulers, 3 executors"),
        "{shown}"
    );
    // Each query once unmeasured and once measured: in turn, that is once through each scheduler.
    let through_both = shown.matches("driven by 2 schedulers, agrees").count();
    assert_eq!(through_both, 22, "{shown}");
    let written = percentages(&shown);
    assert!(
        written.iter().any(|part| (1..=100).contains(part)),
        "{shown}"
    );
    assert!(shown.contains(" left"), "{shown}");
    assert!(
        shown.contains(" scheduler 1: ") && shown.contains(" scheduler 2: "),
        "{shown}"
    );
    assert!(
        shown.contains(" stages, ") && shown.contains(" tasks, "),
        "{shown}"
    );
    nothing_is_left(temporary.path()).await;
}

/// The number that follows some words.
fn number_after(words: &str, text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(words)?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_22_agree_while_processes_are_killed() {
    let _turn = Turn::take().await;
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path(), Path::new(SHARED))
        .args(["--scale", "0.1", "--chaos", "--seed", "7"])
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
    for part in ["driven by scheduler", "taken over by scheduler", "again"] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    assert!(number_after("takeovers: ", &text) > Some(0), "{text}");
    assert!(!text.contains("slowest not seen"), "{text}");
    // At this scale queries last so long that most are struck between their first task and their last one.
    assert!(number_after("tasks adopted: ", &text) > Some(0), "{text}");
    for part in ["lost their owner before the answer", "slowest", "run again"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    nothing_is_left(temporary.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_everything() {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--scale", "0.01", "--runs", "20"];
    // All processes are up as soon as the first query is through.
    let running = Interrupted::once_it_says("Q01", &arguments, data.path()).await;
    let roles = [
        "demo",
        "executor",
        "executor",
        "executor",
        "reference",
        "scheduler",
        "scheduler",
    ];
    assert_eq!(running.processes, roles);
    // Without a terminal, lines tell how far the tables are.
    for part in ["writing TPC-H at scale 0.01", "100 %"] {
        assert!(running.said(part), "{part}: {:?}", running.lines);
    }
    // The tables stay, and the next run has them. It ends while its processes start.
    let starting =
        Interrupted::once_it_says("starting 2 schedulers", &arguments, data.path()).await;
    assert!(starting.said("scale 0.01 is in"), "{:?}", starting.lines);
}

/// As a terminal does it that is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_ends_everything_as_well() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    // The first bit is that of SIGHUP.
    if ignored & 1 != 0 {
        not_run("that a closed terminal ends the demo, because nohup is to keep it going");
        return;
    }
    let arguments = ["--scale", "0.01", "--queries", "6", "--runs", "100"];
    let (word, data) = ("starting 2 schedulers", Path::new(SHARED));
    Interrupted::by(Signal::SIGHUP, word, &arguments, data).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_chaos_as_well() {
    let arguments = ["--scale", "0.01", "--chaos"];
    let struck = Interrupted::once_it_says("SIGKILL", &arguments, Path::new(SHARED)).await;
    // One scheduler, one executor, the single DataFusion process and the demo at least.
    assert!(struck.processes.len() >= 4, "{:?}", struck.processes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_leaves_no_table_that_is_half_written() {
    let _turn = Turn::take().await;
    let data = tempfile::tempdir().unwrap();
    let entries = || std::fs::read_dir(data.path()).unwrap().flatten();
    let begun = || {
        let file = |entry: std::fs::DirEntry| entry.path().join("lineitem/part-0000.parquet");
        entries().any(|entry| file(entry).exists())
    };
    let temporary = tempfile::tempdir().unwrap();
    let child = demo(temporary.path(), data.path())
        .args(["--scale", "1"])
        .spawn()
        .unwrap();
    until("it writes", || async { begun().then_some(()) }).await;
    interrupt(child, Signal::SIGINT).await;
    assert_eq!(entries().count(), 0, "it left some, or had written all");
    nothing_is_left(temporary.path()).await;
}

/// What a demo was when it was interrupted.
struct Interrupted {
    /// What it had said.
    lines: Vec<String>,
    /// What ran.
    processes: Vec<String>,
}

impl Interrupted {
    /// Interrupts a demo once it says a line with that word, and sees that nothing is left of it.
    async fn once_it_says(word: &str, arguments: &[&str], data: &Path) -> Interrupted {
        Interrupted::by(Signal::SIGINT, word, arguments, data).await
    }

    async fn by(signal: Signal, word: &str, arguments: &[&str], data: &Path) -> Interrupted {
        let _turn = Turn::take().await;
        let temporary = tempfile::tempdir().unwrap();
        let mut command = demo(temporary.path(), data);
        let mut child = command.args(arguments).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut lines = Vec::new();
        while let Some(line) = errors.next_line().await.unwrap() {
            let last = line.contains(word);
            lines.push(line);
            if last {
                break;
            }
        }
        let processes = processes(temporary.path());
        interrupt(child, signal).await;
        nothing_is_left(temporary.path()).await;
        Interrupted { lines, processes }
    }

    fn said(&self, part: &str) -> bool {
        self.lines.iter().any(|line| line.contains(part))
    }
}

/// Sends that signal, and waits for the end.
async fn interrupt(mut child: tokio::process::Child, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    kill(id, signal).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(130));
}
