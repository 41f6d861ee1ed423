//! The bootstrap of a real Envoy that is to be one of the sidecars: the static form of what Istio
//! would send it.
//!
//! Istio: `pilot/pkg/networking/core/listener_builder.go` (`buildHTTPConnectionManager`),
//! `httproute.go`, `cluster_builder.go`, `pkg/bootstrap/config.go`. What the documents decide comes
//! from [`Outbound`] and [`Inbound`]; what they merge into the HTTP connection manager is merged
//! here again as it was written, so that Envoy sees also what the sidecars of this program do not
//! know. Not here: mutual TLS, interception, and the filters that only Istio's build of Envoy has,
//! nor what makes a difference only with several endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};

use crate::mesh::{
    Cluster, ClusterKind, Fault, FieldMatch, FieldOperations, FieldWrite, FractionalPercent,
    HttpConnectionManager, Inbound, Outbound, PathMatch, QueryParameterMatch, Redirect, RetryPolicy, Route,
    RouteAction, RouteMatch, UpstreamProtocol, ValueMatch, VirtualHost, format_duration,
};
use crate::verify::target::INBOUND_SOURCE;

/// A 32-bit number without any bound, as Istio sets Envoy's circuit breakers.
const UNBOUNDED: u32 = u32::MAX;

/// Istio's default JSON format (`pilot/pkg/model/telemetry_logging.go`, `EnvoyJSONLogFormatIstio`).
const ACCESS_LOG_KEYS: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
];

/// The client's sidecar, which sends what is for a Service to `upstream`.
pub(super) fn outbound(sidecar: &Outbound, upstream: SocketAddr, access_log: &Path) -> Value {
    let route_config = json!({
        "name": "outbound",
        "virtual_hosts": sidecar.virtual_hosts.iter().map(virtual_host).collect::<Value>(),
        "validate_clusters": false,
        "max_direct_response_body_size_bytes": 1_048_576,
        "ignore_port_in_host_matching": true,
    });
    let manager = connection_manager(&sidecar.connection_manager, "outbound", &route_config, access_log);
    let clusters = clusters(&sidecar.virtual_hosts, |found| {
        let mut cluster = cluster(found, upstream);
        if found.kind == ClusterKind::Endpoint {
            cluster["lb_policy"] = "LEAST_REQUEST".into();
        }
        cluster
    });
    let listener = json!({
        "name": "outbound",
        "address": address(any_port()),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [manager]}],
    });
    bootstrap("client", &listener, &clusters)
}

/// The server's sidecar, before `application`.
pub(super) fn inbound(sidecar: &Inbound, application: SocketAddr, access_log: &Path) -> Value {
    let route_config = json!({
        "name": "inbound",
        "virtual_hosts": [virtual_host(&sidecar.virtual_host)],
        "validate_clusters": false,
    });
    let mut manager = connection_manager(&sidecar.connection_manager, "inbound", &route_config, access_log);
    let config = &mut manager["typed_config"];
    config["forward_client_cert_details"] = "APPEND_FORWARD".into();
    config["set_current_client_cert_details"] = json!({"subject": true, "dns": true, "uri": true});
    let clusters = clusters(std::slice::from_ref(&sidecar.virtual_host), |found| {
        let mut cluster = cluster(found, application);
        cluster["upstream_bind_config"] =
            json!({"source_address": {"address": INBOUND_SOURCE, "port_value": 0}});
        cluster
    });
    let listener = json!({
        "name": "virtualInbound",
        "address": address(any_port()),
        "traffic_direction": "INBOUND",
        "filter_chains": [{"filters": [manager]}],
    });
    bootstrap("server", &listener, &clusters)
}

fn bootstrap(side: &str, listener: &Value, clusters: &[Value]) -> Value {
    json!({
        "node": {"id": format!("sidecar~{side}"), "cluster": format!("{side}.default")},
        "admin": {"address": address(any_port())},
        // pkg/bootstrap/config.go, extractRuntimeFlags
        "layered_runtime": {"layers": [
            {"name": "global config", "static_layer": {
                "re2.max_program_size.error_level": 32_768,
                "envoy.reloadable_features.http_reject_path_with_fragment": false,
            }},
            {"name": "admin", "admin_layer": {}},
        ]},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    })
}

/// Loopback, and a port that the system chooses; the admin interface tells which.
fn any_port() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip(), "port_value": address.port()}})
}

/// A message of one of Envoy's types.
fn typed(name: &str, config: Value) -> Value {
    let mut config = config;
    config["@type"] = format!("type.googleapis.com/{name}").into();
    config
}

fn connection_manager(
    manager: &HttpConnectionManager,
    stat_prefix: &str,
    route_config: &Value,
    access_log: &Path,
) -> Value {
    let filter = |name: &str, message: &str| {
        let message = format!("envoy.extensions.filters.http.{message}");
        json!({"name": format!("envoy.filters.http.{name}"), "typed_config": typed(&message, json!({}))})
    };
    let keys: BTreeMap<_, _> = ACCESS_LOG_KEYS.into();
    let file = json!({
        "path": access_log,
        "log_format": {"json_format": keys, "json_format_options": {"sort_properties": false}},
    });
    let mut config = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": stat_prefix,
            "server_name": manager.server_name,
            "codec_type": "AUTO",
            "route_config": route_config,
            "use_remote_address": false,
            "normalize_path": true,
            "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "proxy_100_continue": true,
            "access_log": [{
                "name": "envoy.access_loggers.file",
                "typed_config": typed("envoy.extensions.access_loggers.file.v3.FileAccessLog", file),
            }],
            "http_filters": [
                filter("grpc_stats", "grpc_stats.v3.FilterConfig"),
                filter("fault", "fault.v3.HTTPFault"),
                filter("cors", "cors.v3.Cors"),
                filter("router", "router.v3.Router"),
            ],
        }),
    );
    for patch in &manager.patches {
        merge(&mut config, patch);
    }
    // Istio reads these as Go does, 1h30m, and Envoy only in seconds.
    config["stream_idle_timeout"] =
        manager.stream_idle_timeout.map_or("0s".to_owned(), format_duration).into();
    if let Some(duration) = manager.max_stream_duration {
        config["common_http_protocol_options"]["max_stream_duration"] = format_duration(duration).into();
    }
    config["delayed_close_timeout"] = format_duration(manager.delayed_close_timeout).into();
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": config})
}

/// Protobuf's merge, in JSON: messages merge, lists are appended to, everything else is replaced.
fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(patch)) => into.extend(patch.iter().cloned()),
        (into, patch) => *into = patch.clone(),
    }
}

fn virtual_host(host: &VirtualHost) -> Value {
    json!({
        "name": host.name,
        "domains": host.domains,
        "include_request_attempt_count": host.include_request_attempt_count,
        "routes": host.routes.iter().map(route).collect::<Value>(),
    })
}

fn route(route: &Route) -> Value {
    let mut json = json!({"match": route_match(&route.conditions)});
    write_fields(&mut json, &route.request_fields, &route.response_fields);
    if let Some(name) = &route.name {
        json["name"] = name.as_str().into();
    }
    if let Some(fault) = &route.fault {
        let fault = typed("envoy.extensions.filters.http.fault.v3.HTTPFault", http_fault(fault));
        json["typed_per_filter_config"] = json!({"envoy.filters.http.fault": fault});
    }
    match &route.action {
        RouteAction::DirectResponse { status, body } => {
            json["direct_response"] = json!({"status": status});
            if !body.is_empty() {
                json["direct_response"]["body"] = json!({"inline_string": body});
            }
        }
        RouteAction::UnknownCluster { name, .. } => json["route"] = json!({"cluster": name}),
        RouteAction::Redirect(Redirect { status, scheme, authority, port, path }) => {
            json["redirect"] = present(json!({
                "response_code": redirect_code(*status),
                "scheme_redirect": scheme,
                "host_redirect": authority,
                "port_redirect": port,
                "path_redirect": path,
            }));
        }
        RouteAction::Forward { .. } => json["route"] = forward(&route.action),
        RouteAction::Weighted(weighted) => {
            // All of them have the same but for the cluster.
            json["route"] = weighted.first().map_or(Value::Null, |first| forward(&first.action));
            let clusters = weighted.iter().map(|weighted| {
                let name = match &weighted.action {
                    RouteAction::UnknownCluster { name, .. } => Some(name),
                    action => action.clusters().next().map(|cluster| &cluster.name),
                };
                let mut json = json!({"name": name, "weight": weighted.weight});
                write_fields(&mut json, &weighted.request_fields, &weighted.response_fields);
                json
            });
            json["route"]["weighted_clusters"] = json!({"clusters": clusters.collect::<Value>()});
            json["route"].as_object_mut().and_then(|route| route.remove("cluster"));
        }
    }
    if !route.upgrades.is_empty() {
        let upgrade = |(kind, enabled)| json!({"upgrade_type": kind, "enabled": enabled});
        json["route"]["upgrade_configs"] = route.upgrades.iter().map(upgrade).collect();
    }
    json
}

fn write_fields(json: &mut Value, request: &FieldOperations, response: &FieldOperations) {
    for (of, operations) in [("request", request), ("response", response)] {
        if !operations.remove.is_empty() {
            json[format!("{of}_headers_to_remove")] = json!(operations.remove);
        }
        if !operations.write.is_empty() {
            json[format!("{of}_headers_to_add")] = operations.write.iter().map(field_write).collect();
        }
    }
}

fn http_fault(fault: &Fault) -> Value {
    let parts = |parts: FractionalPercent| json!({"numerator": parts.millionths(), "denominator": "MILLION"});
    present(json!({
        "delay": fault.delay.map(|(delay, of)| json!({
            "fixed_delay": format_duration(delay), "percentage": parts(of),
        })),
        "abort": fault.abort.map(|(status, of)| json!({"http_status": status, "percentage": parts(of)})),
    }))
}

/// Envoy's `RouteAction`, to one cluster.
fn forward(action: &RouteAction) -> Value {
    let RouteAction::Forward { cluster, timeout, retry, rewrite } = action else { return json!({}) };
    let timeout = timeout.map_or("0s".to_owned(), format_duration);
    let mut json = json!({"cluster": cluster.name, "timeout": timeout});
    if retry.num_retries > 0 {
        json["retry_policy"] = retry_policy(retry);
    }
    if let Some(authority) = &rewrite.authority {
        json["host_rewrite_literal"] = authority.as_str().into();
    }
    if let Some((pattern, substitution)) = &rewrite.regex {
        json["regex_rewrite"] = json!({"pattern": {"regex": pattern.as_str()}, "substitution": substitution});
    } else if let Some(prefix) = &rewrite.prefix {
        json["prefix_rewrite"] = prefix.as_str().into();
    }
    json
}

fn route_match(conditions: &RouteMatch) -> Value {
    let mut json = match &conditions.path {
        PathMatch::Prefix(prefix) => json!({"prefix": prefix}),
        PathMatch::Exact(path) => json!({"path": path}),
        PathMatch::Regex(pattern) => json!({"safe_regex": {"regex": pattern.as_str()}}),
    };
    if !conditions.case_sensitive {
        json["case_sensitive"] = false.into();
    }
    if !conditions.fields.is_empty() {
        let field = |FieldMatch { name, value, invert }: &FieldMatch| {
            let mut json = value_match(value);
            json["name"] = name.as_str().into();
            if *invert {
                json["invert_match"] = true.into();
                json["treat_missing_header_as_empty"] = (*value != ValueMatch::Present).into();
            }
            json
        };
        json["headers"] = conditions.fields.iter().map(field).collect();
    }
    if !conditions.query_parameters.is_empty() {
        let parameter = |parameter: &QueryParameterMatch| {
            let mut json = value_match(&parameter.value);
            json["name"] = parameter.name.as_str().into();
            json
        };
        json["query_parameters"] = conditions.query_parameters.iter().map(parameter).collect();
    }
    json
}

fn value_match(value: &ValueMatch) -> Value {
    match value {
        ValueMatch::Present => json!({"present_match": true}),
        ValueMatch::Exact(exact) => json!({"string_match": {"exact": exact}}),
        ValueMatch::Prefix(prefix) => json!({"string_match": {"prefix": prefix}}),
        ValueMatch::Regex(pattern) => json!({"string_match": {"safe_regex": {"regex": pattern.as_str()}}}),
    }
}

fn field_write(FieldWrite { name, value, overwrite }: &FieldWrite) -> Value {
    let action = if *overwrite { "OVERWRITE_IF_EXISTS_OR_ADD" } else { "APPEND_IF_EXISTS_OR_ADD" };
    json!({"header": {"key": name, "value": value}, "append_action": action})
}

/// Envoy's `RedirectResponseCode`.
fn redirect_code(status: u16) -> &'static str {
    match status {
        302 => "FOUND",
        303 => "SEE_OTHER",
        307 => "TEMPORARY_REDIRECT",
        308 => "PERMANENT_REDIRECT",
        _ => "MOVED_PERMANENTLY",
    }
}

/// A message without the fields that have no value.
fn present(mut message: Value) -> Value {
    if let Some(fields) = message.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    message
}

fn retry_policy(retry: &RetryPolicy) -> Value {
    json!({
        "retry_on": retry.retry_on.names().join(","),
        "num_retries": retry.num_retries,
        "retriable_status_codes": retry.retry_on.retriable_status_codes,
    })
}

/// The clusters that the routes lead to, each once.
fn clusters(hosts: &[VirtualHost], json: impl Fn(&Cluster) -> Value) -> Vec<Value> {
    let routes = hosts.iter().flat_map(|host| &host.routes);
    let clusters = routes.flat_map(|route| route.action.clusters());
    let clusters = clusters.map(|cluster| (cluster.name.as_str(), json(cluster)));
    clusters.collect::<BTreeMap<_, _>>().into_values().collect()
}

fn cluster(cluster: &Cluster, endpoint: SocketAddr) -> Value {
    let http2 = json!({"max_concurrent_streams": cluster.max_concurrent_streams});
    let mut options = match cluster.protocol {
        UpstreamProtocol::Http1 => json!({"explicit_http_config": {"http_protocol_options": {}}}),
        UpstreamProtocol::Http2 => json!({"explicit_http_config": {"http2_protocol_options": http2}}),
        UpstreamProtocol::UseDownstream => json!({"use_downstream_protocol_config": {
            "http_protocol_options": {}, "http2_protocol_options": http2,
        }}),
    };
    let mut common = json!({"idle_timeout": cluster.idle_timeout.map_or("0s".to_owned(), format_duration)});
    if let Some(duration) = cluster.max_connection_duration {
        common["max_connection_duration"] = format_duration(duration).into();
    }
    options["common_http_protocol_options"] = common;
    let message = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let mut json = json!({
        "name": cluster.name,
        "connect_timeout": format_duration(cluster.connect_timeout),
        "circuit_breakers": {"thresholds": [{
            "max_connections": UNBOUNDED,
            "max_pending_requests": UNBOUNDED,
            "max_requests": UNBOUNDED,
            "max_retries": UNBOUNDED,
            "track_remaining": true,
        }]},
        "typed_extension_protocol_options": {message: typed(message, options)},
    });
    match cluster.kind {
        ClusterKind::Endpoint => {
            json["type"] = "STATIC".into();
            json["load_assignment"] = json!({
                "cluster_name": cluster.name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(endpoint)}}]}],
            });
        }
        ClusterKind::Passthrough => {
            json["type"] = "ORIGINAL_DST".into();
            json["lb_policy"] = "CLUSTER_PROVIDED".into();
        }
    }
    json
}

#[cfg(test)]
mod tests;
