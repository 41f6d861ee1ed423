"""A real Envoy configured like an Istio ingress gateway, in front of one configured like the server's sidecar.

    client --H1, H2, TLS--> [gateway] --H1 or H2, maybe mTLS--> [server sidecar, inbound] --H1--> app server

The options hold a Gateway's `servers` and a VirtualService's `http` as they are in the documents; `gateway_config`
makes of them what pilot would. The server's side is `envoy_pair.server_config`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "envoy"))
from envoy_pair import (  # noqa: E402
    ALPN,
    SERVER_IDENTITY,
    EnvoyPair,
    T,
    access_log,
    addr,
    bootstrap,
    cluster,
    hcm,
    http_protocol_options,
    server_config,
    tls_to_server,
)
from pair import HOST as SERVICE_HOST  # noqa: E402
from pair import moved  # noqa: E402

WEB_HOST = "ws.example.com"
HTTP_SERVER = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [WEB_HOST]}
HTTPS_SERVER = {
    "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
    "hosts": [WEB_HOST],
    "tls": {"mode": "SIMPLE", "credentialName": "ws-example-com"},
}
DESTINATION = {"destination": {"host": "websockets-server", "port": {"number": 8080}}}
GATEWAY_IDENTITY = "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"


def one_route():
    return [{"route": [DESTINATION]}]


@dataclasses.dataclass
class Options:
    # documents of the gateway
    servers: list = dataclasses.field(default_factory=lambda: [HTTP_SERVER])  # Gateway spec.servers
    hosts: list = dataclasses.field(default_factory=lambda: [WEB_HOST])  # VirtualService spec.hosts
    gateways: list = dataclasses.field(default_factory=lambda: ["ws-gateway"])  # VirtualService spec.gateways
    http: list = dataclasses.field(default_factory=one_route)  # VirtualService spec.http; empty: no VirtualService
    hcm_merge: dict = dataclasses.field(default_factory=dict)  # EnvoyFilter GATEWAY, NETWORK_FILTER, MERGE
    route_merge: dict = dataclasses.field(default_factory=dict)  # EnvoyFilter GATEWAY, HTTP_ROUTE, MERGE
    trusted_proxies: int = 0  # ProxyConfig gatewayTopology.numTrustedProxies
    tracing: bool = False  # MeshConfig enableTracing without a provider, both proxies (Istio's default is true)
    # documents of the Service
    h2_upgrade: str = "DO_NOT_UPGRADE"  # DestinationRule connectionPool.http.h2UpgradePolicy
    use_client_protocol: bool = False  # DestinationRule connectionPool.http.useClientProtocol
    second_port: bool = False  # the Service also has the port 9090, so no destination port can be guessed
    allow_connect: str = "off"  # the guide's EnvoyFilter on the server sidecar
    mtls: bool = False  # auto mTLS between gateway and sidecar
    max_concurrent_streams: int = 0  # EnvoyFilter on the server sidecar
    log_encoding: str = "JSON"  # MeshConfig accessLogEncoding
    # addresses
    http_listen: str = "127.0.10.1:8080"  # the gateway's bound port for servers with the number 80
    https_listen: str = "127.0.10.1:8443"  # ... with the number 443
    client: str = "127.0.10.9"  # where the clients come from (not 127.0.0.1, which Envoy replaces by its own address)
    inbound: str = "127.0.10.2:8000"  # the server pod, captured inbound
    app: str = "127.0.10.3:8001"  # the application
    upstream: str = ""  # what the gateway dials (default: inbound); a relay can sit here
    gateway_admin: str = "127.0.10.1:15000"
    server_admin: str = "127.0.10.2:15000"
    # what envoy_pair's server side also asks for
    stream_idle_timeout: str = "0s"
    server_stream_idle_timeout: str = ""
    upgrades: str = "websocket"
    retry: str = "on"
    delayed_close: str = ""

    @property
    def outbound(self):
        """The name by which stage.py knows the address that clients dial."""
        return self.http_listen

    @property
    def terminates_tls(self):
        return any(is_https(server) for server in self.servers)

    def moved_to(self, network):
        """The same with the addresses of another network, such as `127.0.11.`."""
        return moved(self, network)

    def listen(self, server):
        return self.https_listen if server["port"]["number"] == 443 else self.http_listen


def is_https(server):
    return server["port"]["protocol"] == "HTTPS"


def merge(base, patch):
    """What an EnvoyFilter's MERGE does to a message: scalars replaced, messages merged, lists appended."""
    for key, value in patch.items():
        if isinstance(value, dict):
            merge(base.setdefault(key, {}), value)
        elif isinstance(value, list):
            base.setdefault(key, []).extend(value)
        else:
            base[key] = value
    return base


# ---------------------------------------------------------------- routes (core/route/route.go)
def string_match(match):
    (kind, text), = match.items()
    return {"safe_regex": {"regex": text}} if kind == "regex" else {kind: text}


def header_match(name, match):
    if not match or match == {"regex": "*"}:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_match(match)}


def route_match(match):
    found = {"prefix": "/"}
    if "uri" in match:
        (kind, text), = match["uri"].items()
        found = {"exact": {"path": text}, "prefix": {"prefix": text}, "regex": {"safe_regex": {"regex": text}}}[kind]
    headers = [header_match(name, match["headers"][name]) for name in sorted(match.get("headers", {}))]
    for name in ("method", "authority", "scheme"):
        if name in match:
            headers.append(header_match(f":{name}", match[name]))
    parameters = [
        {"name": name, "string_match": string_match(value)} if value else {"name": name, "present_match": True}
        for name, value in match.get("queryParams", {}).items()
    ]
    found = {**found, "case_sensitive": not match.get("ignoreUriCase", False)}
    return {**found, **({"headers": headers} if headers else {}), **({"query_parameters": parameters} if parameters else {})}


def destination_cluster(o, destination, server):
    host = destination["host"] if "." in destination["host"] else f"{destination['host']}.default.svc.cluster.local"
    port = destination.get("port", {}).get("number")
    if not port:
        port = server["port"]["number"] if o.second_port else 8080
    return f"outbound|{port}|{destination.get('subset', '')}|{host}"


def retry_policy(retries):
    if retries and not retries.get("attempts"):
        return {}
    policy = {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2,
        "host_selection_retry_max_attempts": "5",
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": T + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ],
    }
    if retries:
        policy["num_retries"] = retries["attempts"]
        if retries.get("retryOn"):
            policy["retry_on"] = retries["retryOn"]
        if retries.get("perTryTimeout"):
            policy["per_try_timeout"] = retries["perTryTimeout"]
    return {"retry_policy": policy}


def one_envoy_route(o, rule, match, server):
    name = ".".join(part for part in (rule.get("name", ""), (match or {}).get("name", "")) if part)
    route = {**({"name": name} if name else {}), "match": route_match(match or {})}
    if "redirect" in rule:
        redirect = rule["redirect"]
        keys = {"uri": "path_redirect", "authority": "host_redirect", "scheme": "scheme_redirect", "port": "port_redirect"}
        codes = {302: "FOUND", 303: "SEE_OTHER", 307: "TEMPORARY_REDIRECT", 308: "PERMANENT_REDIRECT"}
        route["redirect"] = {keys[key]: redirect[key] for key in keys if key in redirect}
        route["redirect"]["response_code"] = codes.get(redirect.get("redirectCode", 301), "MOVED_PERMANENTLY")
        operation = f"ws:{server['port']['number']}"
    elif "directResponse" in rule:
        answer = rule["directResponse"]
        route["direct_response"] = {"status": answer["status"]}
        if "body" in answer:
            route["direct_response"]["body"] = {"inline_string": answer["body"]["string"]}
        operation = f"ws:{server['port']['number']}"
    else:
        name = destination_cluster(o, rule["route"][0]["destination"], server)
        action = {"cluster": name, "timeout": rule.get("timeout", "0s"), "max_grpc_timeout": rule.get("timeout", "0s")}
        rewrite = rule.get("rewrite", {})
        if "uri" in rewrite:
            action["prefix_rewrite"] = rewrite["uri"]
        if "uriRegexRewrite" in rewrite:
            regex = rewrite["uriRegexRewrite"]
            action["regex_rewrite"] = {"pattern": {"regex": regex["match"]}, "substitution": regex["rewrite"]}
        if "authority" in rewrite:
            action["host_rewrite_literal"] = rewrite["authority"]
        route["route"] = {**action, **retry_policy(rule.get("retries"))}
        _, port, _, host = name.split("|")
        operation = f"{host}:{port}"
    for direction, key in (("request", "request_headers_to_"), ("response", "response_headers_to_")):
        change = rule.get("headers", {}).get(direction, {})
        added = [(k, v, "OVERWRITE_IF_EXISTS_OR_ADD") for k, v in sorted(change.get("set", {}).items())]
        added += [(k, v, "APPEND_IF_EXISTS_OR_ADD") for k, v in sorted(change.get("add", {}).items())]
        if added:
            route[key + "add"] = [{"header": {"key": k, "value": v}, "append_action": action} for k, v, action in added]
        if "remove" in change:
            route[key + "remove"] = change["remove"]
    kind = next((k for k in ("prefix", "path", "safe_regex") if k in route["match"]), None)
    path = {"prefix": lambda m: m["prefix"] + "*", "path": lambda m: m["path"], "safe_regex": lambda m: m["safe_regex"]["regex"]}
    route["decorator"] = {"operation": operation + path[kind](route["match"])}
    return merge(route, json.loads(json.dumps(o.route_merge)))


def is_catch_all(route):
    match = route["match"]
    return (match.get("prefix") == "/" or match.get("safe_regex", {}).get("regex") == ".*") and not (
        match.get("headers") or match.get("query_parameters")
    )


def envoy_routes(o, server):
    routes = []
    for rule in o.http:
        for match in rule.get("match") or [None]:
            if match and match.get("port", server["port"]["number"]) != server["port"]["number"]:
                continue
            routes.append(one_envoy_route(o, rule, match, server))
            if is_catch_all(routes[-1]):
                return routes
    return routes


def covers(wildcard, host):
    return wildcard == "*" or wildcard == host or (wildcard.startswith("*.") and host.endswith(wildcard[1:]))


def intersection(server_hosts, vs_hosts):
    """The hosts that both sides name, of two that cover one another the more specific one."""
    bare = [host.partition("/")[2] if "/" in host else host for host in server_hosts]
    found = [vs if covers(own, vs) else own for own in bare for vs in vs_hosts if covers(own, vs) or covers(vs, own)]
    return list(dict.fromkeys(host.lower() for host in found))


def is_bound(o):
    """Whether there is a VirtualService for the gateway."""
    return o.http and any(name in ("ws-gateway", "default/ws-gateway") for name in o.gateways)


def virtual_hosts(o, servers):
    hosts = {}
    for server in servers:
        number = server["port"]["number"]
        redirected = server.get("tls", {}).get("httpsRedirect", False)
        matching = intersection(server["hosts"], o.hosts) if is_bound(o) else []
        for host in matching + ([h for h in server["hosts"] if h not in matching] if redirected else []):
            found = hosts.setdefault(
                host, {"name": f"{host}:{number}", "domains": [host], "include_request_attempt_count": True, "routes": []}
            )
            if host in matching:
                found["routes"] += envoy_routes(o, server)
            if redirected:
                found["require_tls"] = "ALL"
    for host in hosts.values():
        host["routes"].sort(key=is_catch_all)
    number = servers[0]["port"]["number"]
    return list(hosts.values()) or [{"name": f"blackhole:{number}", "domains": ["*"], "routes": []}]


# ---------------------------------------------------------------- the gateway (core/gateway.go)
def connection_manager(o, folder, servers, route_name):
    routes = {
        "name": route_name,
        "virtual_hosts": virtual_hosts(o, servers),
        "validate_clusters": False,
        "ignore_port_in_host_matching": True,
        "max_direct_response_body_size_bytes": 1048576,
    }
    extra = {
        "stat_prefix": f"outbound_{route_name}",
        "use_remote_address": True,
        "xff_num_trusted_hops": o.trusted_proxies,
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": True, "cert": True, "dns": True, "uri": True},
        "server_name": "istio-envoy",
        "http_protocol_options": {},
    }
    if o.tracing:
        extra["tracing"] = TRACING
    found = hcm(o, "gateway", f"{folder}/gateway.jsonl", routes, **extra)
    merge(found["typed_config"], json.loads(json.dumps(o.hcm_merge)))
    return found


TRACING = {"client_sampling": {"value": 100}, "random_sampling": {"value": 1}, "overall_sampling": {"value": 100}}


def listener(o, folder, address, chains, **extra):
    log = access_log(o, f"{folder}/gateway.jsonl")  # core/accesslog.go setListenerAccessLog: only connections without a chain
    log[0]["filter"] = {"response_flag_filter": {"flags": ["NR"]}}
    return {
        "name": f"0.0.0.0_{address.rsplit(':', 1)[1]}",
        "address": addr(address),
        "traffic_direction": "OUTBOUND",
        "access_log": log,
        "filter_chains": [{"transport_socket_connect_timeout": "15s", **chain} for chain in chains],
        **extra,
    }


def gateway_listeners(o, folder):
    listeners = []
    plain = [server for server in o.servers if not is_https(server)]
    secure = [server for server in o.servers if is_https(server)]
    if plain:
        port = o.listen(plain[0]).rsplit(":", 1)[1]
        listeners.append(listener(o, folder, o.listen(plain[0]), [{"filters": [connection_manager(o, folder, plain, f"http.{port}")]}]))
    chains = []
    for server in secure:
        name = f"https.{server['port']['number']}.{server['port']['name']}.ws-gateway.default"
        chain = {"filters": [connection_manager(o, folder, [server], name)]}
        if "*" not in server["hosts"]:
            chain["filter_chain_match"] = {"server_names": server["hosts"]}
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": T + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": False,
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_certificates": [
                        {
                            "certificate_chain": {"filename": f"{folder}/web.crt"},
                            "private_key": {"filename": f"{folder}/web.key"},
                        }
                    ],
                },
            },
        }
        chains.append(chain)
    if chains:
        inspector = {
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": {"@type": T + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"},
        }
        listeners.append(listener(o, folder, o.listen(secure[0]), chains, listener_filters=[inspector]))
    return listeners


def upstream_protocol(o, h2):
    """The protocol towards the upstream hosts, as a cluster's extension options."""
    if o.use_client_protocol:
        as_downstream = {"http_protocol_options": {}, "http2_protocol_options": {}}
        return http_protocol_options(use_downstream_protocol_config=as_downstream)
    return http_protocol_options(explicit_http_config={"http2_protocol_options" if h2 else "http_protocol_options": {}})


def service_cluster(o, folder, port):
    h2 = o.h2_upgrade == "UPGRADE"
    extra = {"lb_policy": "LEAST_REQUEST", "typed_extension_protocol_options": upstream_protocol(o, h2)}
    if o.mtls:
        extra["transport_socket"] = tls_to_server(folder, "gateway", ALPN["HTTP/2" if h2 else "HTTP/1.1"], port)
    return cluster(f"outbound|{port}||{SERVICE_HOST}", o.upstream or o.inbound, **extra)


def gateway_config(o, folder):
    clusters = [service_cluster(o, folder, port) for port in ([8080, 9090] if o.second_port else [8080])]
    config = bootstrap(o, "gateway", o.gateway_admin, gateway_listeners(o, folder), clusters)
    config["node"] = {"id": "router~gateway", "cluster": "istio-ingressgateway.istio-system"}
    return config


def sidecar_config(o, folder):
    config = server_config(o, folder)
    if o.use_client_protocol:  # buildInboundCluster applies the rule's connectionPool, h2UpgradePolicy excepted
        config["static_resources"]["clusters"][0]["typed_extension_protocol_options"] = upstream_protocol(o, False)
    if o.tracing:
        for chain in config["static_resources"]["listeners"][0]["filter_chains"]:
            chain["filters"][0]["typed_config"]["tracing"] = TRACING
    return config


# ---------------------------------------------------------------- certificates
NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
EXTENSIONS = """\
subjectAltName={names}
extendedKeyUsage=serverAuth,clientAuth
keyUsage=critical,digitalSignature,keyEncipherment
"""


def make_certificates(folder):
    """Throw-away: the mesh's CA with both workloads' certificates, and a CA of the web with the site's."""

    def openssl(command):
        subprocess.run(["openssl", *command.split()], check=True, cwd=folder, capture_output=True)

    for ca in ("ca", "web-ca"):
        openssl(f"req -x509 {NEW_KEY} -keyout {ca}.key -out {ca}.crt -days 2 -subj /O={ca}")
    for side, ca, subject, names in (
        ("gateway", "ca", "/", f"critical,URI:{GATEWAY_IDENTITY}"),
        ("server", "ca", "/", f"critical,URI:{SERVER_IDENTITY}"),
        ("web", "web-ca", f"/CN={WEB_HOST}", f"DNS:{WEB_HOST},DNS:*.example.com"),
    ):
        with open(os.path.join(folder, f"{side}.extensions"), "w", encoding="utf-8") as file:
            file.write(EXTENSIONS.format(names=names))
        openssl(f"req {NEW_KEY} -keyout {side}.key -out {side}.csr -subj {subject}")
        signed = f"-CA {ca}.crt -CAkey {ca}.key -CAcreateserial -days 2"
        openssl(f"x509 -req -in {side}.csr {signed} -out {side}.crt -extfile {side}.extensions")


# ---------------------------------------------------------------- the two processes
SIDES = ("gateway", "server")


class Gateway:
    """What two proxies in a row have to themselves of which the first is a gateway: for a `pair.Pair`."""

    sides = SIDES

    def log_name(self, side):
        return "gateway.jsonl" if side == "gateway" else "server-sidecar.jsonl"

    def make_certificates(self):
        if self.options.mtls or self.options.terminates_tls:
            make_certificates(self.folder)


class EnvoyGateway(Gateway, EnvoyPair):
    """Gateway and server sidecar, both real Envoy."""

    def configuration(self, side):
        return (gateway_config if side == "gateway" else sidecar_config)(self.options, self.folder)
