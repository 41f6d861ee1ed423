//! `--mesh-config FILE`, of `sidecar`, `lint` and `verify`: what the mesh does where no document
//! says otherwise.

use std::path::Path;

use crate::mesh::{MeshDefaults, MeshError, Warning};

/// Reads the file, if one is named; with it comes a warning of each setting in it that has no
/// effect here.
pub(super) fn load(file: Option<&Path>) -> Result<(Option<MeshDefaults>, Vec<Warning>), MeshError> {
    let Some(file) = file else { return Ok(Default::default()) };
    MeshDefaults::load(file).map(|(mesh, warnings)| (Some(mesh), warnings))
}
