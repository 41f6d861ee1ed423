//! The programs of this binary as a target: echo server and both sidecars in this process, on
//! loopback, on ports that the system chooses, one worker each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::held_echo::HeldEcho;
use super::{INBOUND_SOURCE, RunningPair};
use crate::access_log;
use crate::drain::Drain;
use crate::net::BindError;
use crate::server::{self, Server};
use crate::sidecar::{self, Direction, Sidecar, StartError};
use crate::verify::expect::Side;
use crate::verify::pair::PairConfig;
use crate::verify::played::LogFiles;
use crate::verify::scenario::Application;

/// Loopback, and a port that the system chooses.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

type Programs = JoinSet<std::io::Result<()>>;

/// Starts an application and a pair of sidecars before it, which write to `logs`.
pub(in crate::verify) fn start(
    application: Application,
    pair: &PairConfig,
    logs: &LogFiles,
) -> Result<RunningPair, StartError> {
    let mut running = without_sidecars(application)?;
    let RunningPair { application, drain, programs, .. } = &mut running;
    let inbound = Direction::Inbound {
        mesh: pair.inbound.clone(),
        bind_source: Some(INBOUND_SOURCE),
        mint_websocket_key: false,
    };
    let server_sidecar = start_sidecar(inbound, *application, logs.path(Side::Server), drain, programs)?;
    let outbound = Direction::Outbound { mesh: pair.outbound.clone(), passthrough: None };
    let client_sidecar = start_sidecar(outbound, server_sidecar, logs.path(Side::Client), drain, programs)?;
    running.server_sidecar = server_sidecar;
    running.client_sidecar = client_sidecar;
    Ok(running)
}

fn start_sidecar(
    direction: Direction,
    endpoint: SocketAddr,
    log: &Path,
    drain: &Drain,
    programs: &mut Programs,
) -> Result<SocketAddr, StartError> {
    let sidecar = Sidecar::bind(sidecar::Config {
        direction,
        listen: ANY_PORT,
        endpoints: endpoint.into(),
        concurrency: 1,
        max_buffered_bytes: sidecar::MAX_BUFFERED_BYTES,
        access_log: access_log::Target::File(log.to_owned()),
        access_log_format: access_log::Format::Json,
        admin: None,
        mutual_tls: None,
        // Nobody drains a pair gracefully: it is ended at once.
        drain_time: Duration::ZERO,
    })?;
    let address = sidecar.local_addr();
    let serving = sidecar.serve(drain.clone());
    programs.spawn(async {
        serving.await;
        Ok(())
    });
    Ok(address)
}

fn start_application(
    application: Application,
    released: &CancellationToken,
    drain: &Drain,
    programs: &mut Programs,
) -> Result<SocketAddr, BindError> {
    match application {
        Application::Echo => {
            let server = Server::bind(server::Config::new(ANY_PORT))?;
            let address = server.local_addr();
            let drain = drain.clone();
            programs.spawn(async move { server.serve(drain).await.map_err(std::io::Error::other) });
            Ok(address)
        }
        Application::HeldEcho => {
            let echo = HeldEcho::bind(ANY_PORT, released.clone())?;
            let address = echo.local_addr();
            programs.spawn(echo.serve(drain.clone()));
            Ok(address)
        }
    }
}

/// Starts an application alone, which is dialled without any sidecar.
pub(in crate::verify) fn without_sidecars(application: Application) -> Result<RunningPair, BindError> {
    let (released, drain, mut programs) = (CancellationToken::new(), Drain::new(), JoinSet::new());
    let address = start_application(application, &released, &drain, &mut programs)?;
    Ok(RunningPair {
        client_sidecar: address,
        server_sidecar: address,
        application: address,
        envoys: None,
        released,
        drain,
        programs,
    })
}
