//! Clients that people have: ADBC and pyarrow.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use arrow::ipc::reader::FileReader;
use paceline::client::Answer;
use paceline_testkit::tpch_queries;

use crate::answers::agrees;
use crate::support::{Running, not_run, tpch};

/// What became of a script.
pub(crate) enum Outcome {
    /// It ran.
    Done,
    /// The packages that it needs are not there.
    NotInstalled,
}

/// The exit code of a script whose packages are not installed.
const MISSING: i32 = 3;

/// Runs a script with `PACELINE_PYTHON`, or python3. With `require=1` in the environment, missing
/// packages are a failure.
pub(crate) fn run_script(script: &Path, arguments: &[&str], require: &str) -> Outcome {
    let python = std::env::var("PACELINE_PYTHON").unwrap_or("python3".to_string());
    let output = Command::new(&python).arg(script).args(arguments).output();
    let missing = match &output {
        Ok(output) => output.status.code() == Some(MISSING),
        Err(_) => true,
    };
    if missing {
        assert!(
            std::env::var(require).as_deref() != Ok("1"),
            "{require}=1, but what {} needs is not installed",
            script.display()
        );
        not_run(&format!(
            "the packages that {} names are not installed",
            script.display()
        ));
        return Outcome::NotInstalled;
    }
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", script.display());
    Outcome::Done
}

/// Runs `clients.py` on the statements of a directory.
pub(crate) async fn run_client(arguments: Vec<String>) -> Outcome {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients.py");
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run_script(&script, &arguments, "PACELINE_REQUIRE_PYTHON")
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// An answer that it left.
pub(crate) fn read(path: &Path) -> Answer {
    let reader = FileReader::try_new(File::open(path).unwrap(), None).unwrap();
    let schema = reader.schema();
    let batches = reader.collect::<Result<_, _>>().unwrap();
    Answer { schema, batches }
}

async fn reads_every_answer(client: &str) {
    let running = Running::with_tpch().await;
    let exchange = tempfile::tempdir().unwrap();
    let scale = tpch(0.1).scale();
    for query in tpch_queries() {
        let path = exchange.path().join(format!("{}.sql", query.number()));
        std::fs::write(path, query.sql(scale)).unwrap();
    }
    let address = running.cluster.schedulers()[1].announced().flight.clone();
    let directory = exchange.path().display().to_string();
    let arguments = vec![client.to_string(), address, directory];
    if let Outcome::NotInstalled = run_client(arguments).await {
        return;
    }
    for query in tpch_queries() {
        let answer = read(&exchange.path().join(format!("{}.arrow", query.number())));
        let checked = agrees(&query.sql(scale), &answer).await;
        checked.unwrap_or_else(|problem| panic!("{client}, {query}: {problem}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adbc_reads_every_tpch_answer() {
    reads_every_answer("adbc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pyarrow_flight_reads_every_tpch_answer() {
    reads_every_answer("pyarrow").await;
}
