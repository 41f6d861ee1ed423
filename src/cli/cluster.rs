//! The options by which `verify --kubernetes` and `lint --kubernetes` are told which cluster is
//! meant. A program without the feature `kubernetes` has them too, so that it can say what is
//! missing.

use std::path::PathBuf;

#[cfg(feature = "kubernetes")]
use crate::kubernetes::ClusterChoice;

/// Why a program without the feature does not ask a cluster.
#[cfg(not(feature = "kubernetes"))]
pub(super) const NOT_BUILT_IN: &str = "this program was built without the feature kubernetes";

/// What to do about it.
#[cfg(not(feature = "kubernetes"))]
pub(super) const BUILD_IT_IN: &str =
    "build it with its default features: cargo build --release, without --no-default-features";

/// Which cluster, as kubectl is told.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// The context in the kubeconfig.
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    context: Option<String>,

    /// The kubeconfig. [default: $KUBECONFIG, else ~/.kube/config, in a pod its service account]
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    kubeconfig: Option<PathBuf>,
}

impl Args {
    /// The first of the options that was given.
    pub(super) fn named(&self) -> Option<&'static str> {
        let context = self.context.as_ref().map(|_| "--context");
        context.or_else(|| self.kubeconfig.as_ref().map(|_| "--kubeconfig"))
    }

    #[cfg(feature = "kubernetes")]
    pub(super) fn choice(&self) -> ClusterChoice {
        ClusterChoice { context: self.context.clone(), kubeconfig: self.kubeconfig.clone() }
    }
}
