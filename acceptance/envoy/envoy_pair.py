"""A pair of real Envoy processes, configured like Istio's sidecars.

The functions make Envoy's configuration from `Options`; the comments name the place in Istio's source that does the same.
kubernetes/mesh uses them too, for the sidecars in its pods.
"""

from __future__ import annotations

import json

from pair import HOST, Options, Pair

# istio: pilot/pkg/model/telemetry_logging.go, EnvoyJSONLogFormatIstio
JSON_KEYS = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}
# same file, EnvoyTextLogFormat
TEXT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% '
    '%PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% '
    '%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" '
    '"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" '
    "%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% "
    "%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
T = "type.googleapis.com/"
HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UNLIMITED = 4294967295
# istio: pilot/pkg/xds/filters/filters.go, what istio.alpn puts before the ALPN of the protocol
ALPN = {"HTTP/2": ["istio-h2", "istio", "h2"], "HTTP/1.1": ["istio-http/1.1", "istio", "http/1.1"]}
SERVER_IDENTITY = "spiffe://cluster.local/ns/default/sa/websockets-server"


# ---------------------------------------------------------------- parts
def addr(address):
    host, port = address.rsplit(":", 1)
    return {"socket_address": {"address": host, "port_value": int(port)}}


def typed(name, message, **fields):
    """An extension of Envoy's with its configuration."""
    return {"name": name, "typed_config": {"@type": T + message, **fields}}


def access_log(options, path):
    text = {"text_format_source": {"inline_string": TEXT_FORMAT}}
    as_json = {"json_format": JSON_KEYS, "json_format_options": {"sort_properties": False}}
    log_format = as_json if options.log_encoding == "JSON" else text
    message = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
    return [typed("envoy.access_loggers.file", message, path=path, log_format=log_format)]


def hcm(options, side, log, routes, **extra):
    """The HTTP connection manager (listener_builder.go, buildHTTPConnectionManager)."""
    idle_timeout = options.stream_idle_timeout
    if side == "server" and options.server_stream_idle_timeout:
        idle_timeout = options.server_stream_idle_timeout
    fields = {
        "codec_type": "AUTO",
        "route_config": routes,
        "use_remote_address": False,
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "upgrade_configs": [{"upgrade_type": name} for name in options.upgrades.split(",") if name],
        "stream_idle_timeout": idle_timeout,
        "proxy_100_continue": True,
        "access_log": access_log(options, log),
        "http_filters": [
            typed("envoy.filters.http.grpc_stats", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"),
            typed("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
            typed("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"),
            typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
        ],
        **extra,
    }
    if options.delayed_close:
        fields["delayed_close_timeout"] = options.delayed_close
    message = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return typed("envoy.filters.network.http_connection_manager", message, **fields)


def cluster(name, address, **extra):
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    threshold = {**dict.fromkeys(limits, UNLIMITED), "track_remaining": True}
    endpoint = {"endpoint": {"address": addr(address)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [threshold]},
        **extra,
    }


def http_protocol_options(**fields):
    """How a cluster speaks HTTP to its hosts."""
    return {HTTP_PROTOCOL_OPTIONS: {"@type": T + HTTP_PROTOCOL_OPTIONS, **fields}}


def bootstrap(options, side, admin, listeners, clusters):
    # istio: pkg/bootstrap/config.go, extractRuntimeFlags
    flags = {
        "re2.max_program_size.error_level": 32768,
        "envoy.reloadable_features.http_reject_path_with_fragment": False,
    }
    layers = [{"name": "global config", "static_layer": flags}, {"name": "admin", "admin_layer": {}}]
    return {
        "node": {"id": f"sidecar~{side}", "cluster": f"{side}.default"},
        "admin": {"address": addr(admin)},
        "layered_runtime": {"layers": layers},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


# ---------------------------------------------------------------- mutual TLS
def tls_common(folder, who, alpn):
    certificate = {
        "certificate_chain": {"filename": f"{folder}/{who}.crt"},
        "private_key": {"filename": f"{folder}/{who}.key"},
    }
    return {
        "alpn_protocols": alpn,
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [certificate],
    }


def tls_to_server(folder, who, alpn, port):
    """The transport socket towards the server's sidecar: it has to show the server's identity."""
    context = tls_common(folder, who, alpn)
    context["validation_context"] = {
        "trusted_ca": {"filename": f"{folder}/ca.crt"},
        "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": SERVER_IDENTITY}}],
    }
    message = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    sni = f"outbound_.{port}_._.{HOST}"
    return typed("envoy.transport_sockets.tls", message, common_tls_context=context, sni=sni)


def tls_from_clients(folder):
    """The transport socket of the server's sidecar: any identity of the mesh may come."""
    context = tls_common(folder, "server", ["h2", "http/1.1"])  # util.ALPNHttp; istio-* names only match filter chains
    context["validation_context"] = {
        "trusted_ca": {"filename": f"{folder}/ca.crt"},
        "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}}],
    }
    message = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    fields = {"common_tls_context": context, "require_client_certificate": True}
    return typed("envoy.transport_sockets.tls", message, **fields)


# ---------------------------------------------------------------- the client's sidecar
def client_config(options, folder):
    """Outbound listener for an http-* Service port, route, cluster (httproute.go, cluster_builder.go)."""
    service = service_cluster(options, folder)
    clusters, virtual_hosts = [service], [service_host(options, service["name"])]
    if options.outbound_policy == "ALLOW_ANY":
        clusters.append(passthrough_cluster(options))
        virtual_hosts.append(allow_any())
    elif options.outbound_policy == "REGISTRY_ONLY":
        virtual_hosts.append(block_all())
    routes = {
        "name": "8080",
        "virtual_hosts": virtual_hosts,
        "validate_clusters": False,
        "max_direct_response_body_size_bytes": 1048576,
        "ignore_port_in_host_matching": True,
    }
    extra = {"stat_prefix": "outbound_0.0.0.0_8080;"}
    if options.outbound_allow_connect == "on":
        extra["http2_protocol_options"] = {"allow_connect": True}
    manager = hcm(options, "client", f"{folder}/client-sidecar.jsonl", routes, **extra)
    listener = {
        "name": "0.0.0.0_8080",
        "address": addr(options.outbound),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [manager]}],
    }
    return bootstrap(options, "client", options.client_admin, [listener], clusters)


def service_cluster(options, folder):
    is_http2 = options.h2_upgrade == "UPGRADE"
    protocol = {}
    if is_http2 and options.upstream_allow_connect == "on":
        protocol["allow_connect"] = True
    if is_http2 and options.upstream_max_streams:
        protocol["max_concurrent_streams"] = options.upstream_max_streams
    # setH2Options(): http2_protocol_options: {}
    fields = {"explicit_http_config": {"http2_protocol_options" if is_http2 else "http_protocol_options": protocol}}
    common = {"idle_timeout": options.tcp_idle_timeout, "max_connection_duration": options.max_conn_duration}
    if common := {name: value for name, value in common.items() if value}:
        fields["common_http_protocol_options"] = common
    extra = {"lb_policy": "LEAST_REQUEST", "typed_extension_protocol_options": http_protocol_options(**fields)}
    if options.mtls:
        alpn = ALPN["HTTP/2" if is_http2 else "HTTP/1.1"]
        extra["transport_socket"] = tls_to_server(folder, "client", alpn, 8080)
    return cluster(f"outbound|8080||{HOST}", options.upstream or options.inbound, **extra)


def service_host(options, cluster_name):
    route = {"cluster": cluster_name, "timeout": options.route_timeout, "max_grpc_timeout": "0s"}
    if options.retry == "on":
        previous_hosts = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
        route["retry_policy"] = {
            "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
            "num_retries": 2,
            "host_selection_retry_max_attempts": "5",
            "retry_host_predicate": [typed("envoy.retry_host_predicates.previous_hosts", previous_hosts)],
        }
    names = [HOST, "websockets-server", "websockets-server.default.svc", "websockets-server.default"]
    decorator = {"operation": f"{HOST}:8080/*"}
    return {
        "name": f"{HOST}:8080",
        "include_request_attempt_count": True,
        "domains": [*names, options.outbound.rsplit(":", 1)[0]],
        "routes": [{"name": "default", "match": {"prefix": "/"}, "route": route, "decorator": decorator}],
    }


def allow_any():
    route = {"cluster": "PassthroughCluster", "timeout": "0s", "max_grpc_timeout": "0s"}
    return {
        "name": "allow_any",
        "domains": ["*"],
        "include_request_attempt_count": True,
        "routes": [{"name": "allow_any", "match": {"prefix": "/"}, "route": route}],
    }


def block_all():
    return {
        "name": "block_all",
        "domains": ["*"],
        "include_request_attempt_count": True,
        "routes": [{"name": "block_all", "match": {"prefix": "/"}, "direct_response": {"status": 502}}],
    }


def passthrough_cluster(options):
    as_downstream = {"http_protocol_options": {}, "http2_protocol_options": {}}
    fields = {
        "common_http_protocol_options": {"idle_timeout": "300s"},
        "use_downstream_protocol_config": as_downstream,
    }
    extra = {"typed_extension_protocol_options": http_protocol_options(**fields)}
    return cluster("PassthroughCluster", options.passthrough, **extra)


# ---------------------------------------------------------------- the server's sidecar
def server_config(options, folder):
    """The virtualInbound chain for target port 80 (listener_inbound.go)."""
    name = "inbound|80||"
    extra = {
        "stat_prefix": "inbound_0.0.0.0_80;",
        "server_name": "istio-envoy",
        "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": {"subject": True, "dns": True, "uri": True},
    }
    http2 = {}
    if options.allow_connect == "on":  # what the guide's EnvoyFilter MERGE adds
        http2["allow_connect"] = True
    if options.max_concurrent_streams:
        http2["max_concurrent_streams"] = options.max_concurrent_streams
    if http2:
        extra["http2_protocol_options"] = http2
    manager = hcm(options, "server", f"{folder}/server-sidecar.jsonl", inbound_routes(options, name), **extra)
    chain = {"name": "0.0.0.0_80", "filters": [manager]}
    listener = {
        "name": "virtualInbound",
        "address": addr(options.inbound),
        "traffic_direction": "INBOUND",
        "filter_chains": [chain],
    }
    if options.mtls:
        chain["transport_socket"] = tls_from_clients(folder)
        chain["filter_chain_match"] = {
            "transport_protocol": "tls",
            "application_protocols": ["istio-http/1.0", "istio-http/1.1", "istio-h2"],
        }
        inspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
        listener["listener_filters"] = [typed("envoy.filters.listener.tls_inspector", inspector)]
    # Istio's inbound cluster is ORIGINAL_DST with the magic source address 127.0.0.6
    source = {"source_address": {"address": "127.0.0.6", "port_value": 0}}
    application = cluster(name, options.app, upstream_bind_config=source)
    return bootstrap(options, "server", options.server_admin, [listener], [application])


def inbound_routes(options, cluster_name):
    route = {
        "cluster": cluster_name,
        "timeout": "0s",
        "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
    }
    if options.retry == "on":
        route["retry_policy"] = {"retry_on": "reset-before-request", "num_retries": 2}
    decorator = {"operation": f"{HOST}:8080/*"}
    virtual_host = {
        "name": "inbound|http|8080",
        "domains": ["*"],
        "routes": [{"name": "default", "match": {"prefix": "/"}, "route": route, "decorator": decorator}],
    }
    return {"name": cluster_name, "validate_clusters": False, "virtual_hosts": [virtual_host]}


# ---------------------------------------------------------------- the pair
class EnvoyPair(Pair):
    """Two Envoys 1.40, each with one worker."""

    def __init__(self, options: Options, envoy: str):
        super().__init__(options)
        self.envoy = envoy

    def command(self, side):
        with open(self.path(f"{side}.json"), "w", encoding="utf-8") as file:
            json.dump(self.configuration(side), file, indent=1)
        arguments = {
            "-c": self.path(f"{side}.json"),
            "-l": "warning",
            "--concurrency": "1",
            "--drain-time-s": "5",
            "--file-flush-interval-msec": "20",  # of the access log; Envoy's default is 10 s
        }
        return [self.envoy, "--disable-hot-restart", *(word for option in arguments.items() for word in option)]

    def configuration(self, side):
        return (client_config if side == "client" else server_config)(self.options, self.folder)

    def is_ready(self, side):
        try:
            return self.admin(side, "/ready").startswith("LIVE")
        except OSError:
            return False

    def stats(self, side, regex):
        """The counters whose names match."""
        pairs = (line.rpartition(": ") for line in self.admin(side, f"/stats?filter={regex}").splitlines())
        return {name: value for name, _, value in pairs}
