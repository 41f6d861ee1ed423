//! `websockets-cli sidecar outbound|inbound|gateway`.

mod hand_over;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{duration, exit, istio_version, mesh_config};
use crate::access_log::{Format, Target};
use crate::drain::{Drain, EndSignals};
use crate::mesh::{
    self, Documents, GatewayQuery, InboundQuery, MeshDefaults, MeshError, OutboundQuery,
    OutboundTrafficPolicy, Source, Workload,
};
use crate::net;
use crate::sidecar::{Config, Direction, Endpoints, MAX_BUFFERED_BYTES, Sidecar, StartError};
use crate::signals::Survived;
use crate::tls::{MutualTls, PemFiles};

/// Runs one Envoy-like proxy: a sidecar of a pair, or a gateway.
///
/// It takes its configuration from the very documents that a cluster takes, turns WebSocket
/// upgrades into extended CONNECT and back (RFC 8441) where they say so, and writes Istio's access
/// log.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    direction: DirectionArgs,
}

#[derive(Debug, clap::Subcommand)]
enum DirectionArgs {
    /// The client's sidecar: what the application dials
    Outbound(OutboundArgs),
    /// The server's sidecar: what stands before the application
    Inbound(InboundArgs),
    /// The gateway at the edge of the mesh: what clients outside dial
    Gateway(GatewayArgs),
}

#[derive(Debug, clap::Args)]
struct OutboundArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    common: CommonArgs,
    /// The original destination that `PassthroughCluster` stands for; without it such a request
    /// gets 503 `UH`
    #[arg(long, value_name = "ADDR")]
    passthrough: Option<SocketAddr>,
    /// What a request to a host of no Service meets
    #[arg(long, value_name = "MODE", default_value = "ALLOW_ANY")]
    outbound_traffic_policy: PolicyArg,
}

#[derive(Debug, clap::Args)]
struct InboundArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    common: CommonArgs,
    /// The source address towards the application; where it cannot be bound the system chooses
    #[arg(long, value_name = "IP", default_value = "127.0.0.6")]
    bind_source: IpAddr,
    /// Adds a `sec-websocket-key` to an extended CONNECT for a WebSocket that has none, as a
    /// browser's has none
    ///
    /// An application behind it that speaks HTTP/1.1 needs one. Its `sec-websocket-accept` is
    /// checked and not passed on; a wrong or missing one is answered with 502 and logged as `UPE`.
    /// Without this option the request is passed on as it is, as Envoy does.
    #[arg(long)]
    mint_websocket_key: bool,
}

#[derive(Debug, clap::Args)]
struct GatewayArgs {
    /// Where the servers of the Gateways with this `port.number` accept connections; repeatable
    ///
    /// PORT= may be left out where all servers have one number. Servers with a number that is not named
    /// are not opened.
    #[arg(long, value_name = "[PORT=]ADDR", required = true, value_parser = numbered_address)]
    listen: Vec<(Option<u16>, SocketAddr)>,
    /// Where the host of a cluster is, by Envoy's name of it (`outbound|8080||HOST`); without a name,
    /// of every other cluster; repeatable
    #[arg(long, value_name = "[CLUSTER=]ADDR", required = true, value_parser = endpoint)]
    endpoint: Vec<(Option<String>, SocketAddr)>,
    #[command(flatten)]
    common: CommonArgs,
    /// Adds a `sec-websocket-key` to an extended CONNECT for a WebSocket that has none, as a
    /// browser's has none, where the hop is HTTP/1.1
    ///
    /// Its `sec-websocket-accept` is checked and not passed on; a wrong or missing one is answered
    /// with 502 and logged as `UPE`. Without this option the request is passed on as it is, as Envoy
    /// does.
    #[arg(long)]
    mint_websocket_key: bool,
}

/// Where a sidecar is, and what is behind it.
#[derive(Debug, clap::Args)]
struct PlaceArgs {
    /// Where to accept connections; port 0 lets the system choose
    ///
    /// outbound: stands for the Service's address and port; inbound: for the pod's address and
    /// target port.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Where the one upstream host is
    ///
    /// outbound: the server's sidecar; inbound: the application.
    #[arg(long, value_name = "ADDR")]
    endpoint: SocketAddr,
}

#[derive(Debug, clap::Args)]
struct CommonArgs {
    /// Kubernetes and Istio documents: a YAML file, a folder of them, or `-`; repeatable
    /// [default: the guide's own]
    #[arg(short, long, value_name = "PATH")]
    filename: Vec<PathBuf>,
    /// The mesh's own configuration: Istio's `MeshConfig`, or the `ConfigMap`, `IstioOperator`, `Istio` or
    /// Helm values that hold it [default: what of these is among the documents]
    ///
    /// Its `h2UpgradePolicy` applies where no DestinationRule says anything else; it decides in a
    /// client's sidecar alone.
    #[arg(long, value_name = "FILE")]
    mesh_config: Option<PathBuf>,
    /// The Deployment whose pod this proxy belongs to: gives namespace and labels, for workload
    /// selectors
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// The Istio version that an `EnvoyFilter`'s `proxyVersion` is matched against
    #[arg(long, value_name = "VERSION", default_value = mesh::ISTIO_VERSION, value_parser = istio_version::parse)]
    istio_version: String,
    /// Where a line a session is appended to; `-` is standard output
    #[arg(long, value_name = "PATH", default_value = "-")]
    access_log: PathBuf,
    /// Which of Istio's default formats the lines have
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    access_log_format: FormatArg,
    #[command(flatten)]
    mutual_tls: Option<MutualTlsArgs>,
    /// Where to serve Envoy's admin endpoints; `/help` there lists them [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Worker threads, each with its own listener socket, runtime and upstream connections
    /// [default: the cores]
    #[arg(long, value_name = "N")]
    concurrency: Option<NonZeroUsize>,
    /// How long a graceful drain takes before the listener closes
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    drain_time: Duration,
}

/// All three or none.
#[derive(Debug, clap::Args)]
struct MutualTlsArgs {
    /// Turns on mutual TLS on the hop between the sidecars: this workload's certificate, a PEM file
    ///
    /// A peer's certificate must come from the CA and have a `spiffe://cluster.local/…` URI.
    #[arg(long = "mtls-cert", value_name = "FILE", requires_all = ["key", "ca"], required = false)]
    certificate: PathBuf,
    /// Its private key, a PEM file
    #[arg(long = "mtls-key", value_name = "FILE", requires_all = ["certificate", "ca"], required = false)]
    key: PathBuf,
    /// The CA's certificates, a PEM file
    #[arg(long = "mtls-ca", value_name = "FILE", requires_all = ["certificate", "key"], required = false)]
    ca: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FormatArg {
    Json,
    Text,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum PolicyArg {
    #[value(name = "ALLOW_ANY")]
    AllowAny,
    #[value(name = "REGISTRY_ONLY")]
    RegistryOnly,
    #[value(name = "NONE")]
    None,
}

/// `PORT=ADDR`, or `ADDR` alone.
fn numbered_address(written: &str) -> Result<(Option<u16>, SocketAddr), String> {
    let (number, address) = match written.split_once('=') {
        Some((number, address)) => (Some(number), address),
        None => (None, written),
    };
    let number = number.map(|number| {
        let wrong = |_| format!("expected a port number before =, found {number:?}");
        number.parse().map_err(wrong)
    });
    Ok((number.transpose()?, socket_address(address)?))
}

/// `CLUSTER=ADDR`, or `ADDR` alone.
fn endpoint(written: &str) -> Result<(Option<String>, SocketAddr), String> {
    match written.rsplit_once('=') {
        Some((cluster, address)) => Ok((Some(cluster.to_owned()), socket_address(address)?)),
        None => Ok((None, socket_address(written)?)),
    }
}

fn socket_address(written: &str) -> Result<SocketAddr, String> {
    written
        .parse()
        .map_err(|_| format!("expected an address with a port, such as 127.0.0.1:8080, found {written:?}"))
}

/// What names standard output where a file is named.
const STANDARD_OUTPUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

impl Args {
    /// Whether the access log is written to standard output.
    pub(super) fn writes_data(&self) -> bool {
        let (DirectionArgs::Outbound(OutboundArgs { common, .. })
        | DirectionArgs::Inbound(InboundArgs { common, .. })
        | DirectionArgs::Gateway(GatewayArgs { common, .. })) = &self.direction;
        STANDARD_OUTPUT.iter().any(|name| common.access_log.as_os_str() == *name)
    }
}

pub(super) fn run(args: Args) -> ExitCode {
    let prepared = match args.direction {
        DirectionArgs::Outbound(args) => args.common.documents().and_then(|found| {
            let direction = outbound(&args, &found)?;
            Ok((args.common, direction, args.place.listen, args.place.endpoint.into()))
        }),
        DirectionArgs::Inbound(args) => args.common.documents().and_then(|found| {
            let direction = inbound(&args, &found)?;
            Ok((args.common, direction, args.place.listen, args.place.endpoint.into()))
        }),
        DirectionArgs::Gateway(args) => args.common.documents().and_then(|found| {
            let direction = gateway(&args, &found)?;
            let (listen, endpoints) = (args.listen[0].1, endpoints(args.endpoint)?);
            Ok((args.common, direction, listen, endpoints))
        }),
    };
    match prepared {
        Ok((common, direction, listen, endpoints)) => start(common, direction, listen, endpoints),
        Err(error) => exit::report(&error, None, exit::USAGE),
    }
}

/// The endpoints of clusters, each named once.
fn endpoints(written: Vec<(Option<String>, SocketAddr)>) -> Result<Endpoints, MeshError> {
    let mut endpoints = Endpoints::default();
    for (cluster, address) in written {
        let former = match &cluster {
            Some(cluster) => endpoints.named.insert(cluster.clone(), address),
            None => endpoints.other.replace(address),
        };
        if former.is_some() {
            let of = cluster.map_or("without a name".to_owned(), |cluster| format!("for {cluster}"));
            return Err(MeshError::Underivable(format!("--endpoint is given twice {of}")));
        }
    }
    Ok(endpoints)
}

/// The documents, the workload that is in them, and what the mesh does where they are silent.
struct Found {
    documents: Documents,
    mesh: MeshDefaults,
    workload: Option<Workload>,
}

impl CommonArgs {
    fn documents(&self) -> Result<Found, MeshError> {
        let documents = if self.filename.is_empty() {
            Documents::builtin()
        } else {
            let sources: Vec<Source> = self.filename.iter().cloned().map(Source::from).collect();
            Documents::load(&sources)?
        };
        // In a server's sidecar nothing comes of it, but a wrong file is as wrong there.
        let (given, left_out) = mesh_config::load(self.mesh_config.as_deref())?;
        let differ = documents.contradicting_mesh().filter(|_| given.is_none());
        for warning in documents.warnings().iter().chain(&left_out).chain(&differ) {
            tracing::warn!("{warning}");
        }
        let workload = self.workload.as_deref().map(|name| documents.workload(name)).transpose()?;
        let mesh = documents.mesh(given.as_ref());
        Ok(Found { documents, mesh, workload })
    }
}

fn outbound(args: &OutboundArgs, found: &Found) -> Result<Direction, MeshError> {
    let policy = match args.outbound_traffic_policy {
        PolicyArg::AllowAny => OutboundTrafficPolicy::AllowAny,
        PolicyArg::RegistryOnly => OutboundTrafficPolicy::RegistryOnly,
        PolicyArg::None => OutboundTrafficPolicy::None,
    };
    let query = OutboundQuery {
        workload: found.workload.as_ref(),
        listen: args.place.listen,
        policy,
        istio_version: &args.common.istio_version,
        mesh: &found.mesh,
    };
    let mesh = mesh::outbound(&found.documents, &query)?;
    Ok(Direction::Outbound { mesh, passthrough: args.passthrough })
}

fn inbound(args: &InboundArgs, found: &Found) -> Result<Direction, MeshError> {
    let query = InboundQuery {
        workload: found.workload.as_ref(),
        port: None,
        istio_version: &args.common.istio_version,
    };
    let mesh = mesh::inbound(&found.documents, &query)?;
    Ok(Direction::Inbound {
        mesh,
        bind_source: Some(args.bind_source),
        mint_websocket_key: args.mint_websocket_key,
    })
}

fn gateway(args: &GatewayArgs, found: &Found) -> Result<Direction, MeshError> {
    let query = GatewayQuery {
        workload: found.workload.as_ref(),
        listen: &args.listen,
        istio_version: &args.common.istio_version,
        mesh: &found.mesh,
    };
    let (mesh, warnings) = mesh::gateway(&found.documents, &query)?;
    for warning in found.documents.gateway_warnings().iter().chain(&warnings) {
        tracing::warn!("{warning}");
    }
    Ok(Direction::Gateway { mesh, mint_websocket_key: args.mint_websocket_key })
}

/// A sidecar of which everything is known that the command line and the documents say.
#[derive(Serialize, Deserialize)]
pub(super) struct Prepared {
    config: Config,
    mutual_tls: Option<PemFiles>,
}

fn start(args: CommonArgs, direction: Direction, listen: SocketAddr, endpoints: Endpoints) -> ExitCode {
    let mutual_tls = args.mutual_tls.map(|files| PemFiles {
        certificate: files.certificate,
        key: files.key,
        ca: files.ca,
    });
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let config = Config {
        direction,
        listen,
        endpoints,
        concurrency: args.concurrency.unwrap_or(cores).get(),
        access_log: if args.access_log.as_os_str() == "-" {
            Target::Stdout
        } else {
            Target::File(args.access_log)
        },
        access_log_format: match args.access_log_format {
            FormatArg::Json => Format::Json,
            FormatArg::Text => Format::Text,
        },
        mutual_tls: None,
        admin: args.admin,
        drain_time: args.drain_time,
        max_buffered_bytes: MAX_BUFFERED_BYTES,
    };
    let prepared = Prepared { config, mutual_tls };
    let error = hand_over::to_new_image(&prepared);
    tracing::debug!("not started anew: {error}");
    run_prepared(prepared)
}

/// What another image of the program has prepared in this process, if it has.
pub(super) fn prepared() -> Option<Prepared> {
    hand_over::from_old_image()
}

/// Runs the sidecar.
pub(super) fn run_prepared(Prepared { mut config, mutual_tls }: Prepared) -> ExitCode {
    net::raise_open_file_limit();
    config.mutual_tls = match mutual_tls.as_ref().map(MutualTls::load).transpose() {
        Ok(mutual_tls) => mutual_tls,
        Err(error) => return exit::report(&error, None, exit::USAGE),
    };
    let sidecar = match Sidecar::bind(config) {
        Ok(sidecar) => sidecar,
        Err(error) => return exit::report(&error, Some(hint(&error)), exit::USAGE),
    };
    match serve(sidecar) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => exit::report(&error, None, exit::FAILED),
    }
}

/// Serves until SIGTERM or SIGINT, which end it at once, as they end Envoy. SIGUSR1 has the access
/// log opened again, and SIGHUP is ignored.
#[tokio::main(flavor = "current_thread")]
async fn serve(sidecar: Sidecar) -> std::io::Result<()> {
    let mut signals = EndSignals::install()?;
    let mut survived = Survived::install()?;
    let (drain, access_log) = (Drain::new(), sidecar.access_log());
    // Written whole, so that two programs with one standard error do not mix their lines.
    let admin = sidecar.admin_addr().map(|address| format!("admin listening on {address}\n"));
    let listening = sidecar.local_addrs().iter().map(|address| format!("listening on {address}\n"));
    let ready = listening.chain(admin).collect::<String>();
    std::io::stderr().write_all(ready.as_bytes())?;
    let mut serving = std::pin::pin!(sidecar.serve(drain.clone()));
    loop {
        tokio::select! {
            () = &mut serving => return Ok(()),
            () = survived.user_defined1() => access_log.reopen(),
            _ = signals.next() => {
                drain.graceful.cancel();
                drain.forced.cancel();
            }
        }
    }
}

fn hint(error: &StartError) -> &'static str {
    match error {
        StartError::Bind(error) if error.source.kind() == std::io::ErrorKind::AddrInUse => {
            "something else listens there; choose another port, or 0 for any free one"
        }
        StartError::Bind(_) => "give --listen and --admin addresses of this machine",
        StartError::Credentials(_) => "give the Gateway a certificate and its key in PEM",
        StartError::AccessLog(_) => "give --access-log a file that can be written, or - for standard output",
    }
}
