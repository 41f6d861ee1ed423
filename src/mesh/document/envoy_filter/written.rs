//! An `EnvoyFilter` to be written down: what `lint` proposes, and what a pair is given besides the
//! user's documents.

use std::collections::BTreeMap;
use std::fmt;

use super::{HTTP_CONNECTION_MANAGER, HTTP_CONNECTION_MANAGER_TYPE};
use crate::mesh::scalar::scalar;

/// The `EnvoyFilter` that merges options into HTTP connection managers. Its text is the document in
/// YAML.
#[derive(Debug)]
pub(crate) struct ConnectionManagerFilter<'a> {
    /// The filter's own name.
    pub(crate) name: &'a str,
    /// Its namespace; the root namespace is for the whole mesh.
    pub(crate) namespace: &'a str,
    /// The labels of the pods that it is for; empty: all of the namespace.
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// The side of a proxy that it changes: `SIDECAR_INBOUND`, `ANY`.
    pub(crate) context: &'a str,
    /// Fields of the HTTP connection manager, in YAML.
    pub(crate) options: &'a str,
}

impl fmt::Display for ConnectionManagerFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, namespace, labels, context, options } = self;
        write!(
            f,
            "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: {name}
  namespace: {}
spec:
",
            scalar(namespace)
        )?;
        if !labels.is_empty() {
            writeln!(f, "  workloadSelector:\n    labels:")?;
        }
        for (label, value) in *labels {
            writeln!(f, "      {}: {}", scalar(label), scalar(value))?;
        }
        write!(
            f,
            "  configPatches:
  - applyTo: NETWORK_FILTER
    match:
      context: {context}
      listener:
        filterChain:
          filter:
            name: {HTTP_CONNECTION_MANAGER}
    patch:
      operation: MERGE
      value:
        typed_config:
          '@type': type.googleapis.com/{HTTP_CONNECTION_MANAGER_TYPE}
          {}",
            options.replace('\n', "\n          ")
        )
    }
}
