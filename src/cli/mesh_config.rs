//! `--mesh-config FILE`, of `sidecar` and of `verify`: what the mesh does where no document says
//! otherwise.

use std::path::Path;

use crate::mesh::{MeshDefaults, MeshError};

/// Reads the file, if one is named, and warns of each setting in it that has no effect here.
pub(super) fn load(file: Option<&Path>) -> Result<MeshDefaults, MeshError> {
    let Some(file) = file else { return Ok(MeshDefaults::default()) };
    let (defaults, warnings) = MeshDefaults::load(file)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(defaults)
}
