#!/usr/bin/env python3
"""What `lint --config-dump` says of running Envoys, beside what a handshake through them meets: dumps.py BINARY ENVOY

Each case starts a pair of real Envoys with an echo server behind it, opens a WebSocket through both, takes both dumps, and
compares: a handshake that fails has to be an error, one that succeeds none, and the codes are those of the case. Then one
Envoy whose configuration comes by xDS, with what is refused and what waits; and one with a listener for each HTTP filter
that is said to let WebSockets pass.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

from discovered import ROUTER, DiscoveredEnvoy
from envoy_pair import EnvoyPair, addr, http_protocol_options, typed
from pair import HOST, SIDES, Options, claim_network, moved

# Options, what the handshake is answered with, and the codes beyond the notes.
CASES = [
    ({}, 101, set()),
    ({"h2_upgrade": "UPGRADE", "allow_connect": "on"}, 101, set()),
    ({"h2_upgrade": "UPGRADE"}, 503, {"upgrade-without-allow-connect"}),
    ({"upgrades": ""}, 403, {"no-websocket-taken"}),
    ({"mtls": True, "h2_upgrade": "UPGRADE", "allow_connect": "on"}, 101, set()),
    ({"stream_idle_timeout": "60s", "route_timeout": "9s"}, 101, {"stream-idle-timeout", "virtual-service-timeout"}),
    ({"max_conn_duration": "600s"}, 101, {"max-connection-duration"}),
]


# HTTP filters that let a handshake pass, each with what it needs to be one.
GZIP = "envoy.extensions.compression.gzip"
FILTERS = {
    "alternate_protocols_cache.v3.FilterConfig": {},
    "bandwidth_limit.v3.BandwidthLimit": {"stat_prefix": "b", "enable_mode": "REQUEST_AND_RESPONSE", "limit_kbps": 1000},
    "compressor.v3.Compressor": {"compressor_library": typed("gzip", f"{GZIP}.compressor.v3.Gzip")},
    "connect_grpc_bridge.v3.FilterConfig": {},
    "cors.v3.Cors": {},
    "csrf.v3.CsrfPolicy": {"filter_enabled": {"default_value": {"numerator": 100}}},
    "custom_response.v3.CustomResponse": {},
    "decompressor.v3.Decompressor": {"decompressor_library": typed("gzip", f"{GZIP}.decompressor.v3.Gzip")},
    "dynamic_forward_proxy.v3.FilterConfig": {"dns_cache_config": {"name": "d"}},
    "fault.v3.HTTPFault": {},
    "grpc_http1_bridge.v3.Config": {},
    "grpc_http1_reverse_bridge.v3.FilterConfig": {"content_type": "application/grpc"},
    "grpc_stats.v3.FilterConfig": {},
    "grpc_web.v3.GrpcWeb": {},
    "header_mutation.v3.HeaderMutation": {"mutations": {"request_mutations": [{"remove": "x-a"}]}},
    "header_to_metadata.v3.Config": {"request_rules": [{"header": "x-a", "on_header_present": {"key": "a", "type": "STRING"}}]},
    "health_check.v3.HealthCheck": {"pass_through_mode": False, "headers": [{"name": ":path", "string_match": {"exact": "/h"}}]},
    "ip_tagging.v3.IPTagging": {"ip_tags": [{"ip_tag_name": "a", "ip_list": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}]},
    "jwt_authn.v3.JwtAuthentication": {},
    "local_ratelimit.v3.LocalRateLimit": {"stat_prefix": "l"},
    "lua.v3.Lua": {"default_source_code": {"inline_string": "-- for routes to say more"}},
    "on_demand.v3.OnDemand": {},
    "original_src.v3.OriginalSrc": {},
    "rbac.v3.RBAC": {},
    "set_metadata.v3.Config": {"metadata": [{"metadata_namespace": "a", "value": {"b": "c"}}]},
    "stateful_session.v3.StatefulSession": {},
    "tap.v3.Tap": {"common_config": {"admin_config": {"config_id": "t"}}},
}


def handshake(address, path="/"):
    """The status that a handshake is answered with; nothing if there is no answer."""
    try:
        host, port = address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), timeout=10)
        with connect(f"ws://{HOST}:8080{path}", sock=connection, open_timeout=5, proxy=None) as session:
            session.send("hello")
            assert session.recv(timeout=10) == "hello"
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code
    except TimeoutError:
        return None


def judged(binary, pair):
    """The exit status and the findings on both dumps of a pair."""
    dumps = {side: pair.admin(side, "/config_dump?include_eds") for side in SIDES}
    return lint(binary, {pair.path(f"{side}-dump.json"): (f"{side}=", dump) for side, dump in dumps.items()})


def lint(binary, dumps):
    """The exit status and the findings on dumps, which are left in files of these names."""
    named = []
    for path, (side, dump) in dumps.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(dump)
        named.append(side + path)
    done = subprocess.run([binary, "lint", "--output", "json", "--config-dump", *named], capture_output=True, check=False)
    if not done.stdout:
        raise RuntimeError(done.stderr.decode())
    return done.returncode, json.loads(done.stdout)["findings"]


class Outcomes:
    """What was compared, line by line."""

    def __init__(self):
        self.cases = self.failed = 0

    def compare(self, what, found, expected):
        self.cases += 1
        self.failed += found != expected
        print(f"{'ok' if found == expected else 'FAILED'}: {what}: {found}" + ("" if found == expected else f", not {expected}"))


def beyond_notes(findings):
    return {finding["code"] for finding in findings if finding["severity"] != "note"}


def pairs(binary, envoy, network, outcomes):
    for changed, expected_status, expected_codes in CASES:
        options = dataclasses.replace(moved(Options(), network), **changed)
        with echo(options.app), EnvoyPair(options, envoy) as pair:
            status = handshake(options.outbound)
            code, findings = judged(binary, pair)
        found = (status, sorted(beyond_notes(findings)), code)
        outcomes.compare(changed or "as Istio has it", found, (expected_status, sorted(expected_codes), 0 if expected_status == 101 else 1))


@contextlib.contextmanager
def echo(address):
    host, port = address.rsplit(":", 1)

    def answer(session):
        # Of a handshake that comes to nothing the client is gone before a word.
        with contextlib.suppress(ConnectionClosed):
            for message in session:
                session.send(message)

    with serve(answer, host, int(port)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield


def by_xds(binary, envoy, network, outcomes):
    """What one Envoy was told by xDS, step by step."""
    discovered = DiscoveredEnvoy(envoy, network, f"{network}9:9000")
    path = os.path.join(discovered.folder, "dump.json")

    def compare(what, address, expected_status, *expected_codes):
        status = handshake(address)
        _, findings = lint(binary, {path: ("", discovered.dump())})
        outcomes.compare(what, (status, sorted(beyond_notes(findings))), (expected_status, sorted(expected_codes)))

    def has(text):
        discovered.until(lambda: text in discovered.dump(), f"told of {text}")

    filters = discovered.discovered_filter("f")
    listeners = [discovered.listener(filters=filters), discovered.listener("scoped", 8081, discovered.scoped())]
    host = discovered.address.rsplit(":", 1)[0]
    discovered.tell("cds", discovered.cluster())
    discovered.tell("rds", discovered.routes())
    key = {"fragments": [{"string_key": "GET"}]}
    discovered.tell("srds", {"name": "of-get", "route_configuration_name": "r", "key": key})
    discovered.tell("ecds", typed("f", "envoy.extensions.filters.http.cors.v3.Cors"))
    discovered.tell("lds", *listeners)
    with echo(discovered.application), discovered:
        has('"scoped_route_configs"')
        compare("listener, routes, filter and cluster by xDS", discovered.address, 101)
        compare("routes by SRDS", f"{host}:8081", 101)

        nameless = typed("none", "google.protobuf.Struct", value={})
        discovered.tell("lds", *listeners, discovered.listener("refused", 8082, filters=[nameless]))
        has('"error_state"')
        compare("a listener that is refused", discovered.address, 101, "rejected-update")
        waiting = {"rds": {"route_config_name": "never", "config_source": discovered.awaited()}}
        discovered.tell("lds", *listeners, discovered.listener("waiting", 8083, waiting))
        has('"warming_state"')
        compare("a listener that waits for its routes", discovered.address, 101, "not-in-force")
        # Its routes come from a file that does not have them: it takes connections, and answers 404.
        without = {"rds": {"route_config_name": "none", "config_source": discovered.source("rds")}}
        discovered.tell("lds", *listeners, discovered.listener("without", 8084, without))
        has('"without"')
        compare("a listener without its routes", f"{host}:8084", 404, "not-in-force")
        discovered.tell("lds", *listeners)
        eds = {"eds_config": discovered.awaited(), "service_name": "never"}
        discovered.tell("cds", discovered.cluster(), discovered.cluster("waiting", type="EDS", eds_cluster_config=eds))
        has('"dynamic_warming_clusters"')
        compare("a cluster that waits for its endpoints", discovered.address, 101, "not-in-force")
        discovered.tell("cds", discovered.cluster())
        discovered.until(lambda: "dynamic_warming_clusters" not in discovered.dump(), "without the cluster")
        discovered.tell("ecds", typed("f", "envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=1024))
        has("max_request_bytes")
        compare("a filter by ECDS that waits for bodies", discovered.address, None, "buffer-filter")


def filters(binary, envoy, network, outcomes):
    """Each filter that is said to let WebSockets pass, before a router."""
    discovered = DiscoveredEnvoy(envoy, network, f"{network}9:9000")
    host = discovered.address.rsplit(":", 1)[0]
    listeners = {}
    for number, (message, fields) in enumerate(FILTERS.items()):
        one = typed(message.split(".")[0], f"envoy.extensions.filters.http.{message}", **fields)
        listeners[message] = (f"{host}:{20000 + number}", discovered.listener(message, 20000 + number, filters=[one, ROUTER]))
    discovered.tell("cds", discovered.cluster())
    discovered.tell("rds", discovered.routes())
    discovered.tell("lds", *(listener for _, listener in listeners.values()))
    with echo(discovered.application), discovered:
        for message, (address, _) in listeners.items():
            outcomes.compare(message, handshake(address), 101)
        code, findings = lint(binary, {os.path.join(discovered.folder, "dump.json"): ("", discovered.dump())})
    outcomes.compare("no filter is a finding", (code, [finding["message"] for finding in findings]), (0, []))


def managers(binary, envoy, network, outcomes):
    """Options of connection managers, and routes one after the other, each alone in an Envoy's dump."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "c"}}
    upgrades = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
    behind = {"match": {"prefix": "/ws"}, "route": {"cluster": "c", **upgrades}}
    routes = {"upgrade_configs": [], "rds": None, "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route, behind]}]}}
    ignored = {"http_protocol_options": {"ignore_http_11_upgrade": [{"exact": "websocket"}]}}
    kinds = {"buffer.v3.Buffer": {"max_request_bytes": 1024}, "upstream_codec.v3.UpstreamCodec": {}}
    upstream = [typed(kind, f"envoy.extensions.filters.http.{kind}", **fields) for kind, fields in kinds.items()]
    buffering = {**ROUTER, "typed_config": {**ROUTER["typed_config"], "upstream_http_filters": upstream}}
    for what, fields, expected_status, *expected_codes in [
        ("Upgrade is not looked at", ignored, 426, "upgrade-removed"),
        ("a route behind one that takes all", routes, 403, "no-websocket-taken"),
        ("a filter on the way to each cluster waits for bodies", {"http_filters": [buffering]}, None, "buffer-filter"),
        ("a request has to be whole soon", {"request_timeout": "0.1s"}, 101),
        ("each connection has one request", {"common_http_protocol_options": {"max_requests_per_connection": 1}}, 101),
    ]:
        discovered = DiscoveredEnvoy(envoy, network, f"{network}9:9000")
        listener = discovered.listener()
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager.update(fields)
        discovered.tell("cds", discovered.cluster())
        discovered.tell("rds", discovered.routes())
        discovered.tell("lds", listener)
        path = os.path.join(discovered.folder, "dump.json")
        with echo(discovered.application), discovered:
            status = handshake(discovered.address, "/ws")
            _, findings = lint(binary, {path: ("", discovered.dump())})
        outcomes.compare(what, (status, sorted(beyond_notes(findings))), (expected_status, sorted(expected_codes)))


def fields(binary, envoy, network, outcomes):
    """What routes, filters and limits make of the fields of handshakes, one listener after the other."""

    def of(kind, key, value, action="OVERWRITE_IF_EXISTS_OR_ADD"):
        return {f"{kind}_headers_to_add": [{"header": {"key": key, "value": value}, "append_action": action}]}

    def mutation(kind, **mutations):
        fields = {"mutations": {f"{kind}_mutations": [mutations]}}
        return {"http_filters": [typed("m", "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation", **fields), ROUTER]}

    def early(**mutations):
        name = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
        return {"early_header_mutation_extensions": [typed("e", name, mutations=[mutations])]}

    close = {"header": {"key": "connection", "value": "close"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    removed = {f"{kind}_headers_to_remove": ["upgrade"] for kind in ("request", "response")}
    cases = [
        *((f"{field}, in requests", of("request", field, value), {}, ok) for field, value, ok in [
            ("connection", "close", False), ("connection", "upgrade", True), ("upgrade", "h2c", False), ("upgrade", "websocket", True),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==", False), ("sec-websocket-version", "8", False),
            ("sec-websocket-version", "13", True), ("transfer-encoding", "chunked", False), ("content-length", "5", False),
            ("content-length", "0", True), ("origin", "https://a", True),
        ]),
        *((f"{field}, in answers", of("response", field, value), {}, ok) for field, value, ok in [
            ("connection", "close", False), ("upgrade", "h2c", False), ("upgrade", "websocket", True), ("sec-websocket-accept", "a", False),
            ("x-a", "b", True),
        ]),
        *((f"{field}, {action}", of("request", field, "close", action), {}, ok) for field, action, ok in [
            ("connection", "APPEND_IF_EXISTS_OR_ADD", True), ("connection", "ADD_IF_ABSENT", True), ("connection", "OVERWRITE_IF_EXISTS", False),
            ("upgrade", "APPEND_IF_EXISTS_OR_ADD", False), ("upgrade", "ADD_IF_ABSENT", True), ("sec-websocket-key", "APPEND_IF_EXISTS_OR_ADD", False),
        ]),
        *((f"{kind}", {kind: fields}, {}, False) for kind, fields in removed.items()),
        *((f"{field} is removed from answers", {"response_headers_to_remove": [field]}, {}, False) for field in (
            "connection", "sec-websocket-accept", "sec-websocket-extensions")),
        ("a filter removes a field", {}, mutation("request", remove="connection"), False),
        ("a filter writes over a field", {}, mutation("request", append=close), False),
        ("a filter writes over a field of answers", {}, mutation("response", append=close), False),
        ("a field is removed before all else", {}, early(remove="upgrade"), False),
        ("a field of no handshake is removed before all else", {}, early(remove="x-a"), True),
        ("four fields", {}, {"common_http_protocol_options": {"max_headers_count": 4}}, False),
        ("as many fields as there may be", {}, {"common_http_protocol_options": {"max_headers_count": 100}}, True),
    ]
    discovered = DiscoveredEnvoy(envoy, network, f"{network}9:9000")
    host = discovered.address.rsplit(":", 1)[0]
    listeners = []
    for number, (what, of_route, of_manager, _) in enumerate(cases):
        route = {"match": {"prefix": "/"}, "route": {"cluster": "c"}, **of_route}
        routes = {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]}
        listener = discovered.listener(f"of {what}", 20000 + number, {"route_config": routes})
        listener["filter_chains"][0]["filters"][0]["typed_config"].update(of_manager)
        listeners.append(listener)
    few = discovered.cluster("few")
    few["typed_extension_protocol_options"] = http_protocol_options(
        explicit_http_config={"http_protocol_options": {}}, common_http_protocol_options={"max_headers_count": 2}
    )
    discovered.tell("cds", discovered.cluster(), few)
    discovered.tell("rds", discovered.routes())
    path = os.path.join(discovered.folder, "dump.json")
    with echo(discovered.application), discovered:
        for number, ((what, *_, ok), listener) in enumerate(zip(cases, listeners)):
            discovered.tell("lds", listener)
            name = json.dumps(listener["name"])
            discovered.until(lambda: name in discovered.dump() and discovered.dump().count('"active_state"') == 1, f"told of {name}")
            status = attempt(f"{host}:{20000 + number}")
            _, findings = lint(binary, {path: ("", discovered.dump())})
            errors = any(finding["severity"] == "error" for finding in findings)
            outcomes.compare(what, (status == 101, not errors), (ok, ok))
        discovered.tell("rds", discovered.routes(route={"cluster": "few"}))
        discovered.tell("lds", discovered.listener())
        discovered.until(lambda: '"name": "l"' in discovered.dump(), "told of the last")
        _, findings = lint(binary, {path: ("", discovered.dump())})
        found = (attempt(discovered.address), sorted(beyond_notes(findings)))
        outcomes.compare("a cluster that takes two fields", found, (502, ["no-room-for-handshakes"]))


def attempt(address):
    """The status of a handshake; nothing if the client does not take the answer, or the session does not last."""
    try:
        return handshake(address)
    except (InvalidHandshake, ConnectionClosed):
        return None


def hosts(binary, envoy, network, outcomes):
    """Clusters and routes whose requests reach a host, and some whose do not, each alone in an Envoy's dump."""

    def drops(numerator, denominator):
        percentage = {"numerator": numerator, "denominator": denominator}
        return {"policy": {"drop_overloads": [{"category": "c", "drop_percentage": percentage}]}}

    def breaker(name, limit):
        unlimited = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 4294967295)
        return {"circuit_breakers": {"thresholds": [{**unlimited, name: limit}]}}

    def host(status, **threshold):
        endpoint = {"endpoint": {"address": addr(f"{network}9:9000")}, "health_status": status}
        assignment = {"load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint]}]}}
        return {**assignment, **({"common_lb_config": {"healthy_panic_threshold": threshold}} if threshold else {})}

    def assigned(**fields):
        return {"load_assignment": {**host("HEALTHY")["load_assignment"], **fields}}

    def share(numerator):
        return {"match": {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": numerator}}}}

    for what, fields, route, expected_status, *expected_codes in [
        ("a cluster without hosts", assigned(endpoints=[{}]), {}, 503, "no-hosts"),
        ("a cluster that drops every request", assigned(**drops(100, "HUNDRED")), {}, 503, "no-hosts"),
        ("a cluster that drops no request", assigned(**drops(0, "MILLION")), {}, 101),
        ("a host that is not healthy", host("UNHEALTHY"), {}, 101),
        ("one that is not, and no panic", host("UNHEALTHY", value=0), {}, 503, "no-hosts"),
        ("one that is draining, and no panic", host("DRAINING", value=0), {}, 503, "no-hosts"),
        ("one that is degraded, and no panic", host("DEGRADED", value=0), {}, 101),
        ("no request", breaker("max_requests", 0), {}, 503, "no-sessions"),
        ("no request that waits", breaker("max_pending_requests", 0), {}, 503, "no-sessions"),
        ("no connection but the one that there may be", breaker("max_connections", 0), {}, 101),
        ("a route that nothing takes", {}, share(0), 404, "no-websocket-taken"),
        ("a route that all take", {}, share(100), 101),
    ]:
        discovered = DiscoveredEnvoy(envoy, network, f"{network}9:9000")
        cluster = {**discovered.cluster(), **fields}
        discovered.tell("cds", cluster)
        discovered.tell("rds", discovered.routes(**route))
        discovered.tell("lds", discovered.listener())
        path = os.path.join(discovered.folder, "dump.json")
        with echo(discovered.application), discovered:
            status = handshake(discovered.address)
            _, findings = lint(binary, {path: ("", discovered.dump())})
        outcomes.compare(what, (status, sorted(beyond_notes(findings))), (expected_status, sorted(expected_codes)))


def main(binary, envoy):
    network, outcomes = claim_network(), Outcomes()
    pairs(binary, envoy, network, outcomes)
    by_xds(binary, envoy, network, outcomes)
    filters(binary, envoy, network, outcomes)
    managers(binary, envoy, network, outcomes)
    hosts(binary, envoy, network, outcomes)
    fields(binary, envoy, network, outcomes)
    print(f"{outcomes.cases} cases, {outcomes.failed} failed")
    return 1 if outcomes.failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
