//! One Envoy: checked, started, asked where it listens, ended.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::EnvoyError;
use super::complaint::{Complaint, complaint};
use crate::mesh::Places;

/// How long starting may take; a second is usual, on a machine that starts several of them a few.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How often a starting Envoy is asked whether it is ready.
const START_INTERVAL: Duration = Duration::from_millis(20);

/// How long ending may take before the process is killed.
const END_LIMIT: Duration = Duration::from_secs(5);

/// How much of Envoy's own log an error shows.
const LOG_TAIL: usize = 2000;

/// A running Envoy, in a process group of its own, since what is called `envoy` may be a script
/// that starts it. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Holds the other end of its standard input.
    watchdog: Option<Child>,
    listener: SocketAddr,
}

/// The files of one Envoy, beside the access log that it writes.
struct Files {
    bootstrap: PathBuf,
    log: PathBuf,
    admin_address: PathBuf,
}

impl Files {
    fn beside(access_log: &Path) -> Self {
        Self {
            bootstrap: access_log.with_extension("envoy.json"),
            log: access_log.with_extension("envoy.log"),
            admin_address: access_log.with_extension("envoy.admin"),
        }
    }
}

impl Process {
    /// Has the bootstrap checked, starts an Envoy on it, and waits until it serves.
    pub(super) async fn start(
        program: &Path,
        bootstrap: &Value,
        places: &Places,
        access_log: &Path,
    ) -> Result<Self, EnvoyError> {
        let files = Files::beside(access_log);
        let pretty = format!("{bootstrap:#}\n");
        std::fs::write(&files.bootstrap, pretty)
            .map_err(|source| EnvoyError::Write { path: files.bootstrap.clone(), source })?;
        validate(program, &files.bootstrap, places).await?;
        let unstartable = |source| EnvoyError::Program { path: program.to_owned(), source };
        // Before the Envoy: it is to find one that has only just started, too.
        let watchdog = watchdog();
        let group = watchdog.as_ref().and_then(process_id);
        let child = Command::new(program)
            .arg("-c")
            .arg(&files.bootstrap)
            .arg("--log-path")
            .arg(&files.log)
            .arg("--admin-address-path")
            .arg(&files.admin_address)
            // Several Envoys on one machine share nothing; one worker, as in a pod with little CPU;
            // lines at once.
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"])
            .args(["--file-flush-interval-msec", "20"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(group.unwrap_or(0))
            .spawn()
            .map_err(unstartable)?;
        let mut process = Self { child, watchdog, listener: SocketAddr::from(([0, 0, 0, 0], 0)) };
        process.listener = process.ready(&files).await?;
        Ok(process)
    }

    /// Where it listens.
    pub(super) fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// Waits until it serves; returns its listener's address.
    async fn ready(&mut self, files: &Files) -> Result<SocketAddr, EnvoyError> {
        let deadline = Instant::now() + START_LIMIT;
        let failed = |reason: &str| {
            let log = std::fs::read_to_string(&files.log).unwrap_or_default();
            let tail = log.trim_end().chars().rev().take(LOG_TAIL).collect::<Vec<_>>().into_iter().rev();
            EnvoyError::Start { reason: reason.to_owned(), log: tail.collect() }
        };
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(failed(&format!("it ended with {status}")));
            }
            let admin = std::fs::read_to_string(&files.admin_address).unwrap_or_default();
            if let Ok(admin) = admin.trim().parse()
                && let Ok(Some(listener)) = serving_listener(admin).await
            {
                // It has served its purpose, and would mean nothing to a reader of the logs.
                let _ = std::fs::remove_file(&files.admin_address);
                return Ok(listener);
            }
            if Instant::now() >= deadline {
                return Err(failed(&format!("it did not serve within {START_LIMIT:?}")));
            }
            tokio::time::sleep(START_INTERVAL).await;
        }
    }

    /// Ends it, and waits until it has written its last line.
    pub(super) async fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        // If it does not end in time it is killed, by being dropped.
        let _ = tokio::time::timeout(END_LIMIT, self.child.wait()).await;
    }

    fn signal(&self, signal: Signal) {
        // One that has ended, and been waited for, has no id any more. The watchdog, which leads the
        // group, is never waited for.
        let group = self.watchdog.as_ref().and_then(process_id);
        if let Some(id) = group.or_else(|| process_id(&self.child)) {
            let _ = killpg(Pid::from_raw(id), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Kills the process group that it leads, an Envoy's, once this process is no more, however it
/// ended: SIGKILL leaves no time to do so. Where there is no shell it has to do without.
fn watchdog() -> Option<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", "read -r _; kill -s KILL 0"]).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

fn process_id(child: &Child) -> Option<i32> {
    child.id().and_then(|id| i32::try_from(id).ok())
}

/// `envoy --mode validate`.
async fn validate(program: &Path, bootstrap: &Path, places: &Places) -> Result<(), EnvoyError> {
    let checked = Command::new(program)
        .args(["--mode", "validate", "--disable-hot-restart", "--log-level", "error", "-c"])
        .arg(bootstrap)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| EnvoyError::Program { path: program.to_owned(), source })?;
    if checked.status.success() {
        return Ok(());
    }
    let said = [checked.stderr, checked.stdout].concat();
    let Complaint { place, reason } = complaint(&String::from_utf8_lossy(&said), places);
    if reason.is_empty() {
        let reason = format!("its check ended with {}, without a word", checked.status);
        return Err(EnvoyError::Start { reason, log: String::new() });
    }
    Err(EnvoyError::Refused { place, reason })
}

/// The address of the first listener, once the workers serve it.
async fn serving_listener(admin: SocketAddr) -> io::Result<Option<SocketAddr>> {
    if get(admin, "/ready").await?.0 != http::StatusCode::OK {
        return Ok(None);
    }
    let (_, listeners) = get(admin, "/listeners?format=json").await?;
    let listeners: Value = serde_json::from_slice(&listeners)?;
    let address = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
    let ip = address["address"].as_str().and_then(|ip| ip.parse().ok());
    let port = address["port_value"].as_u64().and_then(|port| u16::try_from(port).ok());
    Ok(ip.zip(port).map(|(ip, port)| SocketAddr::new(ip, port)))
}

/// Asks the admin interface.
async fn get(admin: SocketAddr, path: &str) -> io::Result<(http::StatusCode, bytes::Bytes)> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = http::Request::get(path)
        .header(http::header::HOST, admin.to_string())
        .body(Empty::<bytes::Bytes>::new())
        .map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    tokio::select! {
        answer = exchange => answer.map_err(|error: hyper::Error| io::Error::other(error)),
        // It ends without an error only when the exchange has.
        ended = connection => Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other)),
    }
}
