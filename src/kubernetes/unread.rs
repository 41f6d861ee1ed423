//! What of a cluster could not be read, in the words of a role where a right is missing.

use std::fmt;

/// A part of what was meant that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// A right is missing.
    Right {
        /// As a role grants it; several are joined by `and`.
        verb: &'static str,
        /// The group, empty for the core group.
        group: String,
        /// The resources, as a role names them.
        resources: Vec<String>,
        /// The namespace; `None` for all of them.
        namespace: Option<String>,
        /// What the API server says.
        reason: String,
    },
    /// The proxy of a pod did not say what it has.
    Proxy {
        /// The pod, as messages call it.
        pod: String,
        /// What happened.
        reason: String,
    },
}

impl Unread {
    /// What messages call the part of the cluster that it is about.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Right { resources, namespace, .. } => {
                format!("{} in {}", resources.join(", "), namespace.as_deref().unwrap_or("all namespaces"))
            }
            Self::Proxy { pod, .. } => pod.clone(),
        }
    }

    /// The rule that a role has to have, as YAML; empty where none helps.
    #[must_use]
    pub fn rule(&self) -> String {
        let Self::Right { verb, group, resources, .. } = self else { return String::new() };
        format!(
            "- apiGroups: [{}]\n  resources: [{}]\n  verbs: [{}]",
            if group.is_empty() { "\"\"" } else { group },
            resources.join(", "),
            verb.replace(" and ", ", ")
        )
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right { verb, group, resources, namespace, reason } => {
                let group = if group.is_empty() { String::new() } else { format!(" ({group})") };
                let place = match namespace {
                    Some(namespace) => format!("the namespace {namespace}"),
                    None => "all namespaces".to_owned(),
                };
                let resources = resources.join(", ");
                write!(formatter, "not allowed to {verb} {resources}{group} in {place}: {reason}")
            }
            Self::Proxy { pod, reason } => write!(formatter, "the proxy of {pod} was not read: {reason}"),
        }
    }
}
