#!/usr/bin/env python3
"""A million lines through the client's pipe, and its speed beside websocat's: pipe_speed.py BINARY WEBSOCAT ADDRESS

At ADDRESS listens a server that echoes. Both clients read the same file and write what comes back to another, in turns: the client
with compression, as it is by default, and without it, which websocat does not have. Prints the table of docs/benchmarks.md; the exit
status is 0 only if the client brought every line back in order, kept its memory, and without compression, at the same work, is at
least LEAST times as fast, whether websocat brought every line back or not.
"""

import filecmp
import os
import statistics
import sys
import tempfile
import time

LINES = 1_000_000
LINES_IN_TURNS = 200_000
ROUNDS = 3
LEAST = 0.8  # a noisy machine is no failure
MOST_KIB = 48 * 1024  # what the client may hold at its largest
BINARY, WEBSOCAT, ADDRESS = sys.argv[1:]
CLIENTS = {
    "websockets-cli client --no-compression": [BINARY, "client", "--no-compression", f"ws://{ADDRESS}"],
    "websocat --text -": [WEBSOCAT, "--text", "-", f"ws://{ADDRESS}"],
    "websockets-cli client": [BINARY, "client", f"ws://{ADDRESS}"],
}


def lines(path, count):
    with open(path, "w", encoding="ascii") as file:
        file.writelines(f"line {number}\n" for number in range(count))


def run(command, source, sink):
    """Seconds and the largest resident size in KiB of a client that passes one file to the other."""
    opened = [(os.POSIX_SPAWN_OPEN, 0, source, os.O_RDONLY, 0)]
    opened += [(os.POSIX_SPAWN_OPEN, 1, sink, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
    opened += [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    started = time.monotonic()
    process = os.posix_spawn(command[0], command, os.environ, file_actions=opened)
    _, status, usage = os.wait4(process, 0)
    seconds = time.monotonic() - started
    if command[0] == BINARY and (status or not filecmp.cmp(source, sink, shallow=False)):
        sys.exit(f"client-peers: the client ended with {status}, or not every line came back in order")
    return seconds, usage.ru_maxrss


def main():
    with tempfile.TemporaryDirectory() as folder:
        source, sink = os.path.join(folder, "source"), os.path.join(folder, "sink")
        lines(source, LINES_IN_TURNS)
        taken = {name: [] for name in CLIENTS}
        for _ in range(ROUNDS):
            for name, command in CLIENTS.items():
                taken[name].append(run(command, source, sink))
        ours, theirs, _ = taken.values()
        name = "websockets-cli client"
        print("| client | lines | median | largest memory |\n| --- | ---: | ---: | ---: |")
        for label, runs in taken.items():
            seconds = statistics.median(seconds for seconds, _ in runs)
            print(f"| `{label}` | {LINES_IN_TURNS:,} | {seconds:.2f} s | {max(size for _, size in runs) // 1024} MiB |")
        ratio = statistics.median(seconds for seconds, _ in theirs) / statistics.median(seconds for seconds, _ in ours)
        lines(source, LINES)
        seconds, most = run(CLIENTS[name], source, sink)
        print(f"| `{name}` | {LINES:,} | {seconds:.2f} s | {most // 1024} MiB |")
        print(f"{ratio:.1f} times as fast as websocat at the same work")
        if ratio < LEAST or most > MOST_KIB:
            sys.exit(f"client-peers: the client is slower than {LEAST} times websocat, or more than {MOST_KIB // 1024} MiB")


main()
