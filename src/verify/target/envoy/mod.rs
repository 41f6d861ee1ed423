//! Two real Envoys as a target: on loopback, on ports that the system chooses, configured as Istio
//! would from the same documents as the bundled pair, with the same application behind them.

mod bootstrap;
mod complaint;
mod process;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::process::Process;
use super::{RunningPair, bundled};
use crate::net::BindError;
use crate::verify::expect::Side;
use crate::verify::pair::PairConfig;
use crate::verify::played::LogFiles;
use crate::verify::scenario::Application;
use crate::yaml::Place;

/// The variable that names the program.
const VARIABLE: &str = "ENVOY";

/// The program's name where only `PATH` says where it is.
const NAME: &str = "envoy";

/// Why there is no pair of Envoys.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// There is no Envoy on this machine, or not at the path that was named.
    #[error("no Envoy: {0}")]
    Missing(String),
    /// It cannot be executed.
    #[error("run {}: {source}", path.display())]
    Program {
        /// The path of the Envoy.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its configuration could not be written.
    #[error("write {}: {source}", path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It does not take what the documents say.
    #[error("{}Envoy refuses this: {reason}", at(place.as_ref()))]
    Refused {
        /// The line that put it there, where that can be told.
        place: Option<Place>,
        /// What Envoy says.
        reason: String,
    },
    /// It did not come up.
    #[error("start Envoy: {reason}{}", if log.is_empty() { "" } else { "; its log ends with" })]
    Start {
        /// What happened.
        reason: String,
        /// The end of its own log, which may have several lines.
        log: String,
    },
    /// The application has nowhere to listen.
    #[error(transparent)]
    Application(#[from] BindError),
}

fn at(place: Option<&Place>) -> String {
    place.map_or_else(String::new, |place| format!("{}:{}: ", place.file, place.line))
}

/// The program, and how many pairs of it may run at once.
#[derive(Debug, Clone)]
pub struct Envoy {
    program: PathBuf,
    turns: Arc<Semaphore>,
}

/// Two Envoys, running. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Pair {
    client: Process,
    server: Process,
    _turn: OwnedSemaphorePermit,
}

impl Envoy {
    /// Finds the program: the one named, else the one that the variable `ENVOY` names, else the
    /// first on `PATH`.
    ///
    /// # Errors
    /// There is no such program.
    pub fn find(named: Option<&Path>) -> Result<Self, EnvoyError> {
        let program = match (named, std::env::var_os(VARIABLE).filter(|value| !value.is_empty())) {
            (Some(path), _) => executable(path.to_owned(), "")?,
            (None, Some(path)) => executable(path.into(), &format!("{VARIABLE} names "))?,
            (None, None) => on_path()
                .ok_or_else(|| EnvoyError::Missing(format!("{VARIABLE} names none, and none is on PATH")))?,
        };
        // Envoys that start all at once would keep one another from what their sessions wait for.
        let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self { program, turns: Arc::new(Semaphore::new(at_once)) })
    }

    /// Starts an application and a pair of Envoys before it, which write to `logs`; their
    /// configuration stays beside these.
    pub(super) async fn start(
        &self,
        application: Application,
        pair: &PairConfig,
        logs: &LogFiles,
    ) -> Result<RunningPair, EnvoyError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        let turn = turn.ok_or_else(|| EnvoyError::Missing("this run is over".to_owned()))?;
        let mut running = bundled::without_sidecars(application)?;
        let start = async |bootstrap, log| Process::start(&self.program, &bootstrap, &pair.places, log).await;
        let bootstrap = bootstrap::inbound(&pair.inbound, running.application, logs.path(Side::Server));
        let server = start(bootstrap, logs.path(Side::Server)).await?;
        let bootstrap = bootstrap::outbound(&pair.outbound, server.listener(), logs.path(Side::Client));
        let client = start(bootstrap, logs.path(Side::Client)).await?;
        running.server_sidecar = server.listener();
        running.client_sidecar = client.listener();
        running.envoys = Some(Pair { client, server, _turn: turn });
        Ok(running)
    }
}

impl Pair {
    /// Ends both, the client's first.
    pub(super) async fn stop(self) {
        self.client.stop().await;
        self.server.stop().await;
    }
}

fn executable(path: PathBuf, who: &str) -> Result<PathBuf, EnvoyError> {
    if path.is_file() {
        Ok(path)
    } else {
        Err(EnvoyError::Missing(format!("{who}{}, which is no file", path.display())))
    }
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(NAME)).find(|program| program.is_file())
}
