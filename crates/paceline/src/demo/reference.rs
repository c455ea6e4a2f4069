//! The yardstick: one DataFusion process, asked over its standard input.

use std::fs::File;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use clap::Args;
use paceline_testkit::{Answer as ReferenceAnswer, Dataset, Reference, Scale};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Arguments;
use crate::Failure;
use crate::client::Answer;

/// What the child is told at its start.
#[derive(Args)]
pub(crate) struct ReferenceArguments {
    /// Below it lie the tables.
    #[arg(long)]
    data: PathBuf,
    /// Their scale.
    #[arg(long)]
    scale: Scale,
    /// Into how many partitions plans divide their work, and how many threads do it.
    #[arg(long)]
    partitions: usize,
}

/// One line from parent to child.
#[derive(Serialize, Deserialize)]
struct Request {
    sql: String,
    /// Where the answer goes.
    answer: PathBuf,
}

/// One line back.
#[derive(Serialize, Deserialize)]
struct Reply {
    micros: u64,
    error: Option<String>,
}

/// The child: answers line by line until its input ends.
pub(crate) fn reference(arguments: &ReferenceArguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.partitions.max(1))
        .enable_all()
        .build()?;
    let dataset = Dataset::find(&arguments.data, arguments.scale)
        .ok_or_else(|| Failure::new("the tables are not there"))?;
    let reference = runtime.block_on(Reference::with_tables(&dataset, arguments.partitions))?;
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?).map_err(std::io::Error::from)?;
        // On a thread of the pool, like the queries of the executors.
        let outcome = runtime.block_on(async { reference.run(&request.sql).await });
        let reply = match outcome {
            Ok(answer) => {
                let micros = u64::try_from(answer.elapsed.as_micros()).unwrap_or(u64::MAX);
                let written = write(&answer, &request.answer);
                Reply {
                    micros,
                    error: written.err().map(|error| error.to_string()),
                }
            }
            Err(error) => Reply {
                micros: 0,
                error: Some(error.to_string()),
            },
        };
        let mut out = std::io::stdout().lock();
        let line = serde_json::to_string(&reply).map_err(std::io::Error::from)?;
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    Ok(())
}

fn write(answer: &ReferenceAnswer, path: &Path) -> Result<(), arrow::error::ArrowError> {
    let mut writer = FileWriter::try_new(File::create(path)?, &answer.schema)?;
    for batch in &answer.batches {
        writer.write(batch)?;
    }
    writer.finish()
}

fn read(path: &Path) -> Result<Answer, arrow::error::ArrowError> {
    let reader = FileReader::try_new(File::open(path)?, None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<_, _>>()?;
    Ok(Answer { schema, batches })
}

/// The parent's end. The child ends with this value.
pub(super) struct ReferenceProcess {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    answer: PathBuf,
}

impl ReferenceProcess {
    pub(super) async fn start(
        program: &Path,
        dataset: &Dataset,
        directory: &Path,
    ) -> Result<ReferenceProcess, Failure> {
        let data = dataset.directory().parent().unwrap_or(dataset.directory());
        let mut child = Command::new(program)
            .arg("reference")
            .arg("--data")
            .arg(data)
            .args(["--scale", &dataset.scale().to_string()])
            .args(["--partitions", &Arguments::cores().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // As with the other children, Ctrl-C is for the parent.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::while_doing(
                "cannot start the single DataFusion process",
            ))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(ReferenceProcess {
                child,
                input,
                output: BufReader::new(output),
                answer: directory.join("reference.arrow"),
            }),
            _ => Err(Failure::new("the single DataFusion process has no pipes")),
        }
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Runs a statement to its end: the answer, and how long it took.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(Answer, Duration), Failure> {
        let request = Request {
            sql: sql.to_string(),
            answer: self.answer.clone(),
        };
        let mut line = serde_json::to_string(&request).map_err(std::io::Error::from)?;
        line.push('\n');
        self.input.write_all(line.as_bytes()).await?;
        let mut line = String::new();
        if self.output.read_line(&mut line).await? == 0 {
            return Err(Failure::new(
                "the single DataFusion process ended; see above",
            ));
        }
        let reply: Reply = serde_json::from_str(&line).map_err(std::io::Error::from)?;
        if let Some(error) = reply.error {
            return Err(Failure::new(error));
        }
        let answer = read(&self.answer).map_err(Failure::while_doing(
            "cannot read the single process's answer",
        ))?;
        Ok((answer, Duration::from_micros(reply.micros)))
    }
}
