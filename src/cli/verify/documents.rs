//! Which mesh documents sessions are played by, and where in them the sessions go.

use std::path::PathBuf;

use super::{istio_version, lint, mesh_config};
use crate::mesh::lint::{Circumstances, Finding, Levels};
use crate::mesh::{Documents, ISTIO_VERSION, MeshDefaults, Source, Warning};
use crate::verify::VerifyError;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Mesh documents instead of the built-in ones: YAML files or folders of them, - for standard
    /// input; repeatable.
    ///
    /// Without --scenario, what the documents stand for is run: http2 if they upgrade, else http1,
    /// and the scenarios that do not depend on it. Behind a port that is HTTP/2 to Istio the
    /// application speaks HTTP/2 here, as it has to there. A Service or Deployment that they lack is the
    /// built-in one; a DestinationRule and an EnvoyFilter never are.
    #[arg(short, long, value_name = "PATH", num_args = 1.., group = "documents")]
    filename: Vec<PathBuf>,

    /// The mesh's own configuration: Istio's `MeshConfig`, or the `ConfigMap`, `IstioOperator`, `Istio` or
    /// Helm values that hold it. [default: what of these is among the documents]
    ///
    /// Its h2UpgradePolicy applies where no DestinationRule says anything else.
    #[arg(long, value_name = "FILE", requires = "filename")]
    mesh_config: Option<PathBuf>,

    /// The Istio version that an `EnvoyFilter`'s `proxyVersion` is matched against, in what is found
    /// in documents as in what is played.
    #[arg(long, value_name = "VERSION", default_value = ISTIO_VERSION, value_parser = istio_version::parse)]
    pub(super) istio_version: String,

    /// The Service that the sessions go to, and the port.
    /// [default: the one that the DestinationRule's host names, else websockets-server; its first HTTP port]
    #[arg(long, value_name = "NAME[:PORT]", requires = "documents")]
    pub(super) service: Option<String>,

    /// The path that the built-in scenarios ask for.
    /// [default: / if a route of the documents leads from it to the Service, else the path of the first that does]
    #[arg(long, value_name = "PATH", requires = "documents", value_parser = path)]
    pub(super) path: Option<String>,

    /// The Deployment of the client. [default: websockets-client-sleep]
    #[arg(long, value_name = "NAME", requires = "documents")]
    pub(super) client_workload: Option<String>,
}

/// A path without a query (RFC 3986 section 3.3), which scenarios add.
fn path(text: &str) -> Result<String, String> {
    let is_one =
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    is_one.then(|| text.to_owned()).ok_or_else(|| "expected a path such as /ws, without a query".to_owned())
}

impl Args {
    /// What the mesh does where the documents are silent, if that is given, and what is left out of
    /// it.
    pub(super) fn mesh(&self) -> Result<(Option<MeshDefaults>, Vec<Warning>), VerifyError> {
        Ok(mesh_config::load(self.mesh_config.as_deref())?)
    }

    /// The documents, if any are named. What will go wrong with them and what of them is left out
    /// here is shown first, which is no end. With them comes what was found in them.
    pub(super) fn load(
        &self,
        mesh: Option<&MeshDefaults>,
        levels: &Levels,
    ) -> Result<(Option<Documents>, Vec<Finding>), VerifyError> {
        if self.filename.is_empty() {
            return Ok((None, Vec::new()));
        }
        let sources: Vec<Source> = self.filename.iter().cloned().map(Source::from).collect();
        let texts = Source::read_all(&sources)?;
        let circumstances = Circumstances { mesh, istio_version: &self.istio_version };
        let findings = lint::show(&texts, &circumstances, levels);
        let documents = Documents::of(&texts)?;
        Ok((Some(documents), findings))
    }
}
