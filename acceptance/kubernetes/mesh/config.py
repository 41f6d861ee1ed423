"""What istiod would send to a sidecar, from Kubernetes and Istio documents (dictionaries, as parsed from YAML or JSON).

The parts that decide how a WebSocket travels and what is logged (HTTP connection manager, routes, retries, clusters,
access log) come from ../../envoy/envoy_pair.py; here is what only a cluster has: Services, pods, interception.
Not here: mutual TLS, VirtualService, subsets, TCP Services by name (they pass through), protocol detection.
"""
import copy
import dataclasses
import functools
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "envoy"))
import envoy_pair as pair  # noqa: E402

T = pair.T
DOMAIN = "svc.cluster.local"
ROOT_NAMESPACE = "istio-system"
ISTIO_VERSION = "1.27.0"
STDOUT = "/dev/stdout"
NO_FILES = ""  # the folder for certificates and access logs, which are replaced
HCM = "envoy.filters.network.http_connection_manager"


@dataclasses.dataclass
class Proxy:
    name: str
    namespace: str
    labels: dict


@functools.lru_cache(maxsize=None)      # each text once
def warn(text):
    print("warning: " + text, file=sys.stderr, flush=True)


def spec(d):
    return d["spec"] if isinstance(d.get("spec"), dict) else {}


def meta(d):
    return d["metadata"]["name"], d["metadata"].get("namespace") or "default"


def of(docs, kind):
    return [d for d in docs if d.get("kind") == kind]


def fqdn(service):
    return "%s.%s.%s" % (*meta(service), DOMAIN)


def protocol(port):
    """http, http2 or tcp, as Istio decides it from a Service port (without detection)."""
    p = (port.get("appProtocol") or port.get("name", "").split("-")[0]).lower()
    if p in ("http2", "grpc", "grpc-web", "kubernetes.io/h2c"):
        return "http2"
    return "http" if p in ("http", "kubernetes.io/ws") else "tcp"


def http_ports(docs):
    for s in sorted(of(docs, "Service"), key=fqdn):
        for p in s["spec"].get("ports", []):
            if protocol(p) != "tcp" and s["spec"].get("type") != "ExternalName":
                yield s, p


def traffic_policy(docs, proxy, service, port):
    """The DestinationRule that counts: client's namespace, service's namespace, root namespace; first hit."""
    name, namespace = meta(service)
    for ns in dict.fromkeys((proxy.namespace, namespace, ROOT_NAMESPACE)):
        for d in sorted(of(docs, "DestinationRule"), key=lambda d: d["metadata"].get("creationTimestamp") or ""):
            host = spec(d).get("host") or ""
            rule_ns = meta(d)[1]
            full = host if "." in host or host == "*" else "%s.%s.%s" % (host, rule_ns, DOMAIN)
            if rule_ns != ns or full != fqdn(service):
                continue
            policy = spec(d).get("trafficPolicy") or {}
            for p in policy.get("portLevelSettings") or []:
                if (p.get("port") or {}).get("number") == port["port"]:
                    return p
            return policy
    return {}


def hcm_options(policy, port):
    pool = policy.get("connectionPool") or {}
    http, tcp = pool.get("http") or {}, pool.get("tcp") or {}
    up = http.get("h2UpgradePolicy") == "UPGRADE" and not http.get("useClientProtocol")
    o = pair.Options(h2_upgrade="UPGRADE" if up or protocol(port) == "http2" else "DO_NOT_UPGRADE",
                     upstream_max_streams=int(http.get("maxConcurrentStreams") or 0),
                     tcp_idle_timeout=str(http.get("idleTimeout") or ""),
                     max_conn_duration=str(tcp.get("maxConnectionDuration") or ""))
    return o, http, tcp


def xds(resource):
    """Where one kind of resource comes from: Envoy asks (REST), the control plane answers when there is news."""
    return {"resource_api_version": "V3", "api_config_source": {
        "api_type": "REST", "transport_api_version": "V3", "cluster_names": ["control-plane"],
        "refresh_delay": "0.1s", "request_timeout": "8s"}}


def original_dst(name, source=None):
    c = pair.cluster(name, "127.0.0.1:1", lb_policy="CLUSTER_PROVIDED")
    del c["load_assignment"]
    c["type"] = "ORIGINAL_DST"
    if source:
        c["upstream_bind_config"] = {"source_address": {"address": source, "port_value": 0}}
    return c


def tcp_proxy(o, cluster):
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
        "@type": T + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": cluster, "cluster": cluster, "access_log": pair.access_log(o, STDOUT)}}


def inbound_ports(docs, proxy):
    """Target port -> the Service port that leads to it, for the Services that select this proxy's pod."""
    found = {}
    for s, p in http_ports(docs):
        selector = s["spec"].get("selector") or {}
        if meta(s)[1] == proxy.namespace and selector and selector.items() <= proxy.labels.items():
            target = p.get("targetPort") or p["port"]
            if isinstance(target, int):
                found.setdefault(target, (s, p))
            else:
                warn("%s: targetPort %r is a name: not supported" % (fqdn(s), target))
    return found


def clusters(docs, proxy):
    out = []
    for s, p in http_ports(docs):
        try:
            o, http, tcp = hcm_options(traffic_policy(docs, proxy, s, p), p)
        except (AttributeError, TypeError, ValueError) as e:    # nothing has checked these documents
            warn("a DestinationRule for %s is malformed and not applied: %s" % (fqdn(s), e))
            o, http, tcp = hcm_options({}, p)
        c = copy.deepcopy(pair.client_config(o, NO_FILES)["static_resources"]["clusters"][0])
        name = "outbound|%d||%s" % (p["port"], fqdn(s))
        del c["load_assignment"]
        c.update(name=name, type="EDS", eds_cluster_config={"service_name": name, "eds_config": xds("endpoints")},
                 connect_timeout=str(tcp.get("connectTimeout") or "10s"))
        if http.get("useClientProtocol"):
            po = c["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
            del po["explicit_http_config"]
            po["use_downstream_protocol_config"] = {"http_protocol_options": {}, "http2_protocol_options": {}}
        out.append(c)
    passthrough = original_dst("PassthroughCluster")
    passthrough["typed_extension_protocol_options"] = pair.client_config(
        pair.Options(), NO_FILES)["static_resources"]["clusters"][1]["typed_extension_protocol_options"]
    out.append(passthrough)
    out += [original_dst("inbound|%d||" % port, "127.0.0.6") for port in sorted(inbound_ports(docs, proxy))]
    out.append(original_dst("InboundPassthroughCluster", "127.0.0.6"))
    return out


def listeners(docs, proxy):
    o = pair.Options()
    out = [{"name": "virtualOutbound", "address": pair.addr("0.0.0.0:15001"), "use_original_dst": True,
            "traffic_direction": "OUTBOUND",
            "filter_chains": [{"name": "virtualOutbound-catchall-tcp", "filters": [tcp_proxy(o, "PassthroughCluster")]}]}]
    by_port = {}
    for s, p in http_ports(docs):
        by_port.setdefault(p["port"], []).append((s, p))
    for port, services in sorted(by_port.items()):
        template = pair.client_config(o, NO_FILES)["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
        vhost, allow_any = template["typed_config"]["route_config"]["virtual_hosts"]
        hosts = []
        for s, _ in services:
            v, (name, ns), full = copy.deepcopy(vhost), meta(s), fqdn(s)
            v["name"] = "%s:%d" % (full, port)
            v["domains"] = [full, "%s.%s.svc" % (name, ns), "%s.%s" % (name, ns)]
            v["domains"] += [name] if ns == proxy.namespace else []
            v["domains"] += [ip for ip in [s["spec"].get("clusterIP")] if ip and ip != "None"]
            v["routes"][0]["route"]["cluster"] = "outbound|%d||%s" % (port, full)
            v["routes"][0]["decorator"]["operation"] = "%s:%d/*" % (full, port)
            hosts.append(v)
        routes = {"name": str(port), "virtual_hosts": hosts + [allow_any], "validate_clusters": False,
                  "max_direct_response_body_size_bytes": 1048576, "ignore_port_in_host_matching": True}
        out.append({"name": "0.0.0.0_%d" % port, "address": pair.addr("0.0.0.0:%d" % port), "bind_to_port": False,
                    "traffic_direction": "OUTBOUND", "filter_chains": [{"filters": [
                        pair.hcm(o, "client", STDOUT, routes, stat_prefix="outbound_0.0.0.0_%d;" % port)]}]})
    chains = []
    for target, (s, p) in sorted(inbound_ports(docs, proxy).items()):
        c = copy.deepcopy(pair.server_config(o, NO_FILES)["static_resources"]["listeners"][0]["filter_chains"][0])
        tc = c["filters"][0]["typed_config"]
        c["name"], tc["stat_prefix"] = "0.0.0.0_%d" % target, "inbound_0.0.0.0_%d;" % target
        c["filter_chain_match"] = {"destination_port": target}
        if protocol(p) == "http2":
            tc["http2_protocol_options"] = {}
        tc["access_log"] = pair.access_log(o, STDOUT)
        tc["route_config"]["name"] = "inbound|%d||" % target
        v = tc["route_config"]["virtual_hosts"][0]
        v["name"] = "inbound|http|%d" % p["port"]
        v["routes"][0]["route"]["cluster"] = "inbound|%d||" % target
        v["routes"][0]["decorator"]["operation"] = "%s:%d/*" % (fqdn(s), p["port"])
        chains.append(c)
    out.append({"name": "virtualInbound", "address": pair.addr("0.0.0.0:15006"), "traffic_direction": "INBOUND",
                "listener_filters": [{"name": "envoy.filters.listener.original_dst", "typed_config": {
                    "@type": T + "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}}],
                "filter_chains": chains,
                "default_filter_chain": {"name": "virtualInbound-catchall-tcp",
                                         "filters": [tcp_proxy(o, "InboundPassthroughCluster")]}})
    for f in envoy_filters(docs, proxy):
        try:
            patch(out, f)
        except (AttributeError, TypeError, ValueError, re.error) as e:
            warn("EnvoyFilter %s.%s is malformed and not, or not wholly, applied: %s" % (*meta(f), e))
    return out


def envoy_filters(docs, proxy):
    """Root namespace first, then the proxy's own; whose workloadSelector is on the pod; by priority, time, name."""
    def key(f):
        m = f["metadata"]
        return (meta(f)[1] != ROOT_NAMESPACE, spec(f).get("priority") or 0, m.get("creationTimestamp") or "", m["name"])
    for f in sorted(of(docs, "EnvoyFilter"), key=key):
        selector = spec(f).get("workloadSelector") or {}
        labels = selector.get("labels") or {} if isinstance(selector, dict) else None
        if not isinstance(labels, dict):
            warn("EnvoyFilter %s.%s: workloadSelector is malformed; not applied" % meta(f))
        elif meta(f)[1] in (ROOT_NAMESPACE, proxy.namespace) and labels.items() <= proxy.labels.items():
            yield f


def snake(name):
    return name if "@" in name or "." in name else re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m[1].lower(), name)


def merge(into, value):
    """Protobuf's merge on JSON: messages recursively, lists appended, the rest replaced."""
    for k, v in value.items():
        k = snake(k)
        if isinstance(v, dict) and isinstance(into.get(k), dict):
            merge(into[k], v)
        elif isinstance(v, dict):
            into[k] = merge({}, v)
        elif isinstance(v, list) and isinstance(into.get(k), list):
            into[k] = into[k] + v
        else:
            into[k] = v
    return into


def patch(all_listeners, envoy_filter):
    where = "EnvoyFilter %s.%s" % meta(envoy_filter)
    for i, p in enumerate(spec(envoy_filter).get("configPatches") or []):
        match = p.get("match") or {}
        change = p.get("patch") or {}
        if p.get("applyTo") != "NETWORK_FILTER" or change.get("operation") != "MERGE":
            warn("%s: configPatches[%d]: only NETWORK_FILTER with MERGE is done here" % (where, i))
            continue
        version = (match.get("proxy") or {}).get("proxyVersion")
        if version and not re.search(version, ISTIO_VERSION):
            continue
        context = match.get("context") or "ANY"
        want = match.get("listener") or {}
        want_filter = ((want.get("filterChain") or {}).get("filter") or {}).get("name")
        for lst in all_listeners:
            if context not in ("ANY", "SIDECAR_" + lst["traffic_direction"]):
                continue
            if want.get("name") and want["name"] != lst["name"]:
                continue
            for chain in lst["filter_chains"]:
                port = (chain.get("filter_chain_match") or {}).get("destination_port", listener_port(lst))
                if want.get("portNumber") and want["portNumber"] != port:
                    continue
                for f in chain["filters"]:
                    if want_filter in (None, f["name"]):
                        value = copy.deepcopy(change.get("value") or {})
                        t = (value.get("typed_config") or value.get("typedConfig") or {}).get("@type")
                        if t == f["typed_config"]["@type"]:   # another type: Istio keeps the original, silently
                            merge(f, value)


def listener_port(lst):
    return lst["address"]["socket_address"]["port_value"]


def endpoints(docs, cluster):
    """ClusterLoadAssignment of outbound|PORT||FQDN: the ready addresses of the Service's Endpoints object."""
    _, port, _, full = cluster.split("|")
    found = []
    for s, p in http_ports(docs):
        if fqdn(s) != full or p["port"] != int(port):
            continue
        for e in of(docs, "Endpoints"):
            if meta(e) != meta(s):
                continue
            for sub in e.get("subsets") or []:
                for ep in sub.get("ports") or []:
                    if ep.get("name", "") == p.get("name", ""):
                        found += ["%s:%d" % (a["ip"], ep["port"]) for a in sub.get("addresses") or []]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [
        {"endpoint": {"address": pair.addr(a)}} for a in sorted(found)]}] if found else []}


def bootstrap(control_plane):
    """The sidecar's own file: admin interface, health port, and where the rest comes from."""
    o = pair.Options()
    agent = pair.cluster("agent", "127.0.0.1:15000")
    cp = pair.cluster("control-plane", control_plane)
    health = {"name": "agent", "address": pair.addr("0.0.0.0:15021"), "filter_chains": [{"filters": [{
        "name": HCM, "typed_config": {
            "@type": T + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "agent",
            "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [
                {"match": {"path": "/healthz/ready"}, "route": {"cluster": "agent", "prefix_rewrite": "/ready"}}]}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": T + "envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}
    b = pair.bootstrap(o, "sidecar", "127.0.0.1:15000", [health], [agent, cp])
    del b["node"]   # --service-node and --service-cluster say it
    b["dynamic_resources"] = {"lds_config": xds("listeners"), "cds_config": xds("clusters")}
    return b


def static(docs, proxy):
    """All of it in one file, nothing dynamic: for envoy --mode validate and for reading."""
    cs = clusters(docs, proxy)
    for c in cs:
        if c["type"] == "EDS":
            c["type"] = "STATIC"
            c["load_assignment"] = endpoints(docs, c.pop("eds_cluster_config")["service_name"])
    b = pair.bootstrap(pair.Options(), "sidecar", "127.0.0.1:15000", listeners(docs, proxy), cs)
    b["node"] = {"id": "sidecar~%s.%s" % (proxy.name, proxy.namespace), "cluster": proxy.name}
    return b
