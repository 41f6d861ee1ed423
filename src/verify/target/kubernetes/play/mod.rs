//! One case in a live mesh: its sessions from the client's pod, the lines that both sidecars wrote
//! of them, and what of the scenario's expectations a mesh with several pods, workers and mutual
//! TLS does not have to meet.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::lines::{OurLines, Ours, pick};
use super::session::{self, ExecSession, Program, beyond};
use super::{INTERVAL, KubernetesError, LiveMesh, MeshEnds};
use crate::access_log::{BySide, LineFormat, ParsedLine};
use crate::verify::driver::{Dialer, StepFailure, drive};
use crate::verify::expect::{Across, FieldRef, Side};
use crate::verify::judge::{CaseVerdict, Check, Subject, judge};
use crate::verify::pair::PairConfig;
use crate::verify::plan::PlannedCase;
use crate::verify::played::{Played, RunLogs};
use crate::verify::scenario::{Case, Connect, Request};
use crate::verify::template::{Fact, Facts};
use crate::yaml::Placed;

/// How long lines are awaited after the last session: Envoy writes its log every second, and the
/// kubelet passes it on.
const LINES_LIMIT: Duration = Duration::from_secs(15);

/// What opens sessions from the client's pod.
struct Remote<'a> {
    mesh: &'a LiveMesh,
    ends: &'a MeshEnds,
    pair: &'a PairConfig,
    program: Program,
    /// The request ids given so far.
    request_ids: RefCell<HashSet<String>>,
    /// The lines of the client's sidecar from before.
    before: HashSet<String>,
    /// Of both sidecars: Istio's JSON or TEXT.
    format: LineFormat,
}

impl LiveMesh {
    /// Plays a case and judges it; `lines` is told what the sidecars wrote.
    pub(in crate::verify) async fn judge(
        &self,
        planned: &PlannedCase,
        keep: impl FnOnce(&str, &str) -> std::io::Result<()>,
    ) -> Result<CaseVerdict, KubernetesError> {
        let _turn = self.turn.lock().await;
        let started = Instant::now();
        let PlannedCase { case, pair } = planned;
        let ends = self.ready(pair).await?;
        let program = Program::find(&self.cluster, &ends.client).await?;
        let mut remote = Remote {
            mesh: self,
            ends: &ends,
            pair,
            program,
            request_ids: RefCell::default(),
            before: HashSet::new(),
            format: LineFormat::default(),
        };
        remote.before = remote.client_log().await?.lines().map(str::to_owned).collect();
        let endings = drive(case, &remote).await;
        let lines = remote.await_lines(case).await?;
        let text =
            |lines: &[ParsedLine]| lines.iter().flat_map(|line| [line.text(), "\n"]).collect::<String>();
        keep(&text(&lines.client), &text(&lines.server))
            .map_err(|error| KubernetesError::Documents(error.to_string()))?;
        let logs = RunLogs::of(lines);
        let pods = pods_that_served(&logs);
        let connections = connections(case, ends.workers * pods.len().max(1), &logs);
        let played = Played { facts: facts(pair, &pods), endings, logs, elapsed: started.elapsed() };
        let mut verdict = judge(&in_a_mesh(case, program), &played);
        verdict.checks.extend(connections);
        Ok(verdict)
    }
}

impl Remote<'_> {
    async fn client_log(&self) -> Result<String, KubernetesError> {
        self.mesh.cluster.sidecar_log(&self.ends.client.name, &self.ends.client.namespace).await
    }

    /// The lines of our sessions by now.
    async fn lines(&self) -> Result<OurLines, KubernetesError> {
        let client = self.client_log().await?;
        let mut servers = Vec::new();
        for pod in &self.ends.servers {
            servers.push(self.mesh.cluster.sidecar_log(&pod.name, &pod.namespace).await?);
        }
        let request_ids = self.request_ids.borrow().clone();
        let ours = match self.program {
            Program::WebsocketsCli => Ours::RequestIds(&request_ids),
            Program::Python => Ours::Since { before: &self.before, authority: &self.pair.logged_authority },
        };
        Ok(pick(&ours, &self.format, &client, servers.iter().map(String::as_str)))
    }

    /// Waits for as many lines at both sidecars, or for long enough.
    async fn await_lines(&self, case: &Case) -> Result<BySide<Vec<ParsedLine>>, KubernetesError> {
        let deadline = Instant::now() + LINES_LIMIT;
        loop {
            let OurLines { lines, unreadable } = self.lines().await?;
            if let Some(line) = unreadable {
                return Err(KubernetesError::LogFormat { pod: self.ends.client.name.clone(), line });
            }
            let complete = Side::BOTH.into_iter().all(|side| lines[side].len() >= case.line_count(side));
            if complete || Instant::now() >= deadline {
                return Ok(lines);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

impl Dialer for Remote<'_> {
    type DrivenSession = ExecSession;

    async fn connect(&self, connect: &Connect) -> Result<Option<ExecSession>, StepFailure> {
        let Connect { path, status, host, headers, subprotocols, .. } = connect;
        if host.is_some() || !subprotocols.is_empty() || headers.0.iter().next().is_some() {
            return Err(beyond("connect", "a host, a field or a subprotocol"));
        }
        let request_id = uuid::Uuid::new_v4().to_string();
        self.request_ids.borrow_mut().insert(request_id.clone());
        let uri = format!("ws://{}{path}", self.pair.authority);
        session::connect((&self.mesh.cluster, &self.ends.client, self.program), &uri, &request_id, *status)
            .await
    }

    async fn request(&self, _request: &Request) -> Result<(), StepFailure> {
        Err(beyond("request", "a plain request"))
    }

    /// The application in the cluster holds nothing back.
    fn release(&self) {}

    async fn logged(&self, side: Side) -> Result<usize, String> {
        let ours = self.lines().await.map_err(|error| error.to_string())?;
        Ok(ours.lines[side].len())
    }
}

/// The pods that served, by what the client's sidecar says.
fn pods_that_served(logs: &RunLogs) -> BTreeSet<SocketAddr> {
    let hosts = logs.lines(Side::Client).filter_map(|line| line.text_of("upstream_host"));
    hosts.filter_map(|host| host.parse().ok()).collect()
}

fn facts(pair: &PairConfig, pods: &BTreeSet<SocketAddr>) -> Facts {
    let pod = match (pods.first(), pods.len()) {
        (Some(pod), 1) => (*pod).into(),
        // Of several none is the one.
        _ => Fact::Unknown,
    };
    let service = pair.service.cluster_ip().map(|address| SocketAddr::new(address, pair.port));
    // A headless Service has no address of its own.
    let service = service.map_or(Fact::Unknown, Fact::from);
    Facts {
        authority: pair.logged_authority.clone().into(),
        path: pair.path.clone().into(),
        route_name: pair.route_name.clone().into(),
        outbound_cluster: pair.outbound_cluster.clone().into(),
        inbound_cluster: pair.inbound_cluster.clone().into(),
        client_sidecar: service,
        server_sidecar: pod.clone(),
        application: pod,
    }
}

/// The expectations that hold in any mesh.
fn in_a_mesh(case: &Case, program: Program) -> Case {
    let mut case = case.clone();
    // With mutual TLS it is the cluster's SNI, without it nothing.
    case.expect.server.remove("requested_server_name");
    // Several workers have connections of their own, which are counted apart.
    case.expect.across.retain(|_, across| across.value != Across::Shared);
    if program == Program::Python {
        // It offers compression, and has a name of its own.
        for expected in [&mut case.expect.client, &mut case.expect.server] {
            for key in ["bytes_received", "bytes_sent", "user_agent"] {
                expected.remove(key);
            }
        }
    }
    case
}

/// Where sessions share their connection: that there are no more connections than workers and pods.
fn connections(case: &Case, at_most: usize, logs: &RunLogs) -> Vec<Check> {
    let shared = case.expect.across.iter().filter(|(_, across)| across.value == Across::Shared);
    let count = |field: &FieldRef| {
        logs.lines(field.side)
            .filter_map(|line| line.text_of(&field.key).map(str::to_owned))
            .collect::<BTreeSet<_>>()
            .len()
    };
    let check = |(field, across): (&FieldRef, &Placed<Across>)| {
        let found = count(field);
        Check {
            subject: Subject::Log(field.side),
            field: field.key.clone(),
            expected: format!("at most {at_most} different, one for each worker and pod"),
            actual: format!("{found} different"),
            holds: (1..=at_most).contains(&found),
            request_id: None,
            line: None,
            explanation: None,
            at: across.line(),
        }
    };
    shared.map(check).collect()
}

#[cfg(test)]
mod tests;
