#!/usr/bin/env python3
"""Puts both sidecars beside two real Envoys, or one echo server beside another, under the same load in turn.

    compare.py pair   --wsload WSLOAD --a websockets-cli --envoy ENVOY
    compare.py pair   --wsload WSLOAD --a websockets-cli --b OLDER-websockets-cli
    compare.py server --wsload WSLOAD --a 'websockets-cli server --listen {addr}' --b 'OTHER-SERVER {addr}'

Prints a row a workload: the medians of A and B over the rounds, and A/B (for latency and memory, lower is better).
A `-per-cpu` row is the work done a second of CPU time of the compared processes: the cost of a message, whatever else
the machine does; on a machine with few cores the load itself can be the limit of the others.
The processes that are compared run on the last core, the load and the echo server behind a pair on the others.
"""

import argparse
import os
import re
import shlex
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "envoy"))
from envoy_pair import EnvoyPair  # noqa: E402
from pair import HOST, Options, claim_network  # noqa: E402
from sidecar_pair import SidecarPair  # noqa: E402

# name -> wsload arguments, the figure to take, whether more is better
LOADS = {
    "pingpong": (["echo", "--conns", "50", "--depth", "1"], "msgs_per_s", True),
    "pingpong-p50": (["echo", "--conns", "50", "--depth", "1"], "p50_us", False),
    "pipelined": (["echo", "--conns", "50", "--depth", "64"], "msgs_per_s", True),
    "single-p50": (["echo", "--conns", "1", "--depth", "1"], "p50_us", False),
    "bulk": (["echo", "--conns", "8", "--depth", "4", "--size", "65536"], "MB_per_s", True),
    "sessions": (["connect", "--conns", "16"], "sessions_per_s", True),
}
AUTHORITY = f"{HOST}:8080"
PATIENCE = 30  # seconds that a server may take to start or to end
IDLE_SESSIONS = 1000


def cores():
    """The core of what is compared, and those of everything else; on one core alone both are None."""
    count = os.cpu_count()
    return ({count - 1}, set(range(count - 1))) if count > 1 else (None, None)


def pin_to(pids, cpus):
    if cpus:
        for pid in pids:
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), cpus)


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))


def cpu_seconds(pids):
    """User and system time that the processes have used so far."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def figures(line):
    return {key: float(value) for key, value in re.findall(r"(\w+)=([0-9.]+)", line)}


class Load:
    def __init__(self, args, cpus):
        self.args, self.cpus = args, cpus

    def run(self, target, host, extra):
        command = [self.args.wsload, "--target", target, "--host", host, *extra, "--secs", str(self.args.secs)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if self.cpus:
            os.sched_setaffinity(process.pid, self.cpus)
        out, _ = process.communicate(timeout=120)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: {out.strip()[-300:]}")
        return figures(out)


def run_loads(load, wanted, target, host, pids):
    """{workload: figure}; a `-per-cpu` row is the work done a second of CPU time that `pids` used for it."""
    seen, out = {}, {}
    for name, (extra, figure, more) in LOADS.items():
        if name not in wanted:
            continue
        key = tuple(extra)
        if key not in seen:
            before = cpu_seconds(pids)
            seen[key] = load.run(target, host, extra)
            seen[key]["cpu"] = cpu_seconds(pids) - before
        out[name] = seen[key][figure]
        if more and seen[key]["cpu"] > 0:
            out[f"{name}-per-cpu"] = out[name] * load.args.secs / seen[key]["cpu"]
    return out


def start_server(command, addr, cpus):
    words = shlex.split(command.format(addr=addr))
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host, port = addr.rsplit(":", 1)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host, int(port)), PATIENCE).close()
            break
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                stop(process)
                raise RuntimeError(f"{command}: does not listen on {addr}") from None
            time.sleep(0.05)
    pin_to([process.pid], cpus)
    return process


def stop(process):
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def measure_pair(side, options, args, wanted):
    """One round of one pair: {workload: figure}."""
    options = Options(**options).moved_to(args.network)
    compared, others = cores()
    app = start_server(f"{shlex.quote(args.a)} server --listen {{addr}}", options.app, others)
    pair = EnvoyPair(options, args.envoy) if side == "b" and args.envoy else SidecarPair(options, vars(args)[side])
    out = {}
    try:
        pair.start()
        pids = [process.pid for process in pair.processes.values()]
        pin_to(pids, compared)
        if "memory" in wanted:
            out |= memory_of_idle_sessions(args, options.outbound, pids)
        out |= run_loads(Load(args, others), wanted, options.outbound, AUTHORITY, pids)
    finally:
        pair.stop()
        pair.clean_up()
        stop(app)
    return out


def memory_of_idle_sessions(args, target, pids):
    """KiB a session and process, and MiB of all of them, with a thousand sessions that have each echoed one message."""
    empty = sum(map(resident_kib, pids))
    command = [args.wsload, "--target", target, "--host", AUTHORITY, "idle", "--conns", str(IDLE_SESSIONS), "--secs", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as holder:
        opened = holder.stdout.readline()
        if figures(opened).get("held") != IDLE_SESSIONS:
            raise RuntimeError(f"not {IDLE_SESSIONS} sessions: {opened.strip()}")
        time.sleep(2)  # what the last of them has allocated for its opening is free again
        full = sum(map(resident_kib, pids))
        holder.communicate(timeout=60)
    return {"memory": (full - empty) / IDLE_SESSIONS / len(pids), "memory-total": full / 1024}


def measure_server(side, args, wanted):
    compared, others = cores()
    addr = f"{args.network}9:9001"
    server = start_server(vars(args)[side], addr, compared)
    try:
        return run_loads(Load(args, others), wanted, addr, addr, [server.pid])
    finally:
        stop(server)


def table(title, rows):
    print(f"\n{title}\n{'workload':<24}{'A':>14}{'B':>14}{'A/B':>8}  better")
    for name, a, b in rows:
        more = name.endswith("-per-cpu") or (name in LOADS and LOADS[name][2])
        ma, mb = statistics.median(a), statistics.median(b)
        ratio = ma / mb if mb else float("nan")
        print(f"{name:<24}{ma:>14,.1f}{mb:>14,.1f}{ratio:>8.2f}  {'more' if more else 'less'}", flush=True)


def rounds(args, one):
    collected = {}
    for _ in range(args.rounds):
        for side in ("a", "b"):
            for name, value in one(side).items():
                collected.setdefault(name, {"a": [], "b": []})[side].append(value)
    return [(name, v["a"], v["b"]) for name, v in collected.items() if v["a"] and v["b"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pair", "server"])
    parser.add_argument("--wsload", metavar="WSLOAD", required=True, help="the load generator")
    parser.add_argument("--a", required=True, help="pair: a websockets-cli; server: a command, {addr} is where it listens")
    parser.add_argument("--b", help="the same, of what A is compared with")
    parser.add_argument("--envoy", metavar="ENVOY", help="pair: two real Envoys as B")
    parser.add_argument("--hop", choices=["h1", "h2"], help="pair: between the proxies; without it both in turn")
    parser.add_argument("--only", default=".", metavar="REGEX", help="only workloads whose name matches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--secs", type=float, default=3, help="seconds a workload and round")
    args = parser.parse_args()
    if bool(args.b) == bool(args.envoy and args.what == "pair"):
        parser.error("give one thing to compare with: --b, or for a pair --envoy")
    args.network = claim_network()
    wanted = {n for n in [*LOADS, "memory"] if re.search(args.only, n)}
    if args.what == "server":
        wanted.discard("memory")
        table("servers", rounds(args, lambda side: measure_server(side, args, wanted)))
        return 0
    for hop in [args.hop] if args.hop else ["h1", "h2"]:
        options = {"h2_upgrade": "UPGRADE", "allow_connect": "on"} if hop == "h2" else {}
        title = f"pair, {hop} hop (memory: KiB a session and proxy at {IDLE_SESSIONS:,}; memory-total: MiB of both)"
        table(title, rounds(args, lambda side: measure_pair(side, options, args, wanted)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
