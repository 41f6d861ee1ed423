#!/usr/bin/env python3
"""Plays the recorded scenarios again, and compares what two sidecars log and what the client sees with the recordings.

    replay.py sidecar BINARY     the pair is `BINARY sidecar outbound` and `BINARY sidecar inbound`
    replay.py envoy ENVOY        the pair is real Envoy, which has to agree with its own recordings
    replay.py record ENVOY       writes the recordings anew, instead of comparing

One line a scenario (`ok`, `DIFF`, `ERROR` or `skip`, and the time); under a DIFF the differences, recorded against got.
The last line is `N passed, N failed`, with `, N skipped` if no document expresses some. The exit status is 0 only if
nothing failed.
"""

import os
import sys

import compare
import replaying
import scenarios  # noqa: F401  (registers them)
import stage
from envoy_pair import EnvoyPair
from pair import SIDES, Options
from sidecar_pair import SidecarPair, inexpressible


class PairReplay(replaying.Replay):
    folder = os.path.dirname(os.path.abspath(__file__))
    sides = SIDES
    scenarios = stage.REGISTERED
    compare_logs = staticmethod(compare.compare_logs)
    compare_views = staticmethod(compare.compare_views)

    def log_name(self, side):
        return f"{side}-sidecar.jsonl"

    def stage(self, scenario, network, make_pair):
        options = Options(**scenario.options, upstream=stage.RELAY if scenario.tap else "").moved_to(network)
        return stage.Stage(options, make_pair(options))

    def describe(self, scenario, live):
        options = [f"- `{name}` = `{value}`" for name, value in scenario.options.items()]
        options = options or ["- none (h2_upgrade DO_NOT_UPGRADE, allow_connect off, plaintext)"]
        options.append(f"- application: {stage.APPLICATIONS.get(scenario.application, scenario.application)}")
        if scenario.tap:
            options.append(
                f"- a TCP relay at {stage.RELAY} sits between the sidecars and decodes the frames, "
                "so `upstream_host` shows its address"
            )
        view = "\n\n".join(live.notes).replace("\n\n- ", "\n- ")
        parts = [
            f"# {scenario.name}\n\n{scenario.description}\n",
            "## Options that differ from the default\n\n" + "\n".join(options) + "\n",
            f"## {compare.VIEW}\n\n{view}\n",
        ]
        if live.tap:
            head = "## On the wire between the sidecars\n\nC = client sidecar, S = server sidecar; header fields in wire order."
            parts.append(f"{head}\n\n```\n" + "\n".join(live.tap.lines) + "\n```\n")
        return parts

    def inexpressible(self, scenario):
        return scenario.sidecar_cannot or inexpressible(Options(**scenario.options))


def main():
    parser = replaying.arguments_of(__doc__)
    parser.add_argument("pair", choices=["sidecar", "envoy", "record"])
    parser.add_argument("program", metavar="PROGRAM", help="the websockets-cli or Envoy binary")
    arguments = parser.parse_args()
    ours, program = arguments.pair == "sidecar", os.path.abspath(arguments.program)
    kind = SidecarPair if ours else EnvoyPair
    record = arguments.pair == "record"
    return replaying.main(PairReplay(), arguments, lambda options: kind(options, program), record=record, documents=ours)


if __name__ == "__main__":
    sys.exit(main())
