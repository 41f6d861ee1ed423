"""A pair of `websockets-cli sidecar` processes, started on the documents that a cluster would hold for the given options."""

from __future__ import annotations

import re

from pair import Options, Pair

SERVER = "websockets-server"
CLIENT = "websockets-client-sleep"
LABELS = {"inbound": "websockets-server", "outbound": "websockets-client"}
DIRECTION = {"client": "outbound", "server": "inbound"}
CATCH_ALL = {"ALLOW_ANY": "ALLOW_ANY", "REGISTRY_ONLY": "REGISTRY_ONLY", "NO_CATCH_ALL": "NONE"}

SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: websockets-server
  namespace: default
  labels:
    app: websockets-server
spec:
  type: ClusterIP
  ports:
    - port: 8080
      targetPort: 80
      name: http-websocket
  selector:
    app: websockets-server
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: default
  labels:
    app: {app}
spec:
  selector:
    matchLabels:
      app: {app}
  template:
    metadata:
      labels:
        app: {app}
    spec:
      serviceAccountName: {account}
      containers:
      - name: {app}
        image: {app}
"""
DESTINATION_RULE = """\
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata:
  labels:
    provider: asm
  name: websockets-server
spec:
  host: websockets-server
  trafficPolicy:
    connectionPool:
"""
VIRTUAL_SERVICE = """\
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: websockets-server
  namespace: default
spec:
  hosts:
  - websockets-server
  http:
  - name: default
    route:
    - destination:
        host: websockets-server
"""
# the guide's own, with the name, the selector, the context and the merged fields left open
ENVOY_FILTER = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: {name}
  labels:
    asm-system: 'true'
    provider: asm
spec:
  workloadSelector:
    labels:
      app: {app}
  configPatches:
  - applyTo: NETWORK_FILTER
    match:
      context: {context}
      proxy:
        proxyVersion: '^1\\.*.*'
      listener:
        filterChain:
          filter:
            name: "envoy.filters.network.http_connection_manager"
    patch:
      operation: MERGE
      value:
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
"""


def inexpressible(options: Options) -> str:
    """What of the options no document can express; empty if all can be."""
    if options.upstream_allow_connect == "on":
        return "no document puts allow_connect into the outbound cluster"
    if "websocket" not in options.upgrades.split(","):
        return "a MERGE appends to upgrade_configs, so no document takes websocket away"
    return ""


# ---------------------------------------------------------------- documents
def indented(lines, depth):
    return "".join(" " * depth + line + "\n" for line in lines)


def envoy_filter(name, direction, lines):
    """An EnvoyFilter that merges `lines` (YAML) into the HTTP connection manager of one direction."""
    head = ENVOY_FILTER.format(name=name, app=LABELS[direction], context=f"SIDECAR_{direction.upper()}")
    return head + indented(lines, 10)


def destination_rule(options):
    http = [f"h2UpgradePolicy: {options.h2_upgrade}"]
    if options.upstream_max_streams:
        http.append(f"maxConcurrentStreams: {options.upstream_max_streams}")
    if options.tcp_idle_timeout:
        http.append(f"idleTimeout: {options.tcp_idle_timeout}")
    document = DESTINATION_RULE
    if options.max_conn_duration:
        document += indented(["tcp:", f"  maxConnectionDuration: {options.max_conn_duration}"], 6)
    return document + indented(["http:", *("  " + line for line in http)], 6)


def virtual_service(options):
    """The VirtualService, or nothing if the route is Istio's default one."""
    lines = []
    if options.route_timeout != "0s":
        lines.append(f"timeout: {options.route_timeout}")
    if options.retry == "off":
        lines += ["retries:", "  attempts: 0"]
    return VIRTUAL_SERVICE + indented(lines, 4) if lines else ""


def envoy_filters(options):
    """The guide's EnvoyFilter where allow_connect is on, and one for each side that differs from Istio in other fields."""
    documents = []
    allow_connect = ["http2_protocol_options:", "  allow_connect: true"]
    if options.allow_connect == "on":
        documents.append(envoy_filter("h2-upgrade-wss", "inbound", allow_connect))
    if options.outbound_allow_connect == "on":
        documents.append(envoy_filter("h2-upgrade-wss-outbound", "outbound", allow_connect))
    extra_upgrades = [name for name in options.upgrades.split(",") if name != "websocket"]
    idle = {"outbound": options.stream_idle_timeout, "inbound": options.stream_idle_timeout}
    if options.server_stream_idle_timeout:
        idle["inbound"] = options.server_stream_idle_timeout
    for direction in ("inbound", "outbound"):
        lines = []
        if direction == "inbound" and options.max_concurrent_streams:
            lines += ["http2_protocol_options:", f"  max_concurrent_streams: {options.max_concurrent_streams}"]
        if idle[direction] != "0s":
            lines.append(f"stream_idle_timeout: {idle[direction]}")
        if options.delayed_close:
            lines.append(f"delayed_close_timeout: {options.delayed_close}")
        if extra_upgrades:
            lines += ["upgrade_configs:", *(f"- upgrade_type: {name}" for name in extra_upgrades)]
        if lines:
            documents.append(envoy_filter(f"{direction}-settings", direction, lines))
    return documents


def mesh_documents(options: Options) -> str:
    """All documents for the options, as one YAML stream."""
    documents = [
        SERVICE,
        DEPLOYMENT.format(name=SERVER, app=LABELS["inbound"], account="websockets-server"),
        DEPLOYMENT.format(name=CLIENT, app=LABELS["outbound"], account="default"),
        destination_rule(options),
        virtual_service(options),
        *envoy_filters(options),
    ]
    return "---\n".join(document for document in documents if document)


# ---------------------------------------------------------------- the pair
class SidecarPair(Pair):
    """Both sidecars of the program, each with one worker."""

    def __init__(self, options: Options, binary: str):
        super().__init__(options)
        self.binary = binary

    def documents(self):
        return mesh_documents(self.options)

    def write_documents(self, side):
        """The documents as a file of this side, since the other may be reading its own."""
        path = self.path(f"{side}.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.documents())
        return path

    def command(self, side):
        o = self.options
        outbound = side == "client"
        arguments = {
            "--filename": self.write_documents(side),
            "--listen": o.outbound if outbound else o.inbound,
            "--endpoint": (o.upstream or o.inbound) if outbound else o.app,
            "--workload": CLIENT if outbound else SERVER,
            "--access-log": self.path(f"{side}-sidecar.jsonl"),
            "--access-log-format": o.log_encoding.lower(),
            "--admin": o.client_admin if outbound else o.server_admin,
            "--drain-time": "5s",
            "--concurrency": "1",
        }
        if outbound:
            arguments["--passthrough"] = o.passthrough
            arguments["--outbound-traffic-policy"] = CATCH_ALL[o.outbound_policy]
        if o.mtls:
            arguments["--mtls-cert"] = self.path(f"{side}.crt")
            arguments["--mtls-key"] = self.path(f"{side}.key")
            arguments["--mtls-ca"] = self.path("ca.crt")
        words = [word for option in arguments.items() for word in option]
        return [self.binary, "sidecar", DIRECTION[side], *words]

    def is_ready(self, side):
        return re.search(r"^listening on \S+\n", self.standard_error(side), re.M)

    def stats(self, side, regex):
        """The counters whose names match."""
        pairs = (line.rpartition(": ") for line in self.admin(side, "/stats").splitlines())
        return {name: value for name, _, value in pairs if re.search(regex, name)}
