//! `websockets-cli verify --kubernetes`: a run, and what comes before and after it.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::play::played;
use super::reports::Reports;
use super::signals::{block_on, until_signal};
use super::{NoVerdict, exit, kubernetes};
use crate::escape::escape_line;
use crate::mesh::Documents;
use crate::verify::{Change, KubernetesConfig, LiveMesh, Plan, PlanRequest, Targets, VerifyError};

/// What is asked for: a run whose documents are those that the user brought.
pub(super) struct ClusterJob {
    pub(super) request: PlanRequest,
    pub(super) args: kubernetes::Args,
}

/// Prepares the cluster as far as that is asked for, runs what its documents stand for, and cleans
/// up; a signal ends the first two, another one the last.
pub(super) fn run(
    ClusterJob { mut request, args }: ClusterJob,
    reports: Reports,
) -> Result<ExitCode, NoVerdict> {
    block_on(async |mut signals| {
        let cluster = LiveCluster::connect(args, request.documents.take()).await?;
        let verified = async {
            let Some(documents) = cluster.prepare().await? else { return Ok(ExitCode::from(exit::OK)) };
            let targets = Targets::Kubernetes(cluster.mesh());
            let plan = Plan::new(PlanRequest { documents: Some(documents), targets, ..request })?;
            played(plan, reports).await.map(exit::verdict)
        };
        let verified = until_signal(&mut signals, verified).await;
        let status = verified.unwrap_or_else(|failure| failure.report());
        // Whatever came of it: what was applied is taken back.
        let cleaned = async {
            cluster.clean_up().await?;
            Ok(status)
        };
        until_signal(&mut signals, cleaned).await
    })
}

/// A cluster, and what is to be done with it.
struct LiveCluster {
    mesh: Arc<LiveMesh>,
    args: kubernetes::Args,
    brought: Option<Documents>,
}

impl LiveCluster {
    /// Finds the cluster, for these documents of the user's.
    async fn connect(args: kubernetes::Args, brought: Option<Documents>) -> Result<Self, VerifyError> {
        let config = KubernetesConfig {
            cluster: args.cluster.choice(),
            namespace: args.namespace.clone(),
            timeout: Duration::from_secs(args.timeout),
        };
        let mesh = Arc::new(LiveMesh::connect(&config).await?);
        Ok(Self { mesh, args, brought })
    }

    /// Whether sessions are to be played.
    fn is_to_be_verified(&self) -> bool {
        !self.args.dry_run && (self.args.apply || !self.args.cleanup)
    }

    /// The mesh, for a run.
    fn mesh(&self) -> Arc<LiveMesh> {
        Arc::clone(&self.mesh)
    }

    /// Applies what is to be applied; returns the documents that are in force then.
    async fn prepare(&self) -> Result<Option<Documents>, VerifyError> {
        if let (true, Some(documents)) = (self.args.apply, &self.brought) {
            let changes = self.mesh.apply(documents, self.args.force_conflicts, self.args.dry_run).await?;
            self.tell(&changes);
        }
        if !self.is_to_be_verified() {
            return Ok(None);
        }
        Ok(Some(self.mesh.documents(self.brought.as_ref()).await?))
    }

    /// Takes back what is to be taken back.
    async fn clean_up(&self) -> Result<(), VerifyError> {
        if let (true, Some(documents)) = (self.args.cleanup, &self.brought) {
            let changes = self.mesh.clean_up(documents, self.args.dry_run).await?;
            self.tell(&changes);
        }
        Ok(())
    }

    /// Says what was done; where nothing else is asked for, that is the data.
    fn tell(&self, changes: &[Change]) {
        let would = if self.args.dry_run { " (dry run)" } else { "" };
        for Change { title, kind } in changes {
            let line = escape_line(&format!("{title} {kind}{would}")).into_owned();
            // A closed output does not keep the cluster from being prepared.
            let _ = if self.is_to_be_verified() {
                writeln!(io::stderr(), "{line}")
            } else {
                writeln!(io::stdout(), "{line}")
            };
        }
    }
}
