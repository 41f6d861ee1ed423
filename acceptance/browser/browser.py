#!/usr/bin/env python3
"""Chromium and Firefox open wss:// over HTTP/1.1 and over HTTP/2, and each session echoes: browser.py BINARY ENVOY

First on the server itself, which speaks TLS; then on a real Envoy that terminates TLS as a gateway does, with both sidecars
and the server behind it. Which version of HTTP it was, the server's metrics and the access logs of gateway and sidecars say.
The last line is `N passed, N failed`; the exit status is 0 only if nothing failed.
(Needs openssl, chromium, chromedriver, firefox-esr and geckodriver on PATH.)
"""

import contextlib
import itertools
import json
import pathlib
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

from webdriver import KINDS, PATIENCE, WORKS, Browser

BINARY, ENVOY = sys.argv[1:]
HERE = pathlib.Path(__file__).resolve().parent
AUTHORITY = "websockets-server.default.svc.cluster.local:8080"


def eventually(what, look):
    """The first truth that `look` returns."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise TimeoutError(what)


# ---------------------------------------------------------------- programs
class Programs(contextlib.ExitStack):
    """Programs that end with the block, with a folder for what they write."""

    def __init__(self):
        super().__init__()
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

    def start(self, name, *command):
        said = self.folder / f"{name}.said"
        with said.open("wb") as output:
            process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=output)
        self.callback(process.wait)
        self.callback(process.kill)
        return said

    def listening(self, name, *arguments):
        """Starts ours, and returns where it listens."""
        said = self.start(name, BINARY, *arguments, "--listen", "127.0.0.1:0")

        def ready():
            lines = [line for line in said.read_text().splitlines() if line.startswith("listening on ")]
            return lines and lines[0].split()[-1]

        return eventually(f"{name} is ready", ready)

    def certificate(self):
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
            + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
            + ["-keyout", key, "-out", cert],
            check=True,
            capture_output=True,
        )
        return cert, key


# ---------------------------------------------------------------- the browser
def echo(kind, host, page=None):
    """What a WebSocket to `host` sees in a new browser, on a page of `host` or on none."""
    with Browser(kind) as browser:
        if page:
            browser.open(f"https://{host}{page}")
        return browser.websocket(f"wss://{host}/chat")


def version(kind, page):
    """With a page there is a connection of HTTP/2 already, and the WebSocket becomes one of its streams; without one, Chromium
    opens a connection of HTTP/1.1, and Firefox takes HTTP/2 if it can have it."""
    return "2" if page or kind == "firefox" else "1.1"


# ---------------------------------------------------------------- the gateway
def gateway(programs, upstream, cert, key):
    """Starts an Envoy that terminates TLS and speaks HTTP/2 with `upstream`; returns where it listens, and its log."""
    log, addresses = programs.folder / "gateway.log", programs.folder / "gateway.addresses"
    host, port = upstream.split(":")
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {"cluster": "sidecar", "host_rewrite_literal": AUTHORITY, "timeout": "0s"},
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": str(log),
                    "log_format": {
                        "json_format": {"path": "%REQ(:PATH)%", "protocol": "%PROTOCOL%", "response_code": "%RESPONSE_CODE%"}
                    },
                },
            }
        ],
    }
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [
                {"certificate_chain": {"filename": str(cert)}, "private_key": {"filename": str(key)}}
            ],
        },
    }
    protocol = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {"allow_connect": True}},
    }
    address = lambda host, port: {"socket_address": {"address": host, "port_value": int(port)}}
    config = {
        "admin": {"address": address("127.0.0.1", 0)},
        "static_resources": {
            "listeners": [
                {
                    "name": "gateway",
                    "address": address("127.0.0.1", 0),
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ],
                            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "sidecar",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "sidecar",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}],
                    },
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol
                    },
                }
            ],
        },
    }
    file = programs.folder / "gateway.json"
    file.write_text(json.dumps(config))
    programs.start(
        "gateway",
        *(ENVOY, "--config-path", file, "--admin-address-path", addresses, "--base-id", "0", "--use-dynamic-base-id"),
        *("--concurrency", "1", "--log-level", "error"),
    )

    def listening():
        if not addresses.exists():
            return None
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://{addresses.read_text()}/listeners?format=json") as answer:
                found = json.load(answer).get("listener_statuses")
                port = found and found[0]["local_address"]["socket_address"]["port_value"]
                return port and f"127.0.0.1:{port}"

    return eventually("the gateway is ready", listening), log


# ---------------------------------------------------------------- checks
def check_server(kind, programs, cert, key):
    """The server alone: what it counts says which version a session was of."""
    address = programs.listening("server", "server", "--cert", cert, "--key", key)
    trusting = ssl.create_default_context(cafile=cert)

    def sessions():
        with urllib.request.urlopen(f"https://{address}/metrics", context=trusting) as answer:
            lines = answer.read().decode().splitlines()
        name = 'websockets_server_sessions_total{http_version="'
        return {line.removeprefix(name).split('"')[0]: int(line.split()[-1]) for line in lines if line.startswith(name)}

    expected = {"1.1": 0, "2": 0}
    for page in (None, "/healthz"):
        expected[version(kind, page)] += 1
        yield f"server: {echo(kind, address, page)}, {sessions()}", f"server: {WORKS}, {expected}"


def check_mesh(kind, programs, cert, key):
    """Gateway, both sidecars, server: a line in each log."""
    logs = {name: programs.folder / f"{name}.log" for name in ("outbound", "inbound")}
    manifests = ("-f", HERE.parents[1] / "manifests")
    address = programs.listening("application", "server")
    address = programs.listening(
        "inbound",
        *("sidecar", "inbound", "--endpoint", address, "--workload", "websockets-server", *manifests),
        *("--mint-websocket-key", "--access-log", logs["inbound"]),
    )
    address = programs.listening(
        "outbound",
        *("sidecar", "outbound", "--endpoint", address, "--workload", "websockets-client-sleep", *manifests),
        *("-f", HERE / "extended_connect.yaml", "--access-log", logs["outbound"]),
    )
    address, logs["gateway"] = gateway(programs, address, cert, key)

    def lines(name):
        text = logs[name].read_text() if logs[name].exists() else ""
        entries = [json.loads(line) for line in text.splitlines()]
        return [(line["protocol"], line["response_code"]) for line in entries if line["path"] == "/chat"]

    for count, page in enumerate((None, "/healthz"), 1):
        said = echo(kind, address, page)
        eventually("Envoy writes its log", lambda: len(lines("gateway")) >= count)
        seen = [eventually(f"the {name} log", lambda: len(lines(name)) >= count and lines(name)[-1]) for name in logs]
        expected = [("HTTP/2", 101), ("HTTP/2", 101), (f"HTTP/{version(kind, page)}", 101)]
        yield f"gateway: {said}, {seen}", f"gateway: {WORKS}, {expected}"


passed = failed = 0
for kind, check in itertools.product(KINDS, (check_server, check_mesh)):
    with Programs() as programs:
        try:
            for seen, expected in check(kind, programs, *programs.certificate()):
                good = seen == expected
                passed, failed = passed + good, failed + (not good)
                print(f"ok   {kind}, {seen}" if good else f"BAD  {kind}, {seen}\n     {expected} was expected", flush=True)
        except Exception as error:  # whatever it is, the other checks are of interest
            failed += 1
            print(f"BAD  {kind}, {check.__name__}: {type(error).__name__}: {error}", flush=True)
            for said in sorted(programs.folder.glob("*.said")):
                print(f"---- {said.name}\n{said.read_text()[-2000:]}")
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
