//! Why `lint` judges nothing, with what may be done about it.

#[cfg(not(feature = "kubernetes"))]
use crate::cli::cluster;
use crate::cli::levels::LevelsError;
#[cfg(feature = "kubernetes")]
use crate::kubernetes::ReadError;
use crate::mesh::MeshError;

/// Why nothing was judged.
#[derive(Debug, thiserror::Error)]
pub(super) enum LintError {
    /// The documents or dumps cannot be read.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The levels of findings cannot be told.
    #[error(transparent)]
    Levels(#[from] LevelsError),
    /// An option is about a cluster, and none is asked.
    #[error("{0} is about a cluster: it goes with --kubernetes")]
    OfNoCluster(&'static str),
    /// The cluster cannot be read.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Cluster(#[from] ReadError),
    /// The program cannot ask a cluster anything.
    #[cfg(not(feature = "kubernetes"))]
    #[error("lint --kubernetes: {}", cluster::NOT_BUILT_IN)]
    WithoutKubernetes,
}

impl LintError {
    /// What may be done about it.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Mesh(_) | Self::Levels(_) | Self::OfNoCluster(_) => None,
            #[cfg(feature = "kubernetes")]
            Self::Cluster(error) => error.hint(),
            #[cfg(not(feature = "kubernetes"))]
            Self::WithoutKubernetes => Some(cluster::BUILD_IT_IN),
        }
    }
}
