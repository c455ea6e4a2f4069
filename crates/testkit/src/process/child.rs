use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::ProcessError;

const START_LIMIT: Duration = Duration::from_secs(60);

/// Where a process says that it listens, in the one line that it writes to its standard output.
/// Empty text: it has no such port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Announced {
    /// HTTP, as `host:port`.
    pub http: String,
    /// Flight SQL.
    pub flight: String,
    /// The cluster port: control plane of a scheduler, data plane of an executor.
    pub cluster: String,
    /// Prometheus.
    pub metrics: String,
}

/// A child process. It dies with this value, and with this process however that ends: it watches
/// its standard input, which nobody else holds.
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    announced: Announced,
    // Closing it tells the child that its parent is gone.
    _lifeline: Option<ChildStdin>,
}

impl Process {
    /// Starts `program`, which must write one line of JSON that says where it listens, as
    /// Paceline's servers do with `--announce`. Its log (standard error) is added to `log`.
    ///
    /// # Errors
    /// [`ProcessError`] if it does not start, or ends before it has written its line.
    pub async fn start(
        name: &str,
        program: &Path,
        arguments: &[String],
        log: &Path,
    ) -> Result<Process, ProcessError> {
        let failed = |source: io::Error| ProcessError::Start {
            program: program.to_path_buf(),
            source,
        };
        let log_file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(failed)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            // A Ctrl-C at the terminal is for the parent, which ends its children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut process = Process {
            name: name.to_string(),
            log: log.to_path_buf(),
            announced: Announced::default(),
            _lifeline: child.stdin.take(),
            child,
        };
        let line = timeout(START_LIMIT, process.first_line())
            .await
            .map_err(|_| process.too_slow("say where it listens", START_LIMIT))??;
        process.announced =
            serde_json::from_str(&line).map_err(|_| ProcessError::Unintelligible {
                name: name.to_string(),
                line: line.trim_end().to_string(),
            })?;
        Ok(process)
    }

    async fn first_line(&mut self) -> Result<String, ProcessError> {
        let mut line = String::new();
        if let Some(output) = self.child.stdout.take() {
            let mut output = BufReader::new(output);
            output
                .read_line(&mut line)
                .await
                .map_err(|source| self.system("read from", source))?;
        }
        if line.is_empty() {
            let status = self.wait().await?;
            return Err(ProcessError::EndedAtStart {
                name: self.name.clone(),
                status,
                log: self.log.clone(),
                tail: self.log_tail(20),
            });
        }
        Ok(line)
    }

    /// Which process this is, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn announced(&self) -> &Announced {
        &self.announced
    }

    /// Its id; none once its end was seen.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn is_running(&mut self) -> Result<bool, ProcessError> {
        match self.child.try_wait() {
            Ok(status) => Ok(status.is_none()),
            Err(source) => Err(self.system("look after", source)),
        }
    }

    /// SIGKILL, without waiting until it is gone.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn start_to_kill(&mut self) -> Result<(), ProcessError> {
        let killed = self.child.start_kill();
        killed.map_err(|source| self.system("kill", source))
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        self.child
            .kill()
            .await
            .map_err(|source| self.system("kill", source))
    }

    /// SIGTERM: asks it to end in order.
    ///
    /// # Errors
    /// If it is gone.
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGTERM, "terminate")
    }

    /// SIGSTOP: it stands still, its connections stay open.
    ///
    /// # Errors
    /// If it is gone.
    pub fn freeze(&self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGSTOP, "freeze")
    }

    /// SIGCONT: it goes on.
    ///
    /// # Errors
    /// If it is gone.
    pub fn thaw(&self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGCONT, "thaw")
    }

    /// Waits until it has ended, however long that takes.
    ///
    /// # Errors
    /// If the system does not say.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        let ended = self.child.wait().await;
        ended.map_err(|source| self.system("wait for", source))
    }

    /// SIGTERM, then waits for the end; SIGKILL after `limit`.
    ///
    /// # Errors
    /// [`ProcessError::TooSlow`] if it had to be killed.
    pub async fn stop(&mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        if self.is_running()? {
            self.terminate()?;
        }
        match timeout(limit, self.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.kill().await?;
                Err(self.too_slow("end after SIGTERM", limit))
            }
        }
    }

    fn signal(&self, signal: Signal, what: &'static str) -> Result<(), ProcessError> {
        let id = self
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .ok_or_else(|| self.system(what, io::ErrorKind::NotFound.into()))?;
        kill(Pid::from_raw(id), signal).map_err(|errno| self.system(what, errno.into()))
    }

    fn system(&self, what: &'static str, source: io::Error) -> ProcessError {
        ProcessError::System {
            name: self.name.clone(),
            what,
            source,
        }
    }

    fn too_slow(&self, what: &'static str, limit: Duration) -> ProcessError {
        ProcessError::TooSlow {
            name: self.name.clone(),
            what,
            limit,
            log: self.log.clone(),
        }
    }
}
