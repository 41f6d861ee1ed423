#!/usr/bin/env python3
"""`explain --summary` beside jq: log_speed.py BINARY [MEGABYTES [ROUNDS]]

Writes the access log of a client's sidecar and that of a server's, so many megabytes each, and reads the first in turns with jq,
which counts one field. The medians are printed as the table of docs/benchmarks.md, CPU time (user and system) and the time by the
clock. The exit status is 0 only if both counted the same lines, the summary is at least LEAST times as fast by the clock, and
it holds no more for five times the lines.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

LEAST = 4
MOST_MEMORY = 1.25  # of what a fifth of the log takes: what is held does not grow
BINARY = sys.argv[1]
MEGABYTES, ROUNDS = ([int(argument) for argument in sys.argv[2:]] + [500, 3][len(sys.argv) - 2 :])[:2]
COUNT = 'reduce inputs.response_code as $code ({}; .[$code | tostring] += 1)'

ENDS = [
    (0.45, {}),
    (0.20, {"response_flags": "DC", "response_code_details": "downstream_remote_disconnect"}),
    (0.30, {"response_code": 200, "response_flags": "-", "response_code_details": "via_upstream"}),
    (0.05, {"response_code": 503, "response_flags": "UF",
            "response_code_details": "upstream_reset_before_response_started{connection_failure}",
            "upstream_transport_failure_reason": "delayed connect error: Connection refused"}),
]


def line(number, cluster, rng):
    """A line as Istio's JSON has it."""
    fields = {
        "start_time": f"2026-07-05T10:{number // 60000 % 60:02}:{number // 1000 % 60:02}.{number % 1000:03}Z",
        "method": "GET", "path": f"/chat/{number % 5000}", "protocol": "HTTP/1.1", "response_code": 101, "response_flags": "UC",
        "response_code_details": "upstream_reset_after_response_started{connection_termination}",
        "connection_termination_details": None, "upstream_transport_failure_reason": None,
        "bytes_received": rng.randrange(9999), "bytes_sent": rng.randrange(99999), "duration": rng.randrange(999999),
        "upstream_service_time": None, "x_forwarded_for": None, "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
        "request_id": f"{number * 2654435761 % 2**32:08x}-1234-4abc-9def-{number:012x}",
        "authority": "chat.default.svc.cluster.local:8080", "upstream_host": "10.80.47.192:8080", "upstream_cluster": cluster,
        "upstream_local_address": f"10.80.45.233:{1024 + number % 60000}", "downstream_local_address": "10.96.12.8:8080",
        "downstream_remote_address": f"10.80.45.233:{1024 + number * 7 % 60000}", "requested_server_name": None,
        "route_name": "default",
    }
    fields |= rng.choices([end for _, end in ENDS], [weight for weight, _ in ENDS])[0]
    return json.dumps(fields, separators=(",", ":")) + "\n"


def write(path, cluster, megabytes):
    rng, number = random.Random(1), 0
    with open(path, "w", encoding="ascii") as log:
        while log.tell() < megabytes * 1_000_000:
            log.writelines(line(number + ahead, cluster, rng) for ahead in range(1000))
            number += 1000


def run(command):
    """What it says, and its seconds by the clock, its seconds of CPU time, and its largest memory in MiB."""
    with tempfile.TemporaryFile() as said:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        clock = time.monotonic() - started
        if status:
            sys.exit(f"log-speed: {' '.join(command)} ended with {status}")
        said.seek(0)
        return json.load(said), (clock, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main():
    with tempfile.TemporaryDirectory() as folder:
        client, server, fifth = (os.path.join(folder, name) for name in ("client", "server", "fifth"))
        write(client, "outbound|8080||chat.default.svc.cluster.local", MEGABYTES)
        write(server, "inbound|8080||", MEGABYTES)
        write(fifth, "outbound|8080||chat.default.svc.cluster.local", MEGABYTES // 5)
        summary = [BINARY, "explain", "--summary", "--output", "json"]
        commands = {
            f"`explain --summary`, {MEGABYTES} MB": [*summary, client],
            f"`jq '{COUNT.replace('|', chr(92) + '|')}'`, the same": ["jq", "-n", COUNT, client],
            f"`explain --summary`, {MEGABYTES // 5} MB": [*summary, fifth],
            f"`explain --summary`, both sidecars, {MEGABYTES} MB each": [*summary, client, server],
        }
        taken = {name: [] for name in commands}
        for _ in range(ROUNDS):
            said = []
            for name, command in commands.items():
                answer, figures = run(command)
                said.append(answer)
                taken[name].append(figures)
            if said[0]["codes"] != said[1]:
                sys.exit(f"log-speed: the summary counted {said[0]['codes']}, jq {said[1]}")
    medians = {name: [statistics.median(figure) for figure in zip(*runs)] for name, runs in taken.items()}
    print("| what reads | clock s | CPU s | MiB held |\n| --- | ---: | ---: | ---: |")
    for name, (clock, cpu, held) in medians.items():
        print(f"| {name} | {clock:.2f} | {cpu:.2f} | {held:.0f} |")
    ours, theirs, small, _ = medians.values()
    by_clock, by_cpu, memory = theirs[0] / ours[0], theirs[1] / ours[1], ours[2] / small[2]
    print(f"\ntimes as fast as jq: {by_clock:.1f} by the clock, {by_cpu:.1f} by CPU time; memory of five times the lines: {memory:.2f}")
    sys.exit(by_clock < LEAST or memory > MOST_MEMORY)


if __name__ == "__main__":
    main()
