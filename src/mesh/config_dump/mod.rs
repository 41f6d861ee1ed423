//! Envoy's `/config_dump` (`envoy.admin.v3.ConfigDump`), read for what decides over WebSockets: what
//! is in force in a proxy, whoever configured it.
//!
//! ```text
//!  Document ──sections──▶ resources, by name ──listener, route, cluster──▶ DumpedProxy
//! ```
//!
//! Here is only what the proxy has; what is wrong with it is `lint`'s to say. Secrets are not looked
//! at.

mod bundled;
mod cluster;
mod fields;
mod filter;
mod listener;
mod mask;
mod route;
mod sections;

#[cfg(test)]
mod tests;

pub use self::cluster::{DumpedCluster, DumpedProtocol, DumpedReach};
pub use self::fields::{ChangedField, HeaderLimits};
pub use self::filter::{DumpedFilter, FilterEffect};
pub use self::listener::{DumpedListener, DumpedManager, DumpedTcpProxy};
pub use self::mask::masked;
pub use self::route::{DumpedRoute, RouteTarget, UpgradeTaken};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::sections::Sections;
use super::duration;
use crate::yaml::{self, NodeRef, Place, Problem, Text};

/// Which of the two proxies of a session a dump is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The proxy beside the client: what leaves it is judged.
    Client,
    /// The proxy beside the server: what comes to it is judged.
    Server,
    /// A proxy at the edge of the mesh, which clients connect to.
    Gateway,
    /// A proxy between the two, which takes and sends on.
    Waypoint,
    /// A sidecar, of whichever side: both its directions are judged.
    Sidecar,
    /// Any other Envoy.
    Unknown,
}

impl Side {
    /// Whether sessions are sent on from here to another proxy of the mesh.
    #[must_use]
    pub fn sends(self) -> bool {
        self != Self::Server
    }

    /// Whether other proxies of the mesh send sessions here.
    #[must_use]
    pub fn takes(self) -> bool {
        !matches!(self, Self::Client | Self::Gateway)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Gateway => "gateway",
            Self::Waypoint => "waypoint",
            Self::Sidecar => "sidecar",
            Self::Unknown => "side unknown",
        })
    }
}

/// What a proxy has in force.
#[derive(Debug)]
pub struct DumpedProxy {
    /// Where its dump begins.
    pub place: Place,
    /// Which side it is, as it was named, or as the dump says.
    pub side: Side,
    /// The id of its node, if the dump says one.
    pub node: Option<String>,
    /// The addresses that its pod is known to have.
    pub addresses: Vec<String>,
    /// Its listeners that take connections or will.
    pub listeners: Vec<DumpedListener>,
    /// Its clusters, by name.
    pub clusters: Vec<DumpedCluster>,
    /// Whether the dump has clusters, so that one that is missing is missing in the proxy.
    pub has_clusters: bool,
    /// Updates that Envoy refused: it goes on with what it had before.
    pub rejected: Vec<Noted>,
    /// What has come and is not in force yet.
    pub warming: Vec<Noted>,
    /// What was not read, or is not in the dump.
    pub unread: Vec<Noted>,
}

/// Something to be said of a place of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Where it is.
    pub place: Place,
    /// What is there.
    pub what: String,
}

impl Noted {
    fn new(place: Place, what: impl Into<String>) -> Self {
        Self { place, what: what.into() }
    }
}

/// What is noted while listeners are read.
#[derive(Default)]
struct Notes {
    unread: Vec<Noted>,
    warming: Vec<Noted>,
}

/// A timer that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// How long it runs.
    pub duration: Duration,
    /// Where it is set, or where it could be.
    pub place: Place,
    /// Whether it is Envoy's default, which nobody wrote.
    pub is_default: bool,
}

/// What a field of a timer says.
enum TimerField {
    NotSet,
    Off,
    On(Timer),
}

impl TimerField {
    /// The timer, if one is written.
    fn on(self) -> Option<Timer> {
        self.or_else(|| None)
    }

    /// What is written, or what is in force where nothing is.
    fn or_else(self, inherited: impl FnOnce() -> Option<Timer>) -> Option<Timer> {
        match self {
            Self::NotSet => inherited(),
            Self::Off => None,
            Self::On(timer) => Some(timer),
        }
    }
}

impl Timer {
    /// What a field says; zero is off.
    fn set(node: NodeRef<'_>, path: &str) -> TimerField {
        let field = node.at(path);
        let duration = field.and_then(NodeRef::text).and_then(duration::parse);
        match (field, duration) {
            (Some(_), Some(Duration::ZERO)) => TimerField::Off,
            (Some(field), Some(duration)) => {
                TimerField::On(Self { duration, place: field.place(), is_default: false })
            }
            _ => TimerField::NotSet,
        }
    }

    /// What runs if nothing is set at a place.
    fn default(duration: Duration, place: Place) -> Self {
        Self { duration, place, is_default: true }
    }
}

impl DumpedProxy {
    /// Reads the dump in a text, which `side` is named of; or those of several proxies, which Envoy
    /// Gateway's `egctl config envoy-proxy all` prints by namespace and by pod.
    ///
    /// # Errors
    /// The text is not JSON (or YAML), or it is no dump of Envoy's.
    pub fn read(text: &Arc<Text>, side: Option<Side>) -> Result<Vec<Self>, yaml::Error> {
        let documents = yaml::documents(text)?;
        let [document] = &documents[..] else {
            return Err(match documents.get(1) {
                Some(second) => second.unexpected("one config_dump a file"),
                None => yaml::Error::new(
                    Place { file: Arc::clone(&text.name), line: 1, column: 1, span: 0..0 },
                    Problem::Unexpected { expected: EXPECTED.to_owned(), found: "nothing".to_owned() },
                ),
            });
        };
        let foreign = || document.unexpected(EXPECTED);
        let dumps = dumps_in(document.root());
        if dumps.is_empty() {
            return Err(foreign());
        }
        dumps.into_iter().map(|dump| Self::of(dump, side).ok_or_else(foreign)).collect()
    }

    fn of(dump: NodeRef<'_>, side: Option<Side>) -> Option<Self> {
        let configs = dump.at("configs")?;
        if let Some(own) = configs.items().find(|config| config.at("direction").is_some()) {
            return bundled::read(dump, own, side);
        }
        let sections = Sections::of(configs);
        if sections.known == 0 {
            return None;
        }
        let node = sections.node().and_then(|node| node.at("id")).and_then(NodeRef::text);
        let mut notes = Notes { unread: sections.unread.clone(), warming: sections.warming.clone() };
        let listeners = listener::read(&sections, &mut notes);
        Some(Self {
            place: dump.place(),
            side: side.unwrap_or_else(|| side_of(node)),
            node: node.map(str::to_owned),
            addresses: addresses_of(node, sections.node()),
            listeners,
            clusters: cluster::read(&sections),
            has_clusters: sections.has_clusters,
            rejected: sections.rejected.clone(),
            warming: notes.warming,
            unread: notes.unread,
        })
    }

    /// A cluster of that name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&DumpedCluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }
}

/// What a dump looks like, for who gave something else.
const EXPECTED: &str = "Envoy's config_dump, a mapping with configs whose items have an @type \
                        (pilot-agent request GET config_dump, istioctl proxy-config all -o json, egctl config \
                        envoy-proxy all, or Envoy's admin port /config_dump?include_eds)";

/// The dumps in a document: itself, or each in a mapping of them, or in a mapping of such mappings.
fn dumps_in(root: NodeRef<'_>) -> Vec<NodeRef<'_>> {
    let is_dump = |node: &NodeRef<'_>| node.at("configs").is_some_and(|configs| configs.items().len() > 0);
    if is_dump(&root) {
        return vec![root];
    }
    let below = || root.entries().flat_map(|entry| std::iter::once(entry).chain(entry.entries()));
    below().filter(is_dump).collect()
}

/// The side that Istio's node id begins with: `sidecar~ADDRESS~POD.NAMESPACE~DOMAIN`.
fn side_of(node: Option<&str>) -> Side {
    match node.and_then(|node| node.split_once('~')) {
        Some(("sidecar", _)) => Side::Sidecar,
        Some(("router", _)) => Side::Gateway,
        Some(("waypoint", _)) => Side::Waypoint,
        _ => Side::Unknown,
    }
}

/// The addresses of a pod, from its node id and Istio's metadata.
fn addresses_of(id: Option<&str>, node: Option<NodeRef<'_>>) -> Vec<String> {
    let of_id =
        id.and_then(|id| id.split('~').nth(1)).filter(|part| part.parse::<std::net::IpAddr>().is_ok());
    let listed = node.and_then(|node| node.at("metadata.INSTANCE_IPS")).and_then(NodeRef::text);
    let listed = listed.into_iter().flat_map(|ips| ips.split(','));
    of_id.into_iter().chain(listed).map(str::to_owned).collect()
}

/// Whether a field is there and true.
fn is_true(node: NodeRef<'_>, path: &str) -> bool {
    node.at(path).is_some_and(|field| field.to_json(str::to_owned) == true)
}

/// A text at a path.
fn text_at<'d>(node: NodeRef<'d>, path: &str) -> Option<&'d str> {
    node.at(path).and_then(NodeRef::text)
}

/// The items of a list at a path; none if it is not there.
fn items_at<'d>(node: NodeRef<'d>, path: &str) -> impl Iterator<Item = NodeRef<'d>> + use<'d> {
    node.at(path).into_iter().flat_map(NodeRef::items)
}

/// A number at a path.
fn number_at(node: NodeRef<'_>, path: &str) -> Option<u64> {
    let number = node.at(path)?.to_json(str::to_owned);
    number.as_u64().or_else(|| number.as_str()?.parse().ok())
}

/// What a `FractionalPercent` counts its parts of at most.
const MILLION: u64 = 1_000_000;

/// How many of a million a `FractionalPercent` is.
fn millionths(percent: NodeRef<'_>) -> u64 {
    let of = match text_at(percent, "denominator") {
        Some("TEN_THOUSAND") => 10_000,
        Some("MILLION") => MILLION,
        _ => 100,
    };
    number_at(percent, "numerator").unwrap_or(0).min(of) * (MILLION / of)
}

/// An extension's configuration and the name of its message, also where a `TypedStruct` wraps it.
fn typed_config(extension: NodeRef<'_>) -> Option<(&str, NodeRef<'_>)> {
    let config = extension.at("typedConfig")?;
    unwrapped(config)
}

fn unwrapped(config: NodeRef<'_>) -> Option<(&str, NodeRef<'_>)> {
    let url = text_at(config, "@type")?;
    let (url, config) = match url.rsplit('.').next() {
        Some("TypedStruct") => (text_at(config, "typeUrl")?, config.at("value").unwrap_or(config)),
        _ => (url, config),
    };
    Some((url.rsplit('/').next().unwrap_or(url), config))
}
