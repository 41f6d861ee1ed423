"""Adds istio-init and istio-proxy to a pod, as istiod's webhook does; control_plane.py asks for it."""
import copy
import json

import config

IMAGE = "localhost/istio-proxy:local"
ADDRESS = "10.240.0.1"      # the node's, where control_plane.py listens
XDS_PORT = 15010


def wanted(metadata, spec):
    off = "false" in ((metadata.get("labels") or {}).get("sidecar.istio.io/inject"),
                      (metadata.get("annotations") or {}).get("sidecar.istio.io/inject"))
    return not (off or spec.get("hostNetwork") or any(c["name"] == "istio-proxy" for c in spec["containers"]))


def inject(metadata, spec):
    """metadata and spec of a pod -> both, injected."""
    metadata, spec = copy.deepcopy(metadata), copy.deepcopy(spec)
    app = (metadata.get("labels") or {}).get("app", "istio-proxy")
    metadata.setdefault("annotations", {})["sidecar.istio.io/status"] = json.dumps(
        {"initContainers": ["istio-init"], "containers": ["istio-proxy"], "revision": "default"})
    labels = metadata.setdefault("labels", {})
    labels.setdefault("service.istio.io/canonical-name", app)
    labels.setdefault("service.istio.io/canonical-revision", "latest")
    spec.setdefault("initContainers", []).insert(0, {
        "name": "istio-init", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["istio-iptables"],
        "securityContext": {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False, "allowPrivilegeEscalation": False,
                            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}}})

    def field(name, path):
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
    spec["containers"].append({
        "name": "istio-proxy", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
        "args": ["proxy", "sidecar",
                 "--service-node", "sidecar~$(INSTANCE_IP)~$(POD_NAME).$(POD_NAMESPACE)~$(POD_NAMESPACE).svc.cluster.local",
                 "--service-cluster", app + ".$(POD_NAMESPACE)", "--concurrency", "2"],
        "env": [field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"),
                field("INSTANCE_IP", "status.podIP"),
                {"name": "BOOTSTRAP", "value": json.dumps(config.bootstrap("%s:%d" % (ADDRESS, XDS_PORT)))}],
        "ports": [{"containerPort": 15021, "name": "http-health", "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}, "periodSeconds": 1,
                           "timeoutSeconds": 3, "failureThreshold": 30},
        "securityContext": {"runAsUser": 1337, "runAsGroup": 1337, "runAsNonRoot": True,
                            "allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}}})
    return metadata, spec
