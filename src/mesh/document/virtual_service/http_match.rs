//! Istio's `HTTPMatchRequest`: which requests a route of a `VirtualService` is for, and in which
//! proxies it is (`TranslateRouteMatch` and `sourceMatchHTTP` in
//! `pilot/pkg/networking/core/route/route.go`).

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::mesh::config::{
    FieldMatch, PathMatch, Pattern, QueryParameterMatch, RouteMatch, ValueMatch, Workload,
};
use crate::mesh::document::Port;
use crate::yaml::Skip;

/// One of the alternatives of a route.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::mesh) struct HttpMatchRequest {
    name: Option<String>,
    uri: StringMatch,
    ignore_uri_case: bool,
    method: Option<StringMatch>,
    authority: Option<StringMatch>,
    scheme: Option<StringMatch>,
    headers: BTreeMap<String, StringMatch>,
    without_headers: BTreeMap<String, StringMatch>,
    query_params: BTreeMap<String, StringMatch>,
    port: Option<Port>,
    source_labels: BTreeMap<String, String>,
    source_namespace: Option<String>,
    gateways: Vec<String>,
    /// A name for statistics.
    stat_prefix: Option<Skip>,
}

/// One of the three, or none: that something is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct StringMatch {
    exact: Option<String>,
    prefix: Option<String>,
    #[serde(deserialize_with = "regex")]
    regex: Option<Pattern>,
}

/// `*` is no regular expression, and Istio takes it for anything (`isCatchAllStringMatch`).
fn regex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pattern>, D::Error> {
    let written = String::deserialize(deserializer)?;
    let written = if written == "*" { ".*".to_owned() } else { written };
    Pattern::try_from(written).map(Some).map_err(D::Error::custom)
}

/// A proxy that has routes, as far as conditions ask for it.
#[derive(Debug, Clone, Copy)]
pub(in crate::mesh) struct RoutedProxy<'a> {
    pub(in crate::mesh) role: ProxyRole<'a>,
    /// Its pod; without one it has no labels.
    pub(in crate::mesh) workload: Option<&'a Workload>,
    pub(in crate::mesh) namespace: &'a str,
    /// The port that the client dials; of a gateway's server its number.
    pub(in crate::mesh) port: u16,
}

/// What a proxy is to routes.
#[derive(Debug, Clone, Copy)]
pub(in crate::mesh) enum ProxyRole<'a> {
    /// A client's sidecar.
    Sidecar,
    /// A gateway.
    Gateway {
        /// The `Gateway`'s `NAMESPACE/NAME`.
        name: &'a str,
        /// The namespace of the `VirtualService` whose routes are meant.
        routes_namespace: &'a str,
    },
}

impl HttpMatchRequest {
    pub(in crate::mesh) fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| !name.is_empty())
    }

    /// The port that it is for, if it is for one.
    pub(in crate::mesh) fn port(&self) -> Option<u16> {
        self.port.as_ref().map(|port| port.0)
    }

    /// The gateways that it is for, `mesh` among them; none: all of the document.
    pub(in crate::mesh) fn gateways(&self) -> impl Iterator<Item = &str> {
        self.gateways.iter().map(String::as_str)
    }

    /// The clients that it is for, by their namespace and their labels, if it is for some alone.
    pub(in crate::mesh) fn source(&self) -> Option<(Option<&str>, &BTreeMap<String, String>)> {
        let namespace = self.source_namespace.as_deref().filter(|namespace| !namespace.is_empty());
        (namespace.is_some() || !self.source_labels.is_empty()).then_some((namespace, &self.source_labels))
    }

    /// Whether it is for sidecars, and not for gateways alone.
    pub(in crate::mesh) fn is_for_sidecars(&self) -> bool {
        self.gateways.is_empty() || self.gateways.iter().any(|gateway| gateway == "mesh")
    }

    /// Whether it is for this proxy at all (`sourceMatchHTTP`): where gateways are named, only they
    /// count.
    pub(in crate::mesh) fn is_for(&self, proxy: RoutedProxy<'_>) -> bool {
        let is_named = |gateway: &String| match proxy.role {
            ProxyRole::Sidecar => gateway == super::MESH,
            ProxyRole::Gateway { name, routes_namespace } => {
                resolve_gateway(gateway, routes_namespace) == name
            }
        };
        let has_label = |(name, value): (&String, &String)| {
            proxy.workload.is_some_and(|workload| workload.labels.get(name) == Some(value))
        };
        let is_source = if self.gateways.is_empty() {
            self.source_namespace.as_deref().is_none_or(|it| it.is_empty() || it == proxy.namespace)
                && self.source_labels.iter().all(has_label)
        } else {
            self.gateways.iter().any(is_named)
        };
        is_source && self.port.as_ref().is_none_or(|port| port.0 == proxy.port)
    }

    /// What is asked of a request.
    pub(in crate::mesh) fn route_match(&self) -> RouteMatch {
        let pseudo = [(":method", &self.method), (":authority", &self.authority), (":scheme", &self.scheme)];
        let pseudo = pseudo.into_iter().filter_map(|(name, value)| {
            Some(FieldMatch { name: name.to_owned(), value: value.as_ref()?.value(), invert: false })
        });
        let fields = [(&self.headers, false), (&self.without_headers, true)];
        let fields = fields.into_iter().flat_map(|(fields, invert)| {
            fields.iter().map(move |(name, value)| {
                let name = name.to_ascii_lowercase();
                // Envoy has no field of the name `host`.
                let name = if name == "host" { ":authority".to_owned() } else { name };
                FieldMatch { name, value: value.value(), invert }
            })
        });
        let parameter = |(name, value): (&String, &StringMatch)| QueryParameterMatch {
            name: name.clone(),
            value: value.value(),
        };
        RouteMatch {
            path: self.uri.path(),
            case_sensitive: !self.ignore_uri_case,
            fields: pseudo.chain(fields).collect(),
            query_parameters: self.query_params.iter().map(parameter).collect(),
        }
    }
}

/// The `NAMESPACE/NAME` of a gateway that a document in `namespace` names (`resolveGatewayName` in
/// `pilot/pkg/model/config.go`).
pub(in crate::mesh) fn resolve_gateway(written: &str, namespace: &str) -> String {
    if written == super::MESH {
        return written.to_owned();
    }
    if let Some(own) = written.strip_prefix("./") {
        return format!("{namespace}/{own}");
    }
    if written.contains('/') {
        return written.to_owned();
    }
    // The old form, a name within a namespace's domain.
    let mut parts = written.split('.');
    match (parts.next(), parts.next()) {
        (Some(name), Some(namespace)) => format!("{namespace}/{name}"),
        _ => format!("{namespace}/{written}"),
    }
}

impl StringMatch {
    fn path(&self) -> PathMatch {
        match (&self.exact, &self.prefix, &self.regex) {
            (Some(exact), _, _) => PathMatch::Exact(exact.clone()),
            (_, Some(prefix), _) => PathMatch::Prefix(prefix.clone()),
            (_, _, Some(regex)) => PathMatch::Regex(regex.clone()),
            (None, None, None) => PathMatch::Prefix("/".to_owned()),
        }
    }

    fn value(&self) -> ValueMatch {
        match (&self.exact, &self.prefix, &self.regex) {
            (Some(exact), _, _) => ValueMatch::Exact(exact.clone()),
            (_, Some(prefix), _) => ValueMatch::Prefix(prefix.clone()),
            (_, _, Some(regex)) => ValueMatch::Regex(regex.clone()),
            (None, None, None) => ValueMatch::Present,
        }
    }
}
