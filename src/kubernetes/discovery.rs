//! Which of the kinds that decide about sessions the API server serves, and in which version. A
//! kind that is not installed has no documents.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::list::{Answer, ReadError, Reader};

/// A kind as the API serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    /// Empty for the core group.
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) plural: String,
}

impl Resource {
    pub(super) fn new(group: &str, version: &str, kind: &str, plural: &str) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into(), plural: plural.into() }
    }

    /// `apps/v1`, and `v1` for the core group.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Where the API has the objects of a namespace, or of all.
    pub(super) fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let namespace = namespace.map(|name| format!("/namespaces/{name}")).unwrap_or_default();
        format!("{root}/{}{namespace}/{}", self.api_version(), self.plural)
    }

    /// Whether what Istio's root namespace says of it is for the whole mesh.
    pub(super) fn is_mesh_wide(&self) -> bool {
        self.group.ends_with(".istio.io")
    }
}

/// The groups that are looked for, with the resources in them that are read; all if none is named.
const GROUPS: [(&str, &[&str]); 7] = [
    ("networking.istio.io", &[]),
    ("security.istio.io", &[]),
    ("telemetry.istio.io", &[]),
    ("extensions.istio.io", &[]),
    ("gateway.networking.k8s.io", &[]),
    ("gateway.networking.x-k8s.io", &[]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
];

#[derive(Deserialize)]
struct GroupList {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    versions: Vec<GroupVersion>,
    preferred_version: Option<GroupVersion>,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    resources: Vec<ServedResource>,
}

#[derive(Deserialize)]
struct ServedResource {
    name: String,
    kind: String,
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

/// The resources of the groups above that the API server serves, each in its preferred version, or
/// in the first that has it: Istio has its newer kinds and `EnvoyFilter` in different ones.
pub(super) async fn served(reader: &Reader) -> Result<Vec<Resource>, ReadError> {
    let what = "the groups of its API";
    let groups = match reader.get("/apis", what).await? {
        Answer::Found(GroupList { groups }) => groups,
        Answer::Nothing => {
            return Err(ReadError::Unreachable {
                what: what.to_owned(),
                reason: "it has no /apis, so it is no API server of Kubernetes".to_owned(),
            });
        }
        Answer::Forbidden(reason) => {
            return Err(ReadError::Refused { what: what.to_owned(), code: 403, reason });
        }
    };
    let mut served = Vec::new();
    for (name, wanted) in GROUPS {
        let Some(group) = groups.iter().find(|group| group.name == name) else { continue };
        let preferred = group.preferred_version.iter();
        let mut seen = BTreeSet::new();
        let mut versions = BTreeSet::new();
        for GroupVersion { version } in preferred.chain(&group.versions) {
            if !versions.insert(version) {
                continue;
            }
            let path = format!("/apis/{name}/{version}");
            let list = reader.get(&path, &format!("the kinds of {name}/{version}")).await?;
            let Answer::Found(ResourceList { resources }) = list else { continue };
            for ServedResource { name: plural, kind, namespaced, verbs } in resources {
                let is_wanted = wanted.is_empty() || wanted.contains(&&*plural);
                let is_listed = namespaced && verbs.iter().any(|verb| verb == "list");
                if is_wanted && is_listed && !plural.contains('/') && seen.insert(plural.clone()) {
                    served.push(Resource::new(name, version, &kind, &plural));
                }
            }
        }
    }
    Ok(served)
}
