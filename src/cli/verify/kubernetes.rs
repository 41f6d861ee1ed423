//! The options of `websockets-cli verify --kubernetes`, which a program without the feature
//! `kubernetes` has too, so that it can say what is missing. The module `cluster` acts on them.

use crate::cli::cluster;

/// The options, and what they are for.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent options of a command line")]
#[command(next_help_heading = "A mesh in a cluster")]
#[group(id = "cluster")]
#[command(group = clap::ArgGroup::new("change").multiple(true))]
pub(super) struct Args {
    /// Verify the mesh in a Kubernetes cluster: sessions from the client's pod, judged by both
    /// istio-proxy logs.
    ///
    /// The Service and the Deployments are those that -f would take, with the documents that are in
    /// the cluster; documents that -f names have to be there. Nothing in the cluster is changed
    /// without --apply.
    #[arg(long, group = "documents", conflicts_with_all = ["envoy", "compare", "mesh_config"])]
    kubernetes: bool,

    #[command(flatten)]
    pub(super) cluster: cluster::Args,

    /// The namespace of what names none. [default: the context's]
    #[arg(short, long, value_name = "NAME", requires = "kubernetes")]
    pub(super) namespace: Option<String>,

    /// Apply the documents first, by server-side apply as the field manager websockets-cli.
    #[arg(long, group = "change", requires_all = ["kubernetes", "filename"])]
    pub(super) apply: bool,

    /// With --apply, take over fields that another manager has set to another value.
    #[arg(long, requires = "apply")]
    pub(super) force_conflicts: bool,

    /// Take back just what --apply did: afterwards if it is given too, else instead of verifying.
    #[arg(long, group = "change", requires_all = ["kubernetes", "filename"])]
    pub(super) cleanup: bool,

    /// Only show what --apply and --cleanup would do.
    #[arg(long, requires = "change")]
    pub(super) dry_run: bool,

    /// How long pods and the policy are awaited, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, requires = "kubernetes")]
    pub(super) timeout: u64,
}

impl Args {
    /// Whether a cluster is meant at all.
    pub(super) fn is_asked_for(&self) -> bool {
        self.kubernetes
    }
}
