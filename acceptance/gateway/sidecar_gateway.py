"""`websockets-cli sidecar inbound` behind a real Envoy or `sidecar gateway`, and the documents that a cluster would hold for the two."""

from __future__ import annotations

import base64
import json
import os
import re

from envoy_gateway import EnvoyGateway, Gateway, Options, is_https
from pair import Pair
from sidecar_pair import SidecarPair

GATEWAY = "istio-ingressgateway"
HCM = "envoy.filters.network.http_connection_manager"
HCM_TYPE = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


# ---------------------------------------------------------------- YAML
def scalar(value):
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z/_][\w./*+=-]*", value) and value not in ("true", "false", "null", "yes", "no", "on", "off"):
        return value
    return json.dumps(value)


def block(value, depth=0):
    """A value as YAML block lines."""
    pad = "  " * depth
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                yield f"{pad}{scalar(key)}:"
                yield from block(item, depth + 1)
            else:
                yield f"{pad}{scalar(key)}: {scalar(item)}"
    elif isinstance(value, list) and value:
        for item in value:
            first, *rest = list(block(item, depth + 1)) if isinstance(item, (dict, list)) and item else [scalar(item)]
            yield f"{pad}- {first.strip()}"
            yield from rest


def yaml(document):
    return "\n".join(block(document)) + "\n"


# ---------------------------------------------------------------- documents
def document(kind, name, namespace="default", spec=None, version="networking.istio.io/v1", **metadata):
    found = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace, **metadata}}
    return {**found, **({"spec": spec} if spec else {})}


def service(name, namespace, ports, label):
    ports = [{"name": n, "port": port, "targetPort": target} for n, port, target in ports]
    return document("Service", name, namespace, {"ports": ports, "selector": label}, "v1")


def deployment(name, namespace, label, account, annotations=None):
    pod = {"metadata": {"labels": label, **({"annotations": annotations} if annotations else {})}}
    pod["spec"] = {"serviceAccountName": account, "containers": [{"name": "main", "image": "main"}]}
    return document("Deployment", name, namespace, {"selector": {"matchLabels": label}, "template": pod}, "apps/v1")


def envoy_filter(name, namespace, labels, apply_to, match, value):
    patch = {"applyTo": apply_to, "match": match, "patch": {"operation": "MERGE", "value": value}}
    spec = {"workloadSelector": {"labels": labels}, "configPatches": [patch]}
    return document("EnvoyFilter", name, namespace, spec, "networking.istio.io/v1alpha3")


def hcm_filter(name, namespace, labels, context, fields):
    match = {"context": context, "listener": {"filterChain": {"filter": {"name": HCM}}}}
    return envoy_filter(name, namespace, labels, "NETWORK_FILTER", match, {"typed_config": {"@type": HCM_TYPE, **fields}})


def credential(folder, server):
    """The Secret of an HTTPS server; without certificates (for the text of a recording) a placeholder."""
    data = {}
    for key, name in (("tls.crt", "web.crt"), ("tls.key", "web.key")):
        data[key] = "(base64 of the site's PEM)"
        if folder:
            with open(os.path.join(folder, name), "rb") as file:
                data[key] = base64.b64encode(file.read()).decode()
    found = document("Secret", server["tls"]["credentialName"], "istio-system", None, "v1")
    return {**found, "type": "kubernetes.io/tls", "data": data}


def gateway_documents(o: Options, folder):
    """All documents that a cluster would hold for the options."""
    label = {"app": "websockets-server"}
    edge = {"istio": "ingressgateway"}
    ports = [("http-websocket", 8080, 80)] + ([("http-second", 9090, 90)] if o.second_port else [])
    topology = {"proxy.istio.io/config": json.dumps({"gatewayTopology": {"numTrustedProxies": o.trusted_proxies}})}
    pool = {"useClientProtocol": True} if o.use_client_protocol else {"h2UpgradePolicy": o.h2_upgrade}
    rule = {"host": "websockets-server", "trafficPolicy": {"connectionPool": {"http": pool}}}
    documents = [
        service("websockets-server", "default", ports, label),
        deployment("websockets-server", "default", label, "websockets-server"),
        service(GATEWAY, "istio-system", [("http2", 80, 8080), ("https", 443, 8443)], edge),
        deployment(GATEWAY, "istio-system", edge, f"{GATEWAY}-service-account", topology if o.trusted_proxies else None),
        document("Gateway", "ws-gateway", spec={"selector": edge, "servers": o.servers}),
        document("DestinationRule", "websockets-server", spec=rule),
    ]
    if o.http:
        bound = {"gateways": o.gateways} if o.gateways else {}
        documents.append(document("VirtualService", "ws", spec={"hosts": o.hosts, **bound, "http": o.http}))
    documents += [credential(folder, server) for server in o.servers if is_https(server)]
    inbound = {"http2_protocol_options": {"allow_connect": True}} if o.allow_connect == "on" else {}
    if o.max_concurrent_streams:
        inbound.setdefault("http2_protocol_options", {})["max_concurrent_streams"] = o.max_concurrent_streams
    if inbound:
        documents.append(hcm_filter("h2-upgrade-wss", "default", label, "SIDECAR_INBOUND", inbound))
    if o.hcm_merge:
        documents.append(hcm_filter("gateway-settings", "istio-system", edge, "GATEWAY", o.hcm_merge))
    if o.route_merge:
        match = {"context": "GATEWAY"}
        documents.append(envoy_filter("gateway-route", "istio-system", edge, "HTTP_ROUTE", match, o.route_merge))
    return documents


def gateway_yaml(o: Options, folder=""):
    """The documents as one YAML stream, with the certificates in this folder."""
    return "---\n".join(yaml(found) for found in gateway_documents(o, folder))


# ---------------------------------------------------------------- the two processes
class EnvoyBeforeSidecar(EnvoyGateway, SidecarPair):
    """A real Envoy as gateway, in front of a `websockets-cli sidecar inbound`."""

    def __init__(self, options: Options, envoy: str, binary: str):
        Pair.__init__(self, options)
        self.envoy, self.binary = envoy, binary

    def documents(self):
        return gateway_yaml(self.options, self.folder)

    def command(self, side):
        return kind_of(side).command(self, side)

    def is_ready(self, side):
        return kind_of(side).is_ready(self, side)


class SidecarGateway(Gateway, SidecarPair):
    """A `websockets-cli sidecar gateway`, in front of a `websockets-cli sidecar inbound`."""

    def __init__(self, options: Options, binary: str, *more):
        """`more`: what the gateway's command line has beside its documents and addresses."""
        super().__init__(options, binary)
        self.more = more

    def documents(self):
        return gateway_yaml(self.options, self.folder)

    def command(self, side):
        if side != "gateway":
            return super().command(side)
        o = self.options
        # An address for each number of the Gateway's servers.
        listening = {server["port"]["number"]: o.listen(server) for server in o.servers}
        arguments = [("--listen", f"{number}={address}") for number, address in listening.items()]
        arguments += {
            "--filename": self.write_documents(side),
            "--endpoint": o.upstream or o.inbound,
            "--workload": GATEWAY,
            "--access-log": self.path(self.log_name(side)),
            "--access-log-format": o.log_encoding.lower(),
            "--admin": o.gateway_admin,
            "--drain-time": "5s",
            "--concurrency": "1",
        }.items()
        if o.mtls:
            arguments += [("--mtls-cert", self.path("gateway.crt")), ("--mtls-key", self.path("gateway.key"))]
            arguments += [("--mtls-ca", self.path("ca.crt"))]
        words = [word for option in arguments for word in option]
        return [self.binary, "sidecar", "gateway", *words, *self.more]


def kind_of(side):
    return EnvoyGateway if side == "gateway" else SidecarPair
