#!/usr/bin/env python3
"""Records a line of a real Envoy for each way in which a WebSocket can end or fail at a proxy: endings.py ENVOY BINARY

Two Envoys, configured for nothing else, are led into every response flag and every response code detail that a WebSocket
can meet.  Each line goes to tests/fixtures/endings.jsonl of the project as {"how": …, "line": …}, and docs/access-log.md gets
a table of what `BINARY explain` says of it.  The last line says how many were recorded, and which flags none has; exit
status 1 if a request left no line.  (Needs the h2 library.)
"""

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.request

from envoy_pair import JSON_KEYS, T, addr, http_protocol_options, typed
from stage import (
    FakeSidecar,
    H2Client,
    Listening,
    ScriptedServer,
    answer,
    dial,
    extended_connect,
    handshake,
    read_all,
    read_head,
    response,
)

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
FIXTURE = os.path.join(ROOT, "tests", "fixtures", "endings.jsonl")
PAGE = os.path.join(ROOT, "docs", "access-log.md")
HTTP = "envoy.extensions.filters.http."
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
MASKED_TEXT = b"\x81\x82\x00\x00\x00\x00hi"
# The flags of Envoy 1.40; those that stay without a line are said on the page.
FLAGS = (
    "LH UH UT LR UR UF UC UO NR DI FI RL UAEX RLSE DC URX SI IH DPE UMSDR RFCF NFCF DT UPE NC OM DF DO DR UDO".split()
)


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


# ---------------------------------------------------------------- applications
def echo(connection, head):
    """101, then every byte back, until the client leaves."""
    connection.sendall(SWITCHED)
    with contextlib.suppress(OSError):
        while data := connection.recv(65536):
            connection.sendall(data)


def closes(connection, head):
    """101, the first bytes back, and the end."""
    connection.sendall(SWITCHED)
    connection.sendall(connection.recv(65536))


def drops(connection, head):
    """The end without an answer."""


def waits(connection, head):
    """No answer."""
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def resets_with(code):
    """An application that speaks HTTP/2 and resets the stream of each request."""

    def act(connection, stream):
        connection.reset_stream(stream, code)

    return act


def h2_page(connection, stream):
    """An application that speaks HTTP/2 and answers whatever it is asked with a page."""
    connection.send_headers(stream, [(":status", "200")])
    connection.send_data(stream, b"hello", end_stream=True)


class NoTls(Listening):
    """Answers a TLS handshake as a server of HTTP does that knows no TLS."""

    def _serve(self, connection):
        connection.recv(100)
        connection.sendall(response("400 Bad Request", ""))
        connection.close()


# ---------------------------------------------------------------- configuration
def cluster(name, address=None, protocol=None, **extra):
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": addr(address)}}]}] if address else []
    options = {}
    if protocol == "h2":
        options = {"typed_extension_protocol_options": http_protocol_options(explicit_http_config={"http2_protocol_options": {}})}
    assignment = {"cluster_name": name, "endpoints": endpoints, **extra.pop("assignment", {})}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment, **options, **extra}


def route(path, cluster_name, filters=None, **extra):
    action = {"cluster": cluster_name, "timeout": "0s", **extra}
    fields = {"match": {"prefix": path}, "route": action, "name": path.strip("/")}
    if filters:
        fields["typed_per_filter_config"] = filters
    return fields


def per_route(message, **fields):
    return {"@type": T + HTTP + message, **fields}


def access_log(log):
    """Istio's JSON keys, to the file `log`."""
    return typed(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path=log,
        log_format={"json_format": JSON_KEYS},
    )


def listener(name, address, log, routes, filters=(), **extra):
    router = typed("envoy.filters.http.router", HTTP + "router.v3.Router", **extra.pop("router", {}))
    manager = typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="AUTO",
        upgrade_configs=[{"upgrade_type": "websocket"}],
        stream_idle_timeout="0s",
        access_log=[access_log(log)],
        http_filters=[*filters, router],
        route_config={"validate_clusters": False, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        **extra,
    )
    return {"name": name, "address": addr(address), "filter_chains": [{"filters": [manager]}]}


def tcp_listener(name, address, log, to, **extra):
    proxy = typed(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=name,
        cluster=to,
        access_log=[access_log(log)],
        **extra,
    )
    return {"name": name, "address": addr(address), "filter_chains": [{"filters": [proxy]}]}


def disabled(message):
    return {"@type": T + HTTP + message, "disabled": True}


class Endings:
    """The Envoys, their applications, and the lines that they wrote."""

    def __init__(self, envoy, folder):
        self.envoy, self.folder = envoy, folder
        self.log = os.path.join(folder, "access.log")
        self.processes = []
        self.recorded = []
        self.failed = []
        self.seen = 0
        handlers = {
            "echo": echo,
            "closes": closes,
            "drops": drops,
            "waits": waits,
            "plain": answer(response("200 OK", "hello")),
            "moved": answer(response("302 Found", "", "Location: /elsewhere\r\n")),
            "refuses": answer(response("403 Forbidden", "no")),
            "old": answer(response("426 Upgrade Required", "")),
            "garbage": answer(b"This is not HTTP\r\n\r\n"),
        }
        self.clusters, self.listeners = [], []
        for name, handler in handlers.items():
            address = free_address()
            ScriptedServer(address, handler)
            self.clusters.append(cluster(name, address))
        for name, act in {"h2-resets": resets_with(8), "h2-refuses": resets_with(7), "h2-breaks": resets_with(1), "h2": h2_page}.items():
            address = free_address()
            FakeSidecar(address, act)
            self.clusters.append(cluster(name, address, "h2"))
        self.clusters += [
            cluster("refused", free_address()),
            cluster("empty"),
            cluster("overflow", free_address(), circuit_breakers={"thresholds": [{"max_connections": 0, "max_pending_requests": 0}]}),
            cluster("dropped", free_address(), assignment={"policy": {"drop_overloads": [
                {"category": "all", "drop_percentage": {"numerator": 100}}]}}),
            cluster("some-dropped", free_address(), assignment={"policy": {"drop_overloads": [
                {"category": "most", "drop_percentage": {"numerator": 999999, "denominator": "MILLION"}}]}}),
        ]
        address = free_address()
        NoTls(address)
        self.clusters.append(cluster("not-tls", address, transport_socket=typed(
            "envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext")))
        self.authz, self.ratelimit = free_address(), free_address()
        ScriptedServer(self.authz, answer(response("403 Forbidden", "")))
        self.clusters.append(cluster("authz", self.authz))
        self.clusters.append(cluster("authz-down", free_address()))
        self.clusters.append(cluster("ratelimit", self.ratelimit, "h2"))

    # ------------------------------------------------------------ Envoy
    def start(self, name, listeners, clusters, **extra):
        admin = free_address()
        config = {
            "node": {"id": name, "cluster": name},
            "admin": {"address": addr(admin)},
            "static_resources": {"listeners": listeners, "clusters": clusters},
            **extra,
        }
        path = os.path.join(self.folder, f"{name}.json")
        with open(path, "w") as file:
            json.dump(config, file)
        log = open(os.path.join(self.folder, f"{name}.log"), "w")
        process = subprocess.Popen(
            [self.envoy, "-c", path, "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning", "--file-flush-interval-msec", "50"],
            stdout=log,
            stderr=log,
        )
        self.processes.append(process)
        for _ in range(300):
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"http://{admin}/ready", timeout=1).read().strip() == b"LIVE":
                    return admin
            if process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"Envoy {name} did not start: {open(log.name).read()[-2000:]}")

    def stop(self):
        for process in self.processes:
            process.terminate()
            process.wait()

    # ------------------------------------------------------------ lines
    def line(self, how, patience=4.0):
        """Takes the line that has just been written."""
        for _ in range(int(patience / 0.05)):
            with contextlib.suppress(OSError), open(self.log) as file:
                lines = file.read().splitlines()
                if len(lines) > self.seen:
                    self.seen = len(lines)
                    self.recorded.append({"how": how, "line": json.loads(lines[-1])})
                    return
            time.sleep(0.05)
        self.failed.append(how)

    def session(self, how, address, path, then=lambda sock: None, **options):
        """A handshake, and what the client does once it has read the head of the answer."""
        sock = dial(address)
        sock.sendall(handshake(path, **options))
        with contextlib.suppress(OSError):
            read_head(sock, 3)
            then(sock)
        sock.close()
        self.line(how)


def say(sock):
    sock.sendall(MASKED_TEXT)
    sock.recv(100)


def until_end(sock):
    say(sock)
    read_all(sock, 3)


def play(run):
    """All of them, by the part of the proxy that ends them."""
    main, strict, limited, tcp, tcp_refused = (free_address() for _ in range(5))
    fault = HTTP + "fault.v3.HTTPFault"
    percentage = {"numerator": 100, "denominator": "HUNDRED"}
    fault_of = lambda **fields: {"envoy.filters.http.fault": {"@type": T + fault, **fields}}
    local_limit = lambda: {
        "envoy.filters.http.local_ratelimit": per_route(
            "local_ratelimit.v3.LocalRateLimit",
            stat_prefix="none",
            token_bucket={"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"},
            filter_enabled={"default_value": percentage},
            filter_enforced={"default_value": percentage},
        )
    }
    rbac = lambda **fields: {"envoy.filters.http.rbac": per_route("rbac.v3.RBACPerRoute", rbac=fields)}
    deny = {"rules": {"action": "DENY", "policies": {"ns[default]-policy[deny]-rule[0]": {
        "permissions": [{"any": True}], "principals": [{"any": True}]}}}}
    allow_nobody = {"rules": {"action": "ALLOW", "policies": {}}}
    routes = [
        route("/echo", "echo"),
        route("/closes", "closes"),
        route("/drops", "drops"),
        route("/plain", "plain"),
        route("/moved", "moved"),
        route("/refuses", "refuses"),
        route("/garbage", "garbage"),
        route("/waits-timeout", "waits", timeout="0.3s"),
        route("/waits", "waits"),
        route("/idle", "echo", idle_timeout="0.3s"),
        route("/never-idle", "waits", idle_timeout="0.3s"),
        route("/old-age", "echo", max_stream_duration={"max_stream_duration": "0.5s"}),
        route("/refused-retry", "refused", retry_policy={"retry_on": "connect-failure", "num_retries": 1}),
        route("/refused", "refused"),
        route("/empty", "empty"),
        route("/overflow", "overflow"),
        route("/not-tls", "not-tls"),
        route("/dropped", "dropped"),
        route("/some-dropped", "some-dropped"),
        route("/nocluster", "nocluster", cluster_not_found_response_code="SERVICE_UNAVAILABLE"),
        route("/h2-resets", "h2-resets"),
        route("/h2-refuses", "h2-refuses"),
        route("/h2-breaks", "h2-breaks"),
        route("/h2", "h2"),
        route("/off", "echo", upgrade_configs=[{"upgrade_type": "websocket", "enabled": False}]),
        route("/delay", "closes", fault_of(delay={"fixed_delay": "0.1s", "percentage": percentage})),
        route("/abort", "echo", fault_of(abort={"http_status": 503, "percentage": percentage})),
        route("/limited", "closes", local_limit()),
        route("/ratelimit", "echo", {"envoy.filters.http.ratelimit": per_route("ratelimit.v3.RateLimitPerRoute")},
              rate_limits=[{"actions": [{"generic_key": {"descriptor_value": "a"}}]}]),
        route("/authz-error", "echo", {"envoy.filters.http.ext_authz": disabled("ext_authz.v3.ExtAuthzPerRoute"),
                                       "authz-down": per_route("ext_authz.v3.ExtAuthzPerRoute", check_settings={})}),
        route("/authz", "echo", {"envoy.filters.http.ext_authz": per_route("ext_authz.v3.ExtAuthzPerRoute", check_settings={}),
                                 "authz-down": disabled("ext_authz.v3.ExtAuthzPerRoute")}),
        route("/old", "old"),
        route("/denied", "echo", rbac(**deny)),
        route("/allowed-nobody", "echo", rbac(**allow_nobody)),
        {"match": {"prefix": "/redirect"}, "redirect": {"path_redirect": "/elsewhere"}, "name": "redirect"},
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 503}, "name": "direct"},
    ]
    for item in routes:
        settings = item.setdefault("typed_per_filter_config", {})
        settings.setdefault("envoy.filters.http.ext_authz", disabled("ext_authz.v3.ExtAuthzPerRoute"))
        settings.setdefault("authz-down", disabled("ext_authz.v3.ExtAuthzPerRoute"))
    authz = lambda name, to: typed(
        name,
        HTTP + "ext_authz.v3.ExtAuthz",
        http_service={"server_uri": {"uri": "http://authz", "cluster": to, "timeout": "0.5s"}},
    )
    filters = [
        typed("envoy.filters.http.fault", fault),
        typed("envoy.filters.http.rbac", HTTP + "rbac.v3.RBAC"),
        typed("envoy.filters.http.local_ratelimit", HTTP + "local_ratelimit.v3.LocalRateLimit", stat_prefix="local"),
        typed(
            "envoy.filters.http.ratelimit",
            HTTP + "ratelimit.v3.RateLimit",
            domain="all",
            failure_mode_deny=True,
            timeout="0.3s",
            rate_limit_service={"transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": "ratelimit"}}},
        ),
        authz("envoy.filters.http.ext_authz", "authz"),
        authz("authz-down", "authz-down"),
    ]
    h2_only = free_address()
    run.start(
        "main",
        [
            listener("main", main, run.log, routes, filters, http2_protocol_options={"allow_connect": True}),
            listener(
                "strict",
                strict,
                run.log,
                [route("/", "echo")],
                router={"strict_check_headers": ["x-envoy-upstream-rq-timeout-ms"]},
                use_remote_address=True,
                internal_address_config={"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
            ),
            listener("h2", h2_only, run.log, [route("/", "echo")]),
            tcp_listener("tcp", tcp, run.log, "echo"),
            tcp_listener("tcp-refused", tcp_refused, run.log, "refused"),
            tcp_listener("tcp-old", limited, run.log, "echo", max_downstream_connection_duration="0.3s"),
        ],
        run.clusters,
    )
    session = run.session
    session("the client closes the connection first", main, "/echo", say)
    session("the application closes the connection first", main, "/closes", until_end)
    session("nothing passes for as long as a stream may be idle", main, "/idle", until_end)
    session("the stream is as old as it may be", main, "/old-age", until_end)
    session("the application answers the handshake with 200", main, "/plain")
    session("the application redirects the handshake", main, "/moved")
    session("the application refuses the handshake", main, "/refuses")
    session("the application asks for another version", main, "/old")
    session("the application closes without an answer", main, "/drops")
    session("the application answers with what is not HTTP", main, "/garbage")
    session("the application does not answer within the route's timeout", main, "/waits-timeout")
    session("no answer comes for as long as a stream may be idle", main, "/never-idle")
    sock = dial(main)
    sock.sendall(handshake("/waits"))
    time.sleep(0.3)
    sock.close()
    run.line("the client leaves before there is an answer")
    session("nothing listens where the application should be", main, "/refused")
    session("nothing listens there, at every attempt", main, "/refused-retry")
    session("the cluster has no hosts", main, "/empty")
    session("the cluster has as many connections as it may have", main, "/overflow")
    session("the upstream does not speak TLS", main, "/not-tls")
    session("all requests to the cluster are dropped by configuration", main, "/dropped")
    session("most requests to the cluster are dropped by configuration", main, "/some-dropped")
    session("the route leads to a cluster that is not there", main, "/nocluster")
    session("an application that speaks HTTP/2 resets the stream", main, "/h2-resets")
    session("an application that speaks HTTP/2 refuses the stream", main, "/h2-refuses")
    session("an application that speaks HTTP/2 knows no extended CONNECT", main, "/h2-breaks")
    session("an application that speaks HTTP/2 answers 200 with a page", main, "/h2", lambda sock: read_all(sock, 1))
    session("the route switches upgrades off", main, "/off")
    session("an injected fault delays the handshake", main, "/delay", until_end)
    session("an injected fault ends the handshake", main, "/abort")
    session("a rate limit of this proxy has a token left", main, "/limited", until_end)
    session("a rate limit of this proxy is reached", main, "/limited")
    session("the rate limit service cannot be asked", main, "/ratelimit")
    session("the external authorization service says no", main, "/authz")
    session("the external authorization service cannot be asked", main, "/authz-error")
    session("a DENY policy matches", main, "/denied")
    session("no ALLOW policy matches", main, "/allowed-nobody")
    session("the route redirects", main, "/redirect")
    session("the route answers itself", main, "/direct")
    session("no route fits", main, "/elsewhere")
    session("an x-envoy field fails the strict check", strict, "/", extra=[("x-envoy-upstream-rq-timeout-ms", "soon")])
    session("the request is HTTP/1.0", main, "/echo", version="HTTP/1.0")
    raw(run, main, b"GET / HTTP/1.1\r\n\r\n", "the request has no Host")
    raw(run, main, b"\x16\x03\x01\x00\x05hello\r\n\r\n", "what comes is not HTTP")
    raw(run, main, b"GET /echo HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70000 + b"\r\n\r\n", "the fields of the request are too long")
    client = H2Client(dial(main))
    stream = client.request(extended_connect("/echo"))
    client.pump("HEADERS", 2)
    client.connection.reset_stream(stream, 8)
    client.flush()
    run.line("a client that speaks HTTP/2 resets the stream")
    client = H2Client(dial(h2_only))
    client.request(extended_connect("/"))
    client.pump(timeout=2)
    run.line("extended CONNECT is not allowed")
    with contextlib.suppress(OSError):
        sock = dial(tcp)
        sock.sendall(b"hello")
        sock.close()
    run.line("the port is TCP")
    with contextlib.suppress(OSError):
        sock = dial(tcp_refused)
        sock.recv(1)
    run.line("the port is TCP, and nothing listens")
    read_all(dial(limited), 2)
    run.line("the port is TCP, and the connection is as old as it may be")
    other(run)


def raw(run, address, data, how):
    """Bytes that are no valid handshake."""
    sock = dial(address)
    with contextlib.suppress(OSError):
        sock.sendall(data)
        read_all(sock, 1)
    sock.close()
    run.line(how)


def other(run):
    """What is a state of the whole proxy: an Envoy of its own."""
    address, resource = free_address(), os.path.join(run.folder, "pressure")
    with open(resource, "w") as file:
        file.write("0")
    health = typed(
        "envoy.filters.http.health_check",
        HTTP + "health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"exact": "/healthz"}}],
    )
    missing = os.path.join(run.folder, "missing.yaml")
    with open(missing, "w") as file:
        file.write("resources: []\n")
    undiscovered = {
        "name": "undiscovered",
        "config_discovery": {
            "config_source": {"path_config_source": {"path": missing}, "initial_fetch_timeout": "0.5s"},
            "type_urls": [T + HTTP + "fault.v3.HTTPFault"],
        },
    }
    undiscovered_address, dynamic = free_address(), free_address()
    dns = {"name": "names", "dns_lookup_family": "V4_ONLY", "dns_query_timeout": "1s"}
    proxy = typed("envoy.filters.http.dynamic_forward_proxy", HTTP + "dynamic_forward_proxy.v3.FilterConfig", dns_cache_config=dns)
    forward = {
        "name": "forward",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "1s",
        "cluster_type": typed(
            "envoy.clusters.dynamic_forward_proxy",
            "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
            dns_cache_config=dns,
        ),
    }
    overload = {
        "refresh_interval": "0.05s",
        "resource_monitors": [typed(
            "envoy.resource_monitors.injected_resource",
            "envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig",
            filename=resource,
        )],
        "actions": [{
            "name": "envoy.overload_actions.stop_accepting_requests",
            "triggers": [{"name": "envoy.resource_monitors.injected_resource", "threshold": {"value": 0.9}}],
        }],
    }
    admin = run.start(
        "other",
        [
            listener("state", address, run.log, [route("/", "echo")], [health]),
            listener("undiscovered", undiscovered_address, run.log, [route("/", "echo")], [undiscovered]),
            listener("dynamic", dynamic, run.log, [route("/", "forward")], [proxy]),
        ],
        [*run.clusters, forward],
        overload_manager=overload,
    )
    run.session("a filter's configuration did not arrive", undiscovered_address, "/")
    run.session("the name of the upstream cannot be resolved", dynamic, "/", host="no-such-host.invalid")
    urllib.request.urlopen(urllib.request.Request(f"http://{admin}/healthcheck/fail", method="POST"), timeout=2)
    raw(run, address, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "the proxy fails its own health check, and is asked for its health")
    with open(resource + ".new", "w") as file:
        file.write("0.95")
    os.rename(resource + ".new", resource)
    time.sleep(0.5)
    run.session("the proxy is overloaded", address, "/")


# ---------------------------------------------------------------- the page
def page(binary, recorded):
    """The table, by what `explain` says of each line."""
    lines = "".join(json.dumps(entry["line"]) + "\n" for entry in recorded)
    said = subprocess.run([binary, "explain", "--output", "json"], input=lines, capture_output=True, text=True, check=True)
    explanations = [it["explanation"] for it in json.loads(said.stdout)["explanations"] if it["kind"] == "line"]
    rows = []
    for entry, told in zip(recorded, explanations, strict=True):
        line = entry["line"]
        cells = [
            entry["how"],
            str(line["response_code"]),
            line["response_flags"] or "-",
            f"`{line['response_code_details'] or '-'}`",
            f"{told['ended']} ({ {'normal': 'normal', 'look': 'worth a look', 'failed': 'failed'}[told['health']]})",
            told["change"] or "",
        ]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    seen = {flag for entry in recorded for flag in re.split("[,-]", entry["line"]["response_flags"] or "") if flag}
    without = ", ".join(f"`{flag}`" for flag in FLAGS if flag not in seen)
    head = open(PAGE).read().split("<!-- recorded -->")[0] if os.path.exists(PAGE) else ""
    with open(PAGE, "w") as file:
        file.write(head + "<!-- recorded -->\n\n| what happens | code | flags | details | what `explain` says | what to do |\n")
        file.write("| --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n\n")
        file.write(
            f"Flags without a line here: {without or 'none'}. No cache answers a WebSocket (`RFCF`), nothing that a WebSocket meets "
            "has set `LR`, a stream that is too old is told by its details alone (`UMSDR`), and `OM` takes a proxy that resets "
            "the streams that hold most memory (`reset_high_memory_stream`).\n"
        )
    return without


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("envoy")
    options.add_argument("binary")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Endings(os.path.abspath(given.envoy), folder)
        try:
            play(run)
        finally:
            run.stop()
    with open(FIXTURE, "w") as file:
        file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in run.recorded)
    without = page(given.binary, run.recorded)
    print(f"{len(run.recorded)} recorded; no line for: {', '.join(run.failed) or 'none'}; flags without a line: {without or 'none'}")
    return 1 if run.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
