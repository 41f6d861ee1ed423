//! Every rule by which documents and proxies are judged: its code, how bad it is, why it matters and
//! what to do. `docs/lint.md` says the same. What looks for them is in `document`, which warns by
//! them, and in `lint`.

use super::rule::Rule;
use super::rule::Severity::{Error, Note, Warning};
use crate::nearest::nearest;

/// All of them, as they are documented.
pub const ALL: &[&Rule] = &[
    &UPGRADE_WITHOUT_ALLOW_CONNECT,
    &UPGRADE_POLICY_LOST,
    &CLIENT_PROTOCOL_WITH_UPGRADE,
    &ENVOY_FILTER_SELECTOR,
    &ENVOY_FILTER_NAMESPACE,
    &ENVOY_FILTER_CONTEXT,
    &ENVOY_FILTER_PROXY_VERSION,
    &ENVOY_FILTER_LISTENER,
    &ENVOY_FILTER_FILTER_NAME,
    &ENVOY_FILTER_TYPE,
    &ENVOY_FILTER_OPERATION,
    &UNKNOWN_FIELD,
    &TCP_PORT,
    &UNDECLARED_PROTOCOL,
    &SERVICE_SELECTOR,
    &NO_REPLICAS,
    &UNDECLARED_NAMED_PORT,
    &UNDECLARED_PORT,
    &UNKNOWN_HOST,
    &UNSEEN_HOST,
    &UNKNOWN_DESTINATION,
    &NO_DESTINATION,
    &NO_HANDSHAKE_ROUTE,
    &DIRECT_RESPONSE,
    &FAULT_ABORT,
    &FOR_NO_CLIENT,
    &MESH_CONFIGS_DIFFER,
    &DUPLICATE_DESTINATION_RULE,
    &DUPLICATE_VIRTUAL_SERVICE,
    &VIRTUAL_SERVICE_TIMEOUT,
    &STREAM_IDLE_TIMEOUT,
    &MAX_STREAM_DURATION,
    &MAX_CONNECTION_DURATION,
    &TCP_IDLE_TIMEOUT,
    &HTTP2_PORT,
    &UPGRADE_WITHOUT_SIDECAR,
    &PORT_PROTOCOL_CONFLICT,
    &SUBSET_WITHOUT_PODS,
    &REDIRECT,
    &UPGRADE_REMOVED,
    &UNROUTED_PATHS,
    &BUFFER_FILTER,
    &FILTER_REMOVED,
    &UPGRADE_DISABLED,
    &DUPLICATE_UPGRADE_TYPE,
    &ALLOWS_NOBODY,
    &NETWORK_POLICY,
    &STRICT_WITHOUT_TLS,
    &CLIENT_WITHOUT_SIDECAR,
    &TOKEN_FROM_HEADER,
    &NOT_IMPORTED,
    &NO_ACCESS_LOG,
    &REJECTED_UPDATE,
    &NOT_IN_FORCE,
    &NO_WEBSOCKET_TAKEN,
    &WEBSOCKET_NOT_TAKEN,
    &UNKNOWN_CLUSTER,
    &NO_HOSTS,
    &NO_ROOM,
    &LITTLE_ROOM,
    &NO_SESSIONS,
    &SESSION_LIMIT,
    &HOP_MISMATCH,
    &UNKNOWN_KIND,
    &NOT_JUDGED,
    &NOT_PLAYED,
    &NOTHING_JUDGED,
    &NOT_READ,
    &INVALID_DOCUMENT,
    &DUPLICATE_DOCUMENT,
    &UNKNOWN_CODE,
];

/// A code that no rule has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no finding has the code {code:?}{}", in_words(*.nearest))]
pub struct UnknownCode {
    code: String,
    nearest: Option<&'static str>,
}

fn in_words(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!(": the nearest is {nearest}"),
        None => ": docs/lint.md has all codes".to_owned(),
    }
}

/// The rule that has a code.
///
/// # Errors
/// None has it.
pub fn of_code(code: &str) -> Result<&'static Rule, UnknownCode> {
    let found = ALL.iter().find(|rule| rule.code == code).copied();
    found.ok_or_else(|| UnknownCode {
        code: code.to_owned(),
        nearest: nearest(code, ALL.iter().map(|rule| rule.code), SIMILAR),
    })
}

/// How similar a name has to be to a code to be taken for it.
const SIMILAR: f64 = 0.75;

/// Those that mean that documents, or a part of a cluster, were not judged: who allows them knows
/// that, and still nothing is said to be right. The notes on what is left out of single documents
/// are not among them.
pub const NOTHING_SAID: &[&Rule] = &[
    &NOTHING_JUDGED,
    &NOT_READ,
    &UNKNOWN_KIND,
    &INVALID_DOCUMENT,
    &DUPLICATE_DOCUMENT,
    &CLIENT_PROTOCOL_WITH_UPGRADE,
];

/// Those of what the bundled sidecars do not play: sessions that pass through them say nothing of
/// it. What they leave out document by document ([`NOT_JUDGED`], [`NOT_PLAYED`]) is not among them.
pub const NOT_MET: &[&Rule] = &[
    &NOTHING_JUDGED,
    &ENVOY_FILTER_OPERATION,
    &MESH_CONFIGS_DIFFER,
    &UPGRADE_WITHOUT_SIDECAR,
    &UPGRADE_REMOVED,
    &BUFFER_FILTER,
    &FILTER_REMOVED,
    &UPGRADE_DISABLED,
    &DUPLICATE_UPGRADE_TYPE,
    &ALLOWS_NOBODY,
    &STRICT_WITHOUT_TLS,
    &CLIENT_WITHOUT_SIDECAR,
    &HOP_MISMATCH,
    &TOKEN_FROM_HEADER,
    &NOT_IMPORTED,
    &UNKNOWN_DESTINATION,
    &SUBSET_WITHOUT_PODS,
    &NO_REPLICAS,
    &NETWORK_POLICY,
    &FAULT_ABORT,
    &FILTER_REMOVED,
    &NO_DESTINATION,
    &INVALID_DOCUMENT,
];

/// HTTP/2 between the sidecars, and the server's does not take WebSockets over it.
pub const UPGRADE_WITHOUT_ALLOW_CONNECT: Rule = Rule {
    code: "upgrade-without-allow-connect",
    severity: Error,
    why: "The client's sidecar turns the WebSocket into an extended CONNECT (RFC 8441). A server's sidecar without allow_connect takes that for a malformed request (DPE, http2.invalid.header.field) and closes the connection, and the client gets 503 (UC).",
    fix: "Add an EnvoyFilter that allows extended CONNECT in the server's sidecar, or set h2UpgradePolicy to DO_NOT_UPGRADE.",
};

/// A block that replaces another one and does not repeat its policy.
pub const UPGRADE_POLICY_LOST: Rule = Rule {
    code: "upgrade-policy-lost",
    severity: Warning,
    why: "portLevelSettings replace the rule's trafficPolicy whole, and a subset's connectionPool replaces the rule's connectionPool whole. What the inner one leaves out has Istio's default again; it is not inherited.",
    fix: "Repeat h2UpgradePolicy in the inner connectionPool.",
};

/// Two settings that exclude each other.
pub const CLIENT_PROTOCOL_WITH_UPGRADE: Rule = Rule {
    code: "client-protocol-with-upgrade",
    severity: Error,
    why: "useClientProtocol asks for the protocol that the application speaks, UPGRADE for HTTP/2 whatever it speaks. Istio refuses a DestinationRule that says both.",
    fix: "Remove one of the two.",
};

/// No pod has the labels.
pub const ENVOY_FILTER_SELECTOR: Rule = Rule {
    code: "envoy-filter-selector",
    severity: Warning,
    why: "All labels of workloadSelector must be on a pod in the filter's namespace. They are on none, so the filter changes no proxy.",
    fix: "Select the labels of the pod template (not those of the Deployment or of the Service).",
};

/// No pod is in the namespace.
pub const ENVOY_FILTER_NAMESPACE: Rule = Rule {
    code: "envoy-filter-namespace",
    severity: Warning,
    why: "An EnvoyFilter applies to proxies in its own namespace, or to the whole mesh from Istio's root namespace (istio-system). There is no pod in this one.",
    fix: "Put the filter into the namespace of the pods.",
};

/// The patch is for proxies of another kind.
pub const ENVOY_FILTER_CONTEXT: Rule = Rule {
    code: "envoy-filter-context",
    severity: Warning,
    why: "Extended CONNECT is taken or refused by the server's sidecar, on its inbound side. A patch for SIDECAR_OUTBOUND changes what a client's sidecar takes from its own application, and one for GATEWAY or WAYPOINT changes no sidecar.",
    fix: "Set the context to SIDECAR_INBOUND.",
};

/// No proxy is of that version.
pub const ENVOY_FILTER_PROXY_VERSION: Rule = Rule {
    code: "envoy-filter-proxy-version",
    severity: Warning,
    why: "proxyVersion is a regular expression that is searched in the proxy's Istio version. It is not found in the version that is checked (--istio-version), so the patch is left out.",
    fix: "Write a pattern that finds the proxies' version, or leave proxyVersion out.",
};

/// No listener or filter chain is like that.
pub const ENVOY_FILTER_LISTENER: Rule = Rule {
    code: "envoy-filter-listener",
    severity: Warning,
    why: "A server's sidecar has one listener, virtualInbound, with a filter chain for each target port (the container's port); a client's has one listener for each Service port, 0.0.0.0_PORT. None of those in these documents has the name or port that is asked for.",
    fix: "Ask for the container's port on the inbound side and for the Service's port on the outbound side, or for none.",
};

/// No filter is called that.
pub const ENVOY_FILTER_FILTER_NAME: Rule = Rule {
    code: "envoy-filter-filter-name",
    severity: Warning,
    why: "The filter's name must be the network filter's exactly, and the value is for the HTTP connection manager. Istio leaves out a patch for a filter that is not there, without a word.",
    fix: "Write envoy.filters.network.http_connection_manager.",
};

/// The value has a type that does not fit the filter.
pub const ENVOY_FILTER_TYPE: Rule = Rule {
    code: "envoy-filter-type",
    severity: Warning,
    why: "A value is merged only into a message of its own type. Without @type, or with the type of an older API, Istio keeps the original without a word.",
    fix: "Write the type of the v3 API.",
};

/// The patch does something else than to merge into the connection manager.
pub const ENVOY_FILTER_OPERATION: Rule = Rule {
    code: "envoy-filter-operation",
    severity: Warning,
    why: "Options of the HTTP connection manager are changed by applyTo NETWORK_FILTER with the operation MERGE. Anything else changes another part of the configuration, replaces the filter as a whole, or does nothing.",
    fix: "Set applyTo to NETWORK_FILTER and operation to MERGE.",
};

/// A name that the message does not have.
pub const UNKNOWN_FIELD: Rule = Rule {
    code: "unknown-field",
    severity: Warning,
    why: "No such field exists there, so what it says has no effect: Kubernetes drops it, and Envoy never sees it.",
    fix: "Correct the name, or remove the field.",
};

/// Istio takes the port for TCP.
pub const TCP_PORT: Rule = Rule {
    code: "tcp-port",
    severity: Warning,
    why: "The protocol of a port is its appProtocol, else its name up to the first hyphen. This one is carried as bytes: no HTTP routes, timeouts, retries or h2UpgradePolicy apply to it, and the access log has no method, path or response code.",
    fix: "Name the port http-… or give it the appProtocol http.",
};

/// Istio has to look at the bytes.
pub const UNDECLARED_PROTOCOL: Rule = Rule {
    code: "undeclared-protocol",
    severity: Note,
    why: "Neither its name nor an appProtocol says what the port speaks, so each sidecar looks at the first bytes. The mesh's default h2UpgradePolicy does not apply to such a port.",
    fix: "Name the port http-… or give it the appProtocol http.",
};

/// The Service has no pods.
pub const SERVICE_SELECTOR: Rule = Rule {
    code: "service-selector",
    severity: Error,
    why: "All labels of the selector must be on a pod in the Service's namespace. They are on no pod template, so the Service has no endpoint and a session gets 503 (UH).",
    fix: "Select the labels of the pod template.",
};

/// The Service's pods are none.
pub const NO_REPLICAS: Rule = Rule {
    code: "no-replicas",
    severity: Error,
    why: "With replicas: 0 there is no pod, so the Service has no endpoint and a session gets 503 (UH). Where something scales the workload, it says so here (a HorizontalPodAutoscaler does not scale from 0).",
    fix: "Set replicas to 1 or more.",
};

/// The Service's port leads nowhere.
pub const UNDECLARED_NAMED_PORT: Rule = Rule {
    code: "undeclared-named-port",
    severity: Error,
    why: "A named targetPort is looked up among the ports of the pod's containers. None has that name, so the Service's port has no endpoint and a session gets 503 (UH).",
    fix: "Give the container's port that name, or write its number as targetPort.",
};

/// The Service's port leads to one that nobody mentions.
pub const UNDECLARED_PORT: Rule = Rule {
    code: "undeclared-port",
    severity: Note,
    why: "A container need not declare a port to listen on it, so this may be right. If nothing listens there, sessions get 503 (URX,UF).",
    fix: "Compare targetPort with what the application listens on, and declare it as containerPort.",
};

/// A host that no Service has.
pub const UNKNOWN_HOST: Rule = Rule {
    code: "unknown-host",
    severity: Warning,
    why: "Only a name without a dot is completed, with the namespace of its own document. A name with a dot is taken as it is, so `svc.ns` is no Service's name; the document then applies to nothing, without a word.",
    fix: "Write the Service's full name.",
};

/// A host whose Service may be elsewhere.
pub const UNSEEN_HOST: Rule = Rule {
    code: "unseen-host",
    severity: Note,
    why: "No Service in these documents has that name, and none of its namespace is among them, so whether the document applies to anything cannot be told.",
    fix: "Add the file with the Service to those that are read.",
};

/// A route to nothing.
pub const UNKNOWN_DESTINATION: Rule = Rule {
    code: "unknown-destination",
    severity: Error,
    why: "The route leads to a cluster that does not exist: a session gets 503 (NC, cluster not found), by an HTTPRoute 500; or to a subset without pods: 503 (UH).",
    fix: "Route to a host, port and subset that a Service (or ServiceEntry) and a DestinationRule define.",
};

/// A rule without a destination.
pub const NO_DESTINATION: Rule = Rule {
    code: "no-destination",
    severity: Error,
    why: "A rule of an HTTPRoute without a backend whose weight is more than 0 is answered with 500 by the proxy itself, as the Gateway API asks for.",
    fix: "Add backendRefs, with a weight of 1 or more or none.",
};

/// Routes that leave out all handshakes.
pub const NO_HANDSHAKE_ROUTE: Rule = Rule {
    code: "no-handshake-route",
    severity: Error,
    why: "A handshake is a GET with Upgrade: websocket, also where it comes as an extended CONNECT. The routes of a host replace the one that it has by default, and none of these takes it: 404 (NR).",
    fix: "Take the conditions on the method and on the handshake's fields away, or add a route without them.",
};

/// A route that leads nowhere.
pub const DIRECT_RESPONSE: Rule = Rule {
    code: "direct-response",
    severity: Error,
    why: "A route with a directResponse is answered by the proxy itself, so no handshake reaches the application and no WebSocket opens.",
    fix: "Route to the Service, and put the directResponse behind that or give it a match.",
};

/// A fault for all.
pub const FAULT_ABORT: Rule = Rule {
    code: "fault-abort",
    severity: Error,
    why: "A fault whose abort is for 100 % of the requests answers each handshake in the place of the application (FI, fault_filter_abort), and no WebSocket opens. One for less refuses some of them.",
    fix: "Take the fault away, or give its route a match that is for no handshake.",
};

/// What no client meets.
pub const FOR_NO_CLIENT: Rule = Rule {
    code: "for-no-client",
    severity: Warning,
    why: "A route is for the clients that its conditions name: the port that they dial, their labels and namespace, or the gateways. A document is for those in the namespaces of exportTo. Where that is nobody, nothing of it is in force.",
    fix: "Name a port that the Service has and a namespace that there is, or leave the condition out.",
};

/// Two rules for a host.
pub const DUPLICATE_DESTINATION_RULE: Rule = Rule {
    code: "duplicate-destination-rule",
    severity: Warning,
    why: "Istio merges the DestinationRules of a namespace for one host: subsets are put together, but only the trafficPolicy of the oldest counts (of the same age: the first by name).",
    fix: "Put what both say into one DestinationRule.",
};

/// Two sets of routes for a host.
pub const DUPLICATE_VIRTUAL_SERVICE: Rule = Rule {
    code: "duplicate-virtual-service",
    severity: Warning,
    why: "In the sidecars only one VirtualService counts for a host, the oldest (of the same age: the first by name). The routes of the others are never taken.",
    fix: "Put the routes of both into one VirtualService.",
};

/// A route has a timeout, which counts for whole sessions.
pub const VIRTUAL_SERVICE_TIMEOUT: Rule = Rule {
    code: "virtual-service-timeout",
    severity: Warning,
    why: "The timeout bounds the whole answer: a handshake that takes longer gets 504 (UT), and a fallback of the WebSocket (long polling, an event stream) is cut off in the middle. A session whose protocol is switched already is left alone by today's Envoy.",
    fix: "Set the timeout of the route for WebSockets to 0s, which is none.",
};

/// The timer of idle streams.
pub const STREAM_IDLE_TIMEOUT: Rule = Rule {
    code: "stream-idle-timeout",
    severity: Warning,
    why: "A session in which nothing is sent for so long is ended (SI, stream_idle_timeout), without a close frame. Istio has this timer off in sidecars.",
    fix: "Set it to 0s, which is off, or to more than the interval of the application's pings.",
};

/// The longest that a stream may last.
pub const MAX_STREAM_DURATION: Rule = Rule {
    code: "max-stream-duration",
    severity: Warning,
    why: "Each session is ended when it is so old, however busy it is (max_duration_timeout), without a close frame.",
    fix: "Remove it, or set it to more than the longest session.",
};

/// The longest that a connection may last.
pub const MAX_CONNECTION_DURATION: Rule = Rule {
    code: "max-connection-duration",
    severity: Warning,
    why: "A connection between the sidecars that is so old is drained and closed. Today's Envoy lets the sessions on an HTTP connection come to their end first; they do not outlast it elsewhere, and new ones need another connection.",
    fix: "Remove it, or set it to more than the longest session.",
};

/// The timer of idle TCP connections.
pub const TCP_IDLE_TIMEOUT: Rule = Rule {
    code: "tcp-idle-timeout",
    severity: Warning,
    why: "The Service's port is TCP to Istio, and there the timer ends each connection in which nothing is sent for so long, and the session with it. On an HTTP port it counts for connections without a session alone.",
    fix: "Set it to more than the interval of the application's pings, or make the port an HTTP port.",
};

/// A port that is HTTP/2 from the start, before a proxy that takes no WebSockets over it.
pub const HTTP2_PORT: Rule = Rule {
    code: "http2-port",
    severity: Error,
    why: "A port is HTTP/2 to Istio by its appProtocol (http2, grpc, kubernetes.io/h2c) or its name up to the first hyphen (http2-…, grpc-…, h2c-…), of a ServiceEntry by its protocol. A WebSocket to it becomes an extended CONNECT whatever h2UpgradePolicy says, DO_NOT_UPGRADE too, and the sidecar then speaks HTTP/2 with the application. Without allow_connect the client gets 503 (UC).",
    fix: "Call the port http-… (or give it the appProtocol http). If the application speaks WebSocket over HTTP/2 (RFC 8441), allow extended CONNECT in its sidecar with an EnvoyFilter.",
};

/// HTTP/2 to where no sidecar takes it.
pub const UPGRADE_WITHOUT_SIDECAR: Rule = Rule {
    code: "upgrade-without-sidecar",
    severity: Error,
    why: "Where no sidecar stands before the application (not injected, hostNetwork, the template grpc-agent, the interceptionMode NONE, a port that excludeInboundPorts names or includeInboundPorts does not, ambient, a host outside of the mesh), HTTP/2 goes to the application or to a proxy of another kind, most of which know no extended CONNECT. No EnvoyFilter for sidecars can help there.",
    fix: "Set h2UpgradePolicy to DO_NOT_UPGRADE for this host in a DestinationRule. For an excluded port also tls mode DISABLE, since auto mTLS goes by the pod.",
};

/// Two Services that differ about one port of a pod.
pub const PORT_PROTOCOL_CONFLICT: Rule = Rule {
    code: "port-protocol-conflict",
    severity: Warning,
    why: "A sidecar has one inbound listener for each port of its pod, made for the protocol that the first of its Services says; what the clients' sidecars send by another Service then meets a listener for another protocol.",
    fix: "Give the port the same protocol in both Services, or let them lead to different ports.",
};

/// Two configurations of the mesh, of which one upgrades.
pub const MESH_CONFIGS_DIFFER: Rule = Rule {
    code: "mesh-configs-differ",
    severity: Warning,
    why: "A proxy has the configuration of its own control plane (revision). Which one that is the documents do not say, so the last one is judged by.",
    fix: "Name the one that is meant with --mesh-config, or leave the other out.",
};

/// A subset that no pod is in.
pub const SUBSET_WITHOUT_PODS: Rule = Rule {
    code: "subset-without-pods",
    severity: Warning,
    why: "All labels of the subset must be on a pod of the Service. They are on none, so a session that is routed there gets 503 (UH).",
    fix: "Write labels that the pod template has.",
};

/// Handshakes are sent elsewhere.
pub const REDIRECT: Rule = Rule {
    code: "redirect",
    severity: Error,
    why: "A handshake that is answered with a redirect (301) opens no session: browsers do not follow it, and few other clients do.",
    fix: "Route to the Service, and redirect only what matches and is no WebSocket.",
};

/// What makes a request a handshake is taken away.
pub const UPGRADE_REMOVED: Rule = Rule {
    code: "upgrade-removed",
    severity: Error,
    why: "Without Upgrade, Connection, Sec-WebSocket-Key and Sec-WebSocket-Version as the client wrote them the application sees no handshake, answers 426, 400 or 200, and no session opens; without Upgrade, Connection and Sec-WebSocket-Accept as the application wrote them the client ends it.",
    fix: "Leave these fields out of headers, of the route and of its destinations.",
};

/// Paths without a route.
pub const UNROUTED_PATHS: Rule = Rule {
    code: "unrouted-paths",
    severity: Note,
    why: "A VirtualService, as an HTTPRoute, replaces the routes of its host whole. A path that none of its conditions matches has no route any more: 404 (NR).",
    fix: "Add a route without conditions at the end, or make sure that the path of the WebSocket matches.",
};

/// A filter that waits for the whole body.
pub const BUFFER_FILTER: Rule = Rule {
    code: "buffer-filter",
    severity: Error,
    why: "Envoy's Buffer filter holds a request until its body has ended. A WebSocket's handshake has no end of a body, so it never leaves the proxy: every session hangs until the client gives up (DC, code 0, no upstream host).",
    fix: "Switch the filter off for the routes of WebSockets (typed_per_filter_config with disabled: true), or remove it.",
};

/// What routes requests is taken away.
pub const FILTER_REMOVED: Rule = Rule {
    code: "filter-removed",
    severity: Error,
    why: "Without the HTTP connection manager a listener speaks no HTTP, and without the router, which has to be the last filter, Envoy refuses the connection manager. No session passes a new proxy.",
    fix: "Remove the patch, or name the one filter that is to go.",
};

/// Routes on which upgrades are off.
pub const UPGRADE_DISABLED: Rule = Rule {
    code: "upgrade-disabled",
    severity: Error,
    why: "A route whose upgrade_configs switch websocket off answers each handshake with 403 (upgrade_failed), whatever the listener takes.",
    fix: "Remove the entry, or set enabled to true.",
};

/// An upgrade type that is there twice.
pub const DUPLICATE_UPGRADE_TYPE: Rule = Rule {
    code: "duplicate-upgrade-type",
    severity: Error,
    why: "Istio's connection manager has the upgrade type websocket already, and a MERGE appends to a list. Envoy refuses a listener with the same type twice, so nothing of the new listener takes effect.",
    fix: "Remove the entry: WebSockets are on by default.",
};

/// A policy that refuses everything.
pub const ALLOWS_NOBODY: Rule = Rule {
    code: "allows-nobody",
    severity: Error,
    why: "An AuthorizationPolicy with the action ALLOW and without rules allows no request: each handshake gets 403 (rbac_access_denied_matched_policy[none]), unless another ALLOW policy for the same pods, of their namespace or the root namespace, allows it. With one for each Service it is how all else is denied, and no finding. One with the action DENY and a rule that every handshake, which is a GET, fulfils denies all of them, whatever others allow.",
    fix: "Write rules for what is to be allowed; a rule without conditions, {}, allows everything. Give a rule that denies conditions.",
};

/// Connections that nobody lets in.
pub const NETWORK_POLICY: Rule = Rule {
    code: "network-policy",
    severity: Error,
    why: "Pods that a NetworkPolicy selects take only the connections that one of them lets in, by the pod's port, which is not the Service's. To this port none does: the client's sidecar cannot connect, and a session gets 503 (UF), where the cluster's network enforces it.",
    fix: "Let connections in to the pod's port (and in an ambient mesh to 15008).",
};

/// Plain text to who takes TLS only.
pub const STRICT_WITHOUT_TLS: Rule = Rule {
    code: "strict-without-tls",
    severity: Error,
    why: "PeerAuthentication STRICT makes the server's sidecar refuse what comes without mTLS (a policy with a selector counts before its namespace's, that before the mesh's, and portLevelMtls, by the pod's port, before all), and tls mode DISABLE, or a mesh with enableAutoMtls: false where no rule has a mode, makes the client's send just that: the connection is reset, and the client gets 503 (UC or UF).",
    fix: "Set the mode to ISTIO_MUTUAL, or leave tls out, so that auto mTLS decides.",
};

/// Plain text of clients without a sidecar, to who takes TLS only.
pub const CLIENT_WITHOUT_SIDECAR: Rule = Rule {
    code: "client-without-sidecar",
    severity: Warning,
    why: "Without a sidecar (not injected, hostNetwork, the template grpc-agent, the interceptionMode NONE), or past it (excludeOutboundPorts, an empty includeOutboundIPRanges), a client sends plain text, which PeerAuthentication STRICT makes the server's sidecar reset. Who is a client the documents do not say: meant are pods to which no Service leads, and those with an HTTP Service in the server's namespace.",
    fix: "If these pods open sessions, give them a sidecar and leave the port to it, or have the server take plain text too (PERMISSIVE, by portLevelMtls for this port alone).",
};

/// A token that browsers cannot send.
pub const TOKEN_FROM_HEADER: Rule = Rule {
    code: "token-from-header",
    severity: Note,
    why: "A browser sets no header field of its own in a WebSocket's handshake, Authorization among them: what a policy lets pass only with a token is refused (403, RBAC) for pages, whereas other clients may send it.",
    fix: "If browsers are to connect, take the token from the query or a cookie too (fromParams, fromCookies).",
};

/// Services that clients are not told of.
pub const NOT_IMPORTED: Rule = Rule {
    code: "not-imported",
    severity: Warning,
    why: "A Sidecar's egress hosts are all that its proxies know. To every other host they have no route: with REGISTRY_ONLY a session gets 502 (BlackHoleCluster), else it passes unchanged to where the client dialled (PassthroughCluster), without the rules for the host and without mTLS, which a STRICT server refuses.",
    fix: "Add the host to egress, as NAMESPACE/HOST, for the clients that use it.",
};

/// Sessions without a line.
pub const NO_ACCESS_LOG: Rule = Rule {
    code: "no-access-log",
    severity: Note,
    why: "explain and verify --kubernetes go by the access log. Of a session without a line nothing can be told afterwards; the session itself is as good.",
    fix: "As long as something is looked for, log all requests of both sides with the provider envoy.",
};

/// An update that Envoy refuses.
pub const REJECTED_UPDATE: Rule = Rule {
    code: "rejected-update",
    severity: Error,
    why: "Envoy refused what its control plane sent (error_state) and goes on with what it had before, or without: what was meant is not in force.",
    fix: "Change what the message names; for Istio that is most often an EnvoyFilter.",
};

/// What is there and not used yet.
pub const NOT_IN_FORCE: Rule = Rule {
    code: "not-in-force",
    severity: Warning,
    why: "A listener or cluster that is warming waits for something (a secret, routes, endpoints) and takes no sessions; of a listener the one before it still does. A listener without its routes answers 404.",
    fix: "Wait and take the dump again; if it stays so, look for what it waits for (SDS, RDS, EDS).",
};

/// A proxy without any way in for WebSockets.
pub const NO_WEBSOCKET_TAKEN: Rule = Rule {
    code: "no-websocket-taken",
    severity: Error,
    why: "Where neither the connection manager nor the route has the upgrade type websocket, each handshake gets 403 (upgrade_failed); HTTP/2 alone without allow_connect takes no extended CONNECT. No listener of this proxy takes WebSockets.",
    fix: "Add upgrade_configs with upgrade_type: websocket to the connection manager or the route.",
};

/// A listener without a way in for WebSockets, beside others that have one.
pub const WEBSOCKET_NOT_TAKEN: Rule = Rule {
    code: "websocket-not-taken",
    severity: Warning,
    why: "Each handshake that comes to this listener gets 403 (upgrade_failed); other listeners of the proxy take WebSockets.",
    fix: "If sessions come here, add upgrade_configs with upgrade_type: websocket to the connection manager or the route.",
};

/// A route to nowhere.
pub const UNKNOWN_CLUSTER: Rule = Rule {
    code: "unknown-cluster",
    severity: Error,
    why: "A route to a cluster that the proxy does not have answers each request with 503 (NC, cluster_not_found).",
    fix: "Write the name of a cluster that is there, or look why the control plane has not sent it.",
};

/// Clusters that lead nowhere.
pub const NO_HOSTS: Rule = Rule {
    code: "no-hosts",
    severity: Error,
    why: "A cluster without hosts, or without healthy ones where healthy_panic_threshold is 0, answers each request with 503 (UH, no_healthy_upstream), and so do drop_overloads of 100 % (DO, drop_overload).",
    fix: "Look why no pod is ready behind the Service, or none has the labels of the subset, and take drop_overloads away.",
};

/// Limits that no handshake meets.
pub const NO_ROOM: Rule = Rule {
    code: "no-room-for-handshakes",
    severity: Error,
    why: "Each handshake has at least five header fields (Host, Upgrade, Connection, Sec-WebSocket-Key, Sec-WebSocket-Version), and each answer to one three. A listener that takes fewer answers with 431, a cluster that takes fewer with 502.",
    fix: "Take max_headers_count away; Envoy's default is 100.",
};

/// Limits that some handshakes do not meet.
pub const LITTLE_ROOM: Rule = Rule {
    code: "little-room-for-handshakes",
    severity: Warning,
    why: "The handshake of a browser has about 14 header fields, with cookies some KiB, and each proxy before adds its own. What is longer is answered with 431, and an answer that is longer than a cluster takes with 502.",
    fix: "Raise max_headers_count and max_request_headers_kb, or leave Envoy's defaults: 100, and 60 KiB.",
};

/// Circuit breakers that are open.
pub const NO_SESSIONS: Rule = Rule {
    code: "no-sessions",
    severity: Error,
    why: "With a circuit breaker of 0 (max_requests, max_pending_requests) a cluster refuses each request: 503 (UO, overflow). What is not set is 1024.",
    fix: "Set it to more than the sessions that are open at a time.",
};

/// Circuit breakers that bound sessions.
pub const SESSION_LIMIT: Rule = Rule {
    code: "session-limit",
    severity: Note,
    why: "An open session is a request, and over HTTP/1.1 a connection, for as long as it lasts. Beyond the circuit breaker's max_requests and max_connections (1024 each, if nothing is set) new sessions get 503 (UO).",
    fix: "Set max_requests and max_connections of the cluster to more than the sessions that are open at a time.",
};

/// Two sides that do not speak the same.
pub const HOP_MISMATCH: Rule = Rule {
    code: "hop-mismatch",
    severity: Error,
    why: "What one side sends, HTTP/1.1 or TLS, the other does not take: no session begins. So it is where a DestinationRule says ISTIO_MUTUAL and the server has no sidecar, or a PeerAuthentication that says DISABLE.",
    fix: "Have both speak the same: of documents leave tls out, so that auto mTLS decides; of proxies the protocol and the transport socket of the cluster, and codec_type, ALPN and the transport socket of the listener.",
};

/// A kind, or a version of it, that no cluster has.
pub const UNKNOWN_KIND: Rule = Rule {
    code: "unknown-kind",
    severity: Error,
    why: "The cluster knows no such kind in this group, or not in this version, and refuses the document.",
    fix: "Write the kind and the apiVersion that the cluster has.",
};

/// A document that is not read, or not whole.
pub const NOT_JUDGED: Rule = Rule {
    code: "not-judged",
    severity: Note,
    why: "What is not read cannot be said to be right: whether it helps or hinders sessions was not looked at.",
    fix: "Look at it yourself, or at what the proxies were told (istioctl proxy-config).",
};

/// What the sidecars of this program leave out.
pub const NOT_PLAYED: Rule = Rule {
    code: "not-played",
    severity: Note,
    why: "A mesh does what this says; the sidecars of this program leave it out, and so nothing is known here of what it does to sessions. A scenario of verify whose sessions it is about is not judged to be right (5).",
    fix: "Nothing has to change. verify --kubernetes plays sessions in the mesh itself.",
};

/// Nothing was there to be judged.
pub const NOTHING_JUDGED: Rule = Rule {
    code: "nothing-judged",
    severity: Note,
    why: "Without a Service or a rule for one, or in a dump without a listener for HTTP, nothing can be said of sessions, neither good nor bad. lint then ends with 2, unless there is an error.",
    fix: "Give it the Services, Deployments and Istio's documents that belong together, of a proxy its whole config_dump.",
};

/// A part of a cluster that could not be read.
pub const NOT_READ: Rule = Rule {
    code: "not-read",
    severity: Warning,
    why: "What could not be read may say anything of sessions, so that nothing is said to be right: lint then ends with 2, unless there is an error.",
    fix: "Grant the right (manifests/lint-kubernetes has a ClusterRole with all that is needed), or have the proxy answer.",
};

/// A document that Istio or Kubernetes refuses.
pub const INVALID_DOCUMENT: Rule = Rule {
    code: "invalid-document",
    severity: Error,
    why: "The cluster refuses a document with a value of the wrong type, a name that does not exist, or a required field that is missing. The other documents were judged without it.",
    fix: "Write what is expected there.",
};

/// One of two documents is lost.
pub const DUPLICATE_DOCUMENT: Rule = Rule {
    code: "duplicate-document",
    severity: Error,
    why: "Two documents with the same kind, namespace and name are one to the cluster: the one that is applied last replaces the other. The first one was judged here.",
    fix: "Remove one of the two, or give it another name.",
};

/// A finding that cannot be allowed, since there is no such.
pub const UNKNOWN_CODE: Rule = Rule {
    code: "unknown-code",
    severity: Error,
    why: "A comment or annotation that is to allow findings names a code that none has, and so allows nothing.",
    fix: "Write # websockets-cli: allow CODE[, CODE…] or the annotation websockets-cli/allow: CODE[,CODE…] with codes of docs/lint.md.",
};
