//! `websockets-cli verify --kubernetes`: its options, and what comes before and after the run.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::escape::escape_line;
use crate::mesh::Documents;
use crate::verify::{Change, KubernetesConfig, LiveMesh, VerifyError};

/// The options, and what they are for.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent options of a command line")]
#[command(next_help_heading = "A mesh in a cluster")]
#[group(id = "cluster")]
#[command(group = clap::ArgGroup::new("change").multiple(true))]
pub(super) struct Args {
    /// Verify the mesh in a Kubernetes cluster: sessions from the client's pod, judged by both istio-proxy logs.
    ///
    /// The Service and the Deployments are those that -f would take, with the documents that are in the cluster; documents
    /// that -f names have to be there. Nothing in the cluster is changed without --apply.
    #[arg(long, group = "documents", conflicts_with_all = ["envoy", "compare", "mesh_config"])]
    kubernetes: bool,

    /// The context in the kubeconfig.
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    context: Option<String>,

    /// The kubeconfig. [default: $KUBECONFIG, else ~/.kube/config, in a pod its service account]
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    kubeconfig: Option<PathBuf>,

    /// The namespace of what names none. [default: the context's]
    #[arg(short, long, value_name = "NAME", requires = "kubernetes")]
    namespace: Option<String>,

    /// Apply the documents first, by server-side apply as the field manager websockets-cli.
    #[arg(long, group = "change", requires_all = ["kubernetes", "filename"])]
    apply: bool,

    /// With --apply, take over fields that another manager has set to another value.
    #[arg(long, requires = "apply")]
    force_conflicts: bool,

    /// Take back just what --apply did: afterwards if it is given too, else instead of verifying.
    #[arg(long, group = "change", requires_all = ["kubernetes", "filename"])]
    cleanup: bool,

    /// Only show what --apply and --cleanup would do.
    #[arg(long, requires = "change")]
    dry_run: bool,

    /// How long pods and the policy are awaited, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, requires = "kubernetes")]
    timeout: u64,
}

/// A cluster, and what is to be done with it.
pub(super) struct Kubernetes {
    mesh: Arc<LiveMesh>,
    args: Args,
    brought: Option<Documents>,
}

impl Args {
    /// Whether a cluster is meant at all.
    pub(super) fn is_asked_for(&self) -> bool {
        self.kubernetes
    }

    /// Finds the cluster, for these documents of the user's.
    pub(super) async fn connect(self, brought: Option<Documents>) -> Result<Kubernetes, VerifyError> {
        let config = KubernetesConfig {
            context: self.context.clone(),
            kubeconfig: self.kubeconfig.clone(),
            namespace: self.namespace.clone(),
            timeout: Duration::from_secs(self.timeout),
        };
        let mesh = Arc::new(LiveMesh::connect(&config).await?);
        Ok(Kubernetes { mesh, args: self, brought })
    }
}

impl Kubernetes {
    /// Whether sessions are to be played.
    pub(super) fn is_to_be_verified(&self) -> bool {
        !self.args.dry_run && (self.args.apply || !self.args.cleanup)
    }

    /// The mesh.
    pub(super) fn mesh(&self) -> Arc<LiveMesh> {
        Arc::clone(&self.mesh)
    }

    /// Applies what is to be applied; returns the documents that are in force then.
    pub(super) async fn prepare(&self) -> Result<Option<Documents>, VerifyError> {
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
    pub(super) async fn clean_up(&self) -> Result<(), VerifyError> {
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
