#!/usr/bin/env python3
"""What `lint --config-dump` says of running Envoys, beside what a handshake through them meets: dumps.py BINARY ENVOY

Each case starts a pair of real Envoys with an echo server behind it, opens a WebSocket through both, takes both dumps, and
compares: a handshake that fails has to be an error, one that succeeds none, and the codes are those of the case.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
import threading

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

from envoy_pair import EnvoyPair
from pair import HOST, SIDES, Options, claim_network, moved

# Options, what the handshake is answered with, and the codes beyond the notes.
CASES = [
    ({}, 101, set()),
    ({"h2_upgrade": "UPGRADE", "allow_connect": "on"}, 101, set()),
    ({"h2_upgrade": "UPGRADE"}, 503, {"upgrade-without-allow-connect"}),
    ({"upgrades": ""}, 403, {"no-websocket-taken"}),
    ({"mtls": True, "h2_upgrade": "UPGRADE", "allow_connect": "on"}, 101, set()),
    ({"stream_idle_timeout": "60s", "route_timeout": "9s"}, 101, {"stream-idle-timeout", "virtual-service-timeout"}),
    ({"max_conn_duration": "600s"}, 101, {"max-connection-duration"}),
]


def handshake(address):
    """The status that a handshake through the pair is answered with."""
    try:
        host, port = address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), timeout=10)
        with connect(f"ws://{HOST}:8080/", sock=connection, open_timeout=10, proxy=None) as session:
            session.send("hello")
            assert session.recv(timeout=10) == "hello"
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def judged(binary, pair):
    """The exit status and the findings on both dumps."""
    named = []
    for side in SIDES:
        path = pair.path(f"{side}-dump.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(pair.admin(side, "/config_dump?include_eds"))
        named.append(f"{side}={path}")
    done = subprocess.run([binary, "lint", "--output", "json", "--config-dump", *named], capture_output=True, check=False)
    if not done.stdout:
        raise RuntimeError(done.stderr.decode())
    return done.returncode, json.loads(done.stdout)["findings"]


def main(binary, envoy):
    network, failed = claim_network(), 0
    for changed, expected_status, expected_codes in CASES:
        options = dataclasses.replace(moved(Options(), network), **changed)
        host, port = options.app.rsplit(":", 1)
        with serve(lambda session: [session.send(message) for message in session], host, int(port)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with EnvoyPair(options, envoy) as pair:
                status = handshake(options.outbound)
                code, findings = judged(binary, pair)
        codes = {finding["code"] for finding in findings if finding["severity"] != "note"}
        fits = (status, codes, code) == (expected_status, expected_codes, 0 if expected_status == 101 else 1)
        failed += not fits
        print(f"{'ok' if fits else 'FAILED'}: {changed or 'as Istio has it'}: handshake {status}, lint {code} {sorted(codes)}")
    print(f"{len(CASES)} pairs, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
