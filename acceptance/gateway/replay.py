#!/usr/bin/env python3
"""Plays the recorded gateway scenarios again, and compares what both proxies log and what the client sees with the recordings.

    replay.py gateway BINARY         `BINARY sidecar gateway` before `BINARY sidecar inbound`
    replay.py inbound BINARY ENVOY   `BINARY sidecar inbound` behind a real Envoy as gateway
    replay.py envoy ENVOY            both are real Envoy, which has to agree with its own recordings
    replay.py record ENVOY           writes the recordings anew, instead of comparing

Output and exit status are those of ../envoy/replay.py.
"""

import os
import re
import sys

from envoy_gateway import SIDES, EnvoyGateway, Options  # first: it finds the modules of ../envoy
import compare  # noqa: E402
import gateway_scenarios  # noqa: E402, F401  (registers them)
import gateway_stage  # noqa: E402
from gateway_compare import compare_logs  # noqa: E402
import replaying  # noqa: E402
import stage  # noqa: E402
from sidecar_gateway import EnvoyBeforeSidecar, SidecarGateway, gateway_yaml  # noqa: E402

WIRE = "On the wire between gateway and sidecar"


class GatewayReplay(replaying.Replay):
    folder = os.path.dirname(os.path.abspath(__file__))
    sides = SIDES
    scenarios = gateway_stage.SCENARIOS

    def log_name(self, side):
        return "gateway.jsonl" if side == "gateway" else "server-sidecar.jsonl"

    def stage(self, scenario, network, make_pair):
        options = Options(**scenario.options, upstream=stage.RELAY if scenario.tap else "").moved_to(network)
        gateway_stage.CLIENT_IP = options.client
        return gateway_stage.Stage(options, make_pair(options))

    def describe(self, scenario, live):
        about = [f"- application: {stage.APPLICATIONS.get(scenario.application, scenario.application)}"]
        if scenario.tap:
            about.append(f"- a relay at {stage.RELAY} before the sidecar decodes the frames; `upstream_host` shows its address")
        if scenario.sidecar_cannot:
            about.append(f"- not for our sidecar: {scenario.sidecar_cannot}")
        view = "\n\n".join(live.notes).replace("\n\n- ", "\n- ")
        parts = [
            f"# {scenario.name}\n\n{scenario.description}\n\n" + "\n".join(about) + "\n",
            f"## Documents\n\n```yaml\n{gateway_yaml(live.options)}```\n",
            f"## {compare.VIEW}\n\n{view}\n",
        ]
        if live.tap:
            lines = "\n".join(live.tap.lines)
            parts.append(f"## {WIRE}\n\nC = gateway, S = sidecar; header fields in wire order.\n\n```\n{lines}\n```\n")
        return parts

    def compare_logs(self, recorded, got, races):
        return compare_logs(recorded, got, races)

    def compare_views(self, recorded, got, races):
        return compare.compare_views(without_volatile(recorded), without_volatile(got), races)

    def inexpressible(self, scenario):
        return scenario.sidecar_cannot


def without_volatile(scenario):
    """What differs from run to run at a gateway alone."""
    scenario = re.sub(r"Hash=[0-9a-f]{64}", "Hash=<hash>", scenario)
    return re.sub(r"idle: after [\d.]+ s", "idle: after <time>", scenario)


def main():
    parser = replaying.arguments_of(__doc__)
    parser.add_argument("proxies", choices=["gateway", "inbound", "envoy", "record"])
    parser.add_argument("programs", metavar="PROGRAM", nargs="+", help="the websockets-cli and Envoy binaries")
    arguments = parser.parse_args()
    makes = {"gateway": SidecarGateway, "inbound": before_sidecar}.get(arguments.proxies, EnvoyGateway)
    if len(arguments.programs) != (2 if arguments.proxies == "inbound" else 1):
        parser.error("gateway takes BINARY, inbound BINARY and ENVOY, the others ENVOY")
    programs = list(map(os.path.abspath, arguments.programs))

    def make_pair(options):
        return makes(options, *programs)

    record, ours = arguments.proxies == "record", arguments.proxies in ("gateway", "inbound")
    return replaying.main(GatewayReplay(), arguments, make_pair, record=record, documents=ours)


def before_sidecar(options, binary, envoy):
    return EnvoyBeforeSidecar(options, envoy, binary)


if __name__ == "__main__":
    sys.exit(main())
