//! What can be wrong with documents: errors stop the program, warnings do not.

use std::fmt;
use std::path::PathBuf;

use super::rule::Rule;
use crate::yaml::{self, Place};

/// A document or a field that is valid, but that this program cannot honour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The document, or the field in it.
    pub place: Place,
    /// What cannot be honoured there, and what that means.
    pub text: String,
    /// The rule by which `lint` says the same.
    pub rule: &'static Rule,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, text, rule } = self;
        write!(formatter, "{}:{}: {text} [{}]", place.file, place.line, rule.code)
    }
}

/// The documents cannot be read, or do not say what is asked of them.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// A file or a folder cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file, the folder, or `-`.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A folder holds no documents. Folders inside it are not looked into, as kubectl does not.
    #[error("{}: no .yaml, .yml or .json file directly in this folder: name a file, or a folder that has some", path.display())]
    EmptyFolder {
        /// The folder, as it was named.
        path: PathBuf,
    },
    /// A text is not YAML, or a field has a value of the wrong type or outside of what is allowed,
    /// or is missing.
    #[error(transparent)]
    Document(#[from] yaml::Error),
    /// A text is not YAML, since it is one of Helm's templates.
    #[error(
        "{0}; {{{{ … }}}} makes it a template: give what Helm makes of it (helm template CHART | websockets-cli lint -f -)"
    )]
    Template(#[source] yaml::Error),
    /// Two settings of a connection pool that Istio refuses together.
    #[error("{place}: {field}: expected false where h2UpgradePolicy is UPGRADE, found true")]
    ClientProtocolWithUpgrade {
        /// Where `useClientProtocol` is.
        place: Place,
        /// Its path in its document.
        field: String,
    },
    /// The sources were read and hold no document at all.
    #[error("{sources}: no document: nothing but comments and empty ones")]
    NoDocument {
        /// The names of the sources, separated by commas.
        sources: String,
    },
    /// Two documents with the same kind, namespace and name.
    #[error(transparent)]
    Duplicate(Box<Duplicate>),
    /// No document of that kind has that name.
    #[error("no {kind} {name} in the documents{}", nearest(near.as_deref()))]
    Unknown {
        /// `Service` or `Deployment`.
        kind: &'static str,
        /// The name that was asked for.
        name: String,
        /// The most similar name there is.
        near: Option<String>,
    },
    /// Several namespaces have a document of that kind and name.
    #[error("there is more than one {kind} {name}, in the namespaces {}: write NAMESPACE/{name}", namespaces.join(", "))]
    Ambiguous {
        /// `Service` or `Deployment`.
        kind: &'static str,
        /// The name that was asked for.
        name: String,
        /// The namespaces that have one.
        namespaces: Vec<String>,
    },
    /// What is to be derived from the documents does not follow from them.
    #[error("{0}")]
    Underivable(String),
}

/// Two documents with the same kind, namespace and name.
#[derive(Debug, thiserror::Error)]
#[error("{second}: {kind} {namespace}/{name} is already defined at {first}: remove one of the two")]
pub struct Duplicate {
    /// What both are, such as `Service`.
    pub kind: &'static str,
    /// The namespace that both are in.
    pub namespace: String,
    /// The name that both have.
    pub name: String,
    /// The one that was read first.
    pub first: Place,
    /// The one that is refused.
    pub second: Place,
}

fn nearest(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(": the nearest is {name}"))
}
