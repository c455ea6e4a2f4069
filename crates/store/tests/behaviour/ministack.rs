//! MiniStack: an S3 server from PyPI (`pip install ministack`).

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// If set to 1, a missing server fails the test that wants it.
const REQUIRE: &str = "PACELINE_REQUIRE_MINISTACK";

/// A running server; it ends with this.
pub(crate) struct MiniStack {
    _child: Child,
    port: u16,
}

impl MiniStack {
    /// Starts a server; `None`, said plainly, if it is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let port = free_port();
        let started = Command::new("ministack")
            .env("BIND_HOST", "127.0.0.1")
            .env("SERVICES", "s3")
            .env("IOT_MTLS_ENABLED", "0")
            .env("GATEWAY_PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let child = match started {
            Ok(child) => child,
            Err(error) => {
                assert!(
                    std::env::var(REQUIRE).as_deref() != Ok("1"),
                    "{REQUIRE}=1, but ministack cannot be started: {error}"
                );
                // Past the test harness, which shows nothing of a test that passes.
                let _ = writeln!(
                    std::io::stderr(),
                    "NOT RUN: S3 over HTTP, because ministack is not installed ({error})"
                );
                return None;
            }
        };
        let server = MiniStack {
            _child: child,
            port,
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while server.request("GET", "/").await.is_err() {
            assert!(Instant::now() < deadline, "ministack does not answer");
            #[expect(
                clippy::disallowed_methods,
                reason = "it looks again until it is so, with a deadline"
            )]
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(server)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn make_bucket(&self, bucket: &str) {
        let answer = self.request("PUT", &format!("/{bucket}")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    async fn request(&self, method: &str, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let host = format!("127.0.0.1:{}", self.port);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
