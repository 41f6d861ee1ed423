"""A real Envoy whose configuration comes by xDS, from files: what is in force, on its way, and refused is in its dump.

Each file is a discovery response; an update takes its place by a rename, which Envoy watches.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request

from envoy_pair import T, addr, http_protocol_options, typed

PATIENCE = 20
ROUTER = typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
KINDS = {
    "lds": "envoy.config.listener.v3.Listener",
    "cds": "envoy.config.cluster.v3.Cluster",
    "rds": "envoy.config.route.v3.RouteConfiguration",
    "srds": "envoy.config.route.v3.ScopedRouteConfiguration",
    "eds": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "ecds": "envoy.config.core.v3.TypedExtensionConfig",
}


class DiscoveredEnvoy:
    """An Envoy with one listener, whose routes, filter and cluster come by xDS."""

    def __init__(self, envoy, network, application):
        self.envoy, self.application = envoy, application
        self.address, self.admin_address = f"{network}31:8080", f"{network}31:9901"
        self.folder = tempfile.mkdtemp(prefix="discovered-")
        self.version = 0
        self.process = None

    # ------------------------------------------------------------ files
    def source(self, kind, **fields):
        path = os.path.join(self.folder, f"{kind}.json")
        return {"path_config_source": {"path": path}, "resource_api_version": "V3", "initial_fetch_timeout": "0s", **fields}

    def tell(self, kind, *resources):
        """Has these resources of a kind take the place of those before."""
        self.version += 1
        typed_resources = [{"@type": T + KINDS[kind], **resource} for resource in resources]
        response = {"version_info": str(self.version), "resources": typed_resources}
        path = os.path.join(self.folder, f"{kind}.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(response, file)
        os.rename(path + ".new", path)

    # ------------------------------------------------------------ resources
    def listener(self, name="l", port=8080, routes=None, filters=(ROUTER,)):
        manager = typed(
            "envoy.filters.network.http_connection_manager",
            MANAGER,
            stat_prefix=name,
            upgrade_configs=[{"upgrade_type": "websocket"}],
            stream_idle_timeout="0s",
            http_filters=list(filters),
            **(routes or {"rds": {"route_config_name": "r", "config_source": self.source("rds")}}),
        )
        host = self.address.rsplit(":", 1)[0]
        return {"name": name, "address": addr(f"{host}:{port}"), "filter_chains": [{"filters": [manager]}]}

    def cluster(self, name="c", **fields):
        unlimited = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 4294967295)
        endpoint = {"endpoint": {"address": addr(self.application)}}
        static = {"type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}
        return {"name": name, "circuit_breakers": {"thresholds": [unlimited]}, **(fields or static)}

    @staticmethod
    def control_plane():
        """A control plane that nobody can reach: what comes from it is waited for."""
        nobody = {"endpoint": {"address": addr("127.0.0.1:1")}}
        endpoints = {"cluster_name": "control-plane", "endpoints": [{"lb_endpoints": [nobody]}]}
        options = http_protocol_options(explicit_http_config={"http2_protocol_options": {}})
        return {
            "name": "control-plane",
            "type": "STATIC",
            "typed_extension_protocol_options": options,
            "load_assignment": endpoints,
        }

    @staticmethod
    def awaited():
        """The source of what never comes."""
        service = {"envoy_grpc": {"cluster_name": "control-plane"}}
        api = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
        return {"api_config_source": api, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}

    @staticmethod
    def routes(name="r", **route):
        route = {"match": {"prefix": "/"}, "route": {"cluster": "c"}, **route}
        return {"name": name, "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]}

    def scoped(self):
        """Routes that a header field chooses among, by SRDS."""
        fragment = {"header_value_extractor": {"name": ":method", "index": 0}}
        return {
            "scoped_routes": {
                "name": "s",
                "scope_key_builder": {"fragments": [fragment]},
                "rds_config_source": self.source("rds"),
                "scoped_rds": {"scoped_rds_config_source": self.source("srds")},
            }
        }

    def discovered_filter(self, name):
        """A filter whose configuration comes by ECDS, and the one behind it."""
        types = [T + f"envoy.extensions.filters.http.{kind}" for kind in ("buffer.v3.Buffer", "cors.v3.Cors")]
        return [{"name": name, "config_discovery": {"config_source": self.source("ecds"), "type_urls": types}}, ROUTER]

    # ------------------------------------------------------------ process
    def __enter__(self):
        for kind in KINDS:
            if not os.path.exists(os.path.join(self.folder, f"{kind}.json")):
                self.tell(kind)
        bootstrap = {
            "node": {"id": "sidecar~127.0.0.1~discovered.default~default.svc.cluster.local", "cluster": "discovered"},
            "admin": {"address": addr(self.admin_address)},
            "dynamic_resources": {"lds_config": self.source("lds"), "cds_config": self.source("cds")},
            "static_resources": {"clusters": [self.control_plane()]},
        }
        path = os.path.join(self.folder, "bootstrap.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(bootstrap, file)
        with open(os.path.join(self.folder, "stderr"), "w", encoding="utf-8") as output:
            command = [self.envoy, "--disable-hot-restart", "-c", path, "-l", "warning", "--concurrency", "1"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            self.until(lambda: self.admin("/ready").startswith("LIVE"), "ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def admin(self, path):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.admin_address}{path}", timeout=PATIENCE) as response:
            return response.read().decode()

    def dump(self):
        return self.admin("/config_dump?include_eds")

    def until(self, holds, what):
        """Waits until something holds; an Envoy that does not answer yet is no failure."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if holds():
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(os.path.join(self.folder, "stderr"), encoding="utf-8", errors="replace") as file:
                    raise RuntimeError(f"not {what}: {file.read()[-2000:]}")
            time.sleep(0.02)
