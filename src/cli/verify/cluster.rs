//! What comes before and after a run of `websockets-cli verify --kubernetes`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::kubernetes;
use super::{Args, exit, failed, until_signal, verify};
use crate::drain::EndSignals;
use crate::escape::escape_line;
use crate::mesh::{Documents, MeshDefaults};
use crate::verify::report::Reporter;
use crate::verify::{Change, KubernetesConfig, LiveMesh, Plan, Request, Targets, VerifyError};

/// Prepares the cluster as far as that is asked for, runs what its documents stand for, and cleans up; a signal ends the
/// first two, another one the last.
pub(super) async fn run(
    args: Args,
    brought: Option<Documents>,
    reporters: Vec<Box<dyn Reporter>>,
    signals: &mut EndSignals,
) -> ExitCode {
    let Args { scenarios, scenario_root, service, client_workload, keep, kubernetes, .. } = args;
    let cluster = match Cluster::connect(kubernetes, brought).await {
        Ok(cluster) => cluster,
        Err(error) => return failed(&error),
    };
    let verified = async {
        let Some(documents) = cluster.prepare().await? else { return Ok(ExitCode::from(exit::OK)) };
        let targets = Targets::Kubernetes(cluster.mesh());
        let (documents, mesh) = (Some(documents), MeshDefaults::default());
        let request =
            Request { scenarios, scenario_root, documents, mesh, service, client_workload, keep, targets };
        Ok(verify(Plan::new(request)?, reporters).await)
    };
    let verified = async { verified.await.unwrap_or_else(|error: VerifyError| failed(&error)) };
    let status = until_signal(signals, verified).await;
    // Whatever came of it: what was applied is taken back.
    let cleaned = async {
        match cluster.clean_up().await {
            Ok(()) => status,
            Err(error) => failed(&error),
        }
    };
    until_signal(signals, cleaned).await
}

/// A cluster, and what is to be done with it.
struct Cluster {
    mesh: Arc<LiveMesh>,
    args: kubernetes::Args,
    brought: Option<Documents>,
}

impl Cluster {
    /// Finds the cluster, for these documents of the user's.
    async fn connect(args: kubernetes::Args, brought: Option<Documents>) -> Result<Self, VerifyError> {
        let config = KubernetesConfig {
            context: args.context.clone(),
            kubeconfig: args.kubeconfig.clone(),
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

    /// The mesh.
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
            // Who does not listen any more does not want to know.
            let _ = if self.is_to_be_verified() {
                writeln!(io::stderr(), "{line}")
            } else {
                writeln!(io::stdout(), "{line}")
            };
        }
    }
}
