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


def addr(a):
    h, p = a.rsplit(":", 1)
    return {"socket_address": {"address": h, "port_value": int(p)}}


def access_log(o, path):
    fmt = (
        {"json_format": JSON_KEYS, "json_format_options": {"sort_properties": False}}
        if o.log_encoding == "JSON"
        else {"text_format_source": {"inline_string": TEXT_FORMAT}}
    )
    return [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": T + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": path,
                "log_format": fmt,
            },
        }
    ]


def hcm(o, side, log, routes, **extra):
    # istio: pilot/pkg/networking/core/listener_builder.go, buildHTTPConnectionManager
    f = lambda n, t: {"name": n, "typed_config": {"@type": T + t}}
    sit = o.stream_idle_timeout
    if side == "server" and o.server_stream_idle_timeout:
        sit = o.server_stream_idle_timeout
    c = {
        "@type": T + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "codec_type": "AUTO",
        "route_config": routes,
        "use_remote_address": False,
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "upgrade_configs": [{"upgrade_type": u} for u in o.upgrades.split(",") if u],
        "stream_idle_timeout": sit,
        "proxy_100_continue": True,
        "access_log": access_log(o, log),
        "http_filters": [
            f("envoy.filters.http.grpc_stats", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"),
            f("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
            f("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"),
            f("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
        ],
        **extra,
    }
    if o.delayed_close:
        c["delayed_close_timeout"] = o.delayed_close
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": c}


def cluster(name, address, **extra):
    big = 4294967295
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": addr(address)}}]}],
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": big,
                    "max_pending_requests": big,
                    "max_requests": big,
                    "max_retries": big,
                    "track_remaining": True,
                }
            ]
        },
        **extra,
    }


def bootstrap(o, side, admin, listeners, clusters):
    return {
        "node": {"id": f"sidecar~{side}", "cluster": f"{side}.default"},
        "admin": {"address": addr(admin)},
        # istio: pkg/bootstrap/config.go, extractRuntimeFlags
        "layered_runtime": {
            "layers": [
                {
                    "name": "global config",
                    "static_layer": {
                        "re2.max_program_size.error_level": 32768,
                        "envoy.reloadable_features.http_reject_path_with_fragment": False,
                    },
                },
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def tls_common(folder, who, alpn):
    return {
        "alpn_protocols": alpn,
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {"certificate_chain": {"filename": f"{folder}/{who}.crt"}, "private_key": {"filename": f"{folder}/{who}.key"}}
        ],
    }


def client_config(o, folder):
    """Client sidecar: outbound listener for an http-* Service port, route, cluster (httproute.go, cluster_builder.go)."""
    name = f"outbound|8080||{HOST}"
    h2 = o.h2_upgrade == "UPGRADE"
    po = {}
    if h2:  # setH2Options(): http2_protocol_options: {}
        po["explicit_http_config"] = {"http2_protocol_options": {}}
        if o.upstream_allow_connect == "on":
            po["explicit_http_config"]["http2_protocol_options"]["allow_connect"] = True
        if o.upstream_max_streams:
            po["explicit_http_config"]["http2_protocol_options"]["max_concurrent_streams"] = o.upstream_max_streams
    else:
        po["explicit_http_config"] = {"http_protocol_options": {}}
    ch = {}
    if o.tcp_idle_timeout:
        ch["idle_timeout"] = o.tcp_idle_timeout
    if o.max_conn_duration:
        ch["max_connection_duration"] = o.max_conn_duration
    if ch:
        po["common_http_protocol_options"] = ch
    extra = {
        "lb_policy": "LEAST_REQUEST",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": T + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                **po,
            }
        },
    }
    if o.mtls:
        # istio.alpn's override: istio-h2 or istio-http/1.1 first (pilot/pkg/xds/filters/filters.go)
        alpn = ["istio-h2", "istio", "h2"] if h2 else ["istio-http/1.1", "istio", "http/1.1"]
        ctx = tls_common(folder, "client", alpn)
        ctx["validation_context"] = {
            "trusted_ca": {"filename": f"{folder}/ca.crt"},
            "match_typed_subject_alt_names": [
                {"san_type": "URI", "matcher": {"exact": "spiffe://cluster.local/ns/default/sa/websockets-server"}}
            ],
        }
        extra["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": T + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": ctx,
                "sni": f"outbound_.8080_._.{HOST}",
            },
        }
    r = {"cluster": name, "timeout": o.route_timeout, "max_grpc_timeout": "0s"}
    if o.retry == "on":
        r["retry_policy"] = {
            "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
            "num_retries": 2,
            "host_selection_retry_max_attempts": "5",
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": T + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                    },
                }
            ],
        }
    vip = o.outbound.rsplit(":", 1)[0]
    vhosts = [
        {
            "name": f"{HOST}:8080",
            "include_request_attempt_count": True,
            "domains": [HOST, "websockets-server", "websockets-server.default.svc", "websockets-server.default", vip],
            "routes": [
                {"name": "default", "match": {"prefix": "/"}, "route": r, "decorator": {"operation": f"{HOST}:8080/*"}}
            ],
        }
    ]
    clusters = [cluster(name, o.upstream or o.inbound, **extra)]
    if o.outbound_policy == "ALLOW_ANY":
        vhosts.append(
            {
                "name": "allow_any",
                "domains": ["*"],
                "include_request_attempt_count": True,
                "routes": [
                    {
                        "name": "allow_any",
                        "match": {"prefix": "/"},
                        "route": {"cluster": "PassthroughCluster", "timeout": "0s", "max_grpc_timeout": "0s"},
                    }
                ],
            }
        )
        clusters.append(
            cluster(
                "PassthroughCluster",
                o.passthrough,
                typed_extension_protocol_options={
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": T + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "common_http_protocol_options": {"idle_timeout": "300s"},
                        "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
                    }
                },
            )
        )
    elif o.outbound_policy == "REGISTRY_ONLY":
        vhosts.append(
            {
                "name": "block_all",
                "domains": ["*"],
                "include_request_attempt_count": True,
                "routes": [{"name": "block_all", "match": {"prefix": "/"}, "direct_response": {"status": 502}}],
            }
        )
    routes = {
        "name": "8080",
        "virtual_hosts": vhosts,
        "validate_clusters": False,
        "max_direct_response_body_size_bytes": 1048576,
        "ignore_port_in_host_matching": True,
    }
    x = {"stat_prefix": "outbound_0.0.0.0_8080;"}
    if o.outbound_allow_connect == "on":
        x["http2_protocol_options"] = {"allow_connect": True}
    lst = {
        "name": "0.0.0.0_8080",
        "address": addr(o.outbound),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [hcm(o, "client", f"{folder}/client-sidecar.jsonl", routes, **x)]}],
    }
    return bootstrap(o, "client", o.client_admin, [lst], clusters)


def server_config(o, folder):
    """Server sidecar: virtualInbound chain for target port 80 (listener_inbound.go)."""
    name = "inbound|80||"
    r = {
        "cluster": name,
        "timeout": "0s",
        "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
    }
    if o.retry == "on":
        r["retry_policy"] = {"retry_on": "reset-before-request", "num_retries": 2}
    routes = {
        "name": name,
        "validate_clusters": False,
        "virtual_hosts": [
            {
                "name": "inbound|http|8080",
                "domains": ["*"],
                "routes": [
                    {
                        "name": "default",
                        "match": {"prefix": "/"},
                        "route": r,
                        "decorator": {"operation": f"{HOST}:8080/*"},
                    }
                ],
            }
        ],
    }
    x = {
        "stat_prefix": "inbound_0.0.0.0_80;",
        "server_name": "istio-envoy",
        "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": {"subject": True, "dns": True, "uri": True},
    }
    h2 = {}
    if o.allow_connect == "on":  # what the guide's EnvoyFilter MERGE adds
        h2["allow_connect"] = True
    if o.max_concurrent_streams:
        h2["max_concurrent_streams"] = o.max_concurrent_streams
    if h2:
        x["http2_protocol_options"] = h2
    chain = {"name": "0.0.0.0_80", "filters": [hcm(o, "server", f"{folder}/server-sidecar.jsonl", routes, **x)]}
    lst = {
        "name": "virtualInbound",
        "address": addr(o.inbound),
        "traffic_direction": "INBOUND",
        "filter_chains": [chain],
    }
    if o.mtls:
        ctx = tls_common(folder, "server", ["h2", "http/1.1"])  # util.ALPNHttp; istio-* names only match filter chains
        ctx["validation_context"] = {
            "trusted_ca": {"filename": f"{folder}/ca.crt"},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}}],
        }
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": T + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": ctx,
                "require_client_certificate": True,
            },
        }
        chain["filter_chain_match"] = {
            "transport_protocol": "tls",
            "application_protocols": ["istio-http/1.0", "istio-http/1.1", "istio-h2"],
        }
        lst["listener_filters"] = [
            {
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": {"@type": T + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"},
            }
        ]
    # Istio's inbound cluster is ORIGINAL_DST with the magic source address 127.0.0.6
    c = cluster(name, o.app, upstream_bind_config={"source_address": {"address": "127.0.0.6", "port_value": 0}})
    return bootstrap(o, "server", o.server_admin, [lst], [c])


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
