"""../envoy/compare.py for two proxies of which the first is a gateway: it calls that side `client`."""

import compare


def compare_logs(recorded, got, races=None):
    """Differences between two pairs of logs (side -> text); see compare.compare_logs."""
    found = compare.compare_logs(as_pair(recorded), as_pair(got), races)
    return [line.replace("client sidecar", "gateway").replace("a client upstream", "a gateway upstream") for line in found]


def as_pair(logs):
    return {"client" if side == "gateway" else side: log for side, log in logs.items()}
