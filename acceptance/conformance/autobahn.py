#!/usr/bin/env python3
"""Runs Autobahn|Testsuite against a server or a client, and judges every case.

    autobahn.py WSTEST server URL OUTDIR [CASES]            the suite's client against the echo server at URL
    autobahn.py WSTEST client 'COMMAND {url}' OUTDIR [CASES]   its server against an echo client, started once for each case

WSTEST is what install_autobahn made. CASES: nothing (all 517), `light` (409: all but those of 12.* and 13.* that move up to
131 MB each through Python 2), or ids and patterns such as '1.*,7.*,12.1.1'. OUTDIR gets the suite's own report of each case.

A case passes when its behaviour and its closing behaviour are both OK or INFORMATIONAL. NON-STRICT, UNIMPLEMENTED (the
peer declined permessage-deflate), UNCLEAN, WRONG CODE and FAILED fail; a case with no result fails as MISSING, so a
server that dies half-way or a time limit can never look like a pass. `wstest` itself exits 0 in all these situations.
"""

import base64
import collections
import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from urllib.parse import urlsplit

HERE = os.path.dirname(os.path.abspath(__file__))
MARK = ".autobahn-run"  # written into OUTDIR, so that a later run knows that it may empty the folder
PASSING = {"OK", "INFORMATIONAL"}
# In 12.* and 13.* these sub-cases move small messages; the others move up to 131 MB each through Python 2.
SHORT_COMPRESSION = {1, 2, 3, 4, 5, 6, 7, 11, 12}
# Seconds for a group of cases against a server, for one process of a client, and for all of it.
GROUP_LIMIT, CASE_LIMIT, TOTAL_LIMIT = 600, 120, 3600


def number(case):
    return [int(part) for part in case.split(".")]


def stop(text):
    print("autobahn: " + text, file=sys.stderr)
    sys.exit(2)


def select(wanted):
    """The case ids that `wanted` names."""
    with open(os.path.join(HERE, "autobahn_cases.txt")) as file:
        every = file.read().split()
    short = [c for c in every if number(c)[0] < 12 or number(c)[2] in SHORT_COMPRESSION]
    if not wanted:
        return every
    if wanted == "light":
        return short
    chosen = set()
    for pattern in re.split(r"[,\s]+", wanted.strip(", ")):
        found = fnmatch.filter(every, pattern)
        if not found:
            stop(f"no case matches {pattern!r}")
        chosen.update(found)
    return [c for c in every if c in chosen]


def group(case):
    """Cases that run in one wstest, under one time limit."""
    first, second = number(case)[:2]
    return f"{first}.{second}" if first >= 12 else "9" if first == 9 else "1-7,10"


def prepare(outdir):
    if os.path.exists(outdir):
        if os.listdir(outdir) and not os.path.exists(os.path.join(outdir, MARK)):
            stop(f"{outdir} is not empty and not the result of an earlier run; give another OUTDIR")
        shutil.rmtree(outdir)
    os.makedirs(outdir)
    open(os.path.join(outdir, MARK), "w").close()
    return os.path.abspath(outdir)


def start_wstest(wstest, mode, folder, spec, *more):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "spec.json"), "w") as file:
        json.dump(spec, file, indent=1)
    log = open(os.path.join(folder, "wstest.log"), "wb")
    return subprocess.Popen(
        [wstest, "-m", mode, "-s", "spec.json", *more],
        cwd=folder,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def end_process(process):
    """Ends a process that we started, with its children: first politely, so that wstest writes its report."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            try:
                os.killpg(process.pid, sign)
                process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


def read_results(folder):
    try:
        with open(os.path.join(folder, "report", "index.json")) as file:
            agents = json.load(file)
    except (OSError, ValueError):
        return {}
    return {case: result for cases in agents.values() for case, result in cases.items()}


def run_server(wstest, url, outdir, cases):
    """Autobahn's fuzzing client against the server at `url`; gives (results, remarks)."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        stop(f"not a WebSocket URL: {url}")
    try:
        socket.create_connection((parts.hostname, parts.port or {"ws": 80, "wss": 443}[parts.scheme]), 5).close()
    except OSError as error:
        return {}, [f"cannot connect to {url}: {error}"]
    results, remarks = {}, []
    end = time.monotonic() + TOTAL_LIMIT
    groups = {}
    for case in cases:
        groups.setdefault(group(case), []).append(case)
    for name, members in groups.items():
        left = min(GROUP_LIMIT, end - time.monotonic())
        if left <= 0:
            remarks.append(f"group {name}: not started, {TOTAL_LIMIT} s are over")
            continue
        folder = os.path.join(outdir, name)
        process = start_wstest(
            wstest,
            "fuzzingclient",
            folder,
            {
                "outdir": os.path.join(folder, "report"),
                "options": {"failByDrop": False},
                "cases": members,
                "servers": [{"agent": "server", "url": url}],
                "exclude-cases": [],
                "exclude-agent-cases": {},
            },
        )
        try:
            status = process.wait(left)
            if status:
                remarks.append(f"group {name}: wstest exited with {status}, see {folder}/wstest.log")
        except subprocess.TimeoutExpired:
            remarks.append(f"group {name}: cut off after {left:.0f} s")
        finally:
            end_process(process)
        results.update(read_results(folder))
    return results, remarks


def ask(port, path):
    """Opens a WebSocket to the fuzzing server and returns the one text message that it answers with, or None."""
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.settimeout(60)
        connection.sendall(request.encode())
        stream = connection.makefile("rb")
        while stream.readline() not in (b"\r\n", b""):
            pass
        message = None
        while True:
            head = stream.read(2)
            if len(head) < 2:
                return message
            opcode, length = head[0] & 15, head[1] & 127
            payload = stream.read(length)
            if opcode == 1:
                message = payload.decode()
            if opcode == 8:
                connection.sendall(b"\x88\x80\0\0\0\0")
                return message


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_client(wstest, command, outdir, cases):
    """Autobahn's fuzzing server against a client that is started once for each case; gives (results, remarks)."""
    words = shlex.split(command)
    if not any("{url}" in word for word in words):
        stop("the client command must contain {url}")
    port, end = free_port(), time.monotonic() + TOTAL_LIMIT
    remarks, late = [], []
    server = start_wstest(
        wstest,
        "fuzzingserver",
        outdir,
        {
            "url": f"ws://127.0.0.1:{port}",
            "outdir": os.path.join(outdir, "report"),
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
            "options": {"failByDrop": False},
        },
        "-u",
        "0",
    )
    try:
        count = wait_for_server(server, port)
        if count != len(cases):
            return {}, [f"the fuzzing server has {count} cases, not {len(cases)}; see {outdir}/wstest.log"]
        with open(os.path.join(outdir, "client.log"), "wb") as log:
            for index, case in enumerate(cases):
                left = end - time.monotonic()
                if left <= 0:
                    remarks.append(f"stopped after {index} of {count} cases, {TOTAL_LIMIT} s are over")
                    break
                url = f"ws://127.0.0.1:{port}/runCase?case={index + 1}&agent=client"
                arguments = [word.replace("{url}", url) for word in words]
                streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
                client = subprocess.Popen(arguments, **streams, start_new_session=True)
                try:
                    client.wait(min(CASE_LIMIT, left))
                except subprocess.TimeoutExpired:
                    late.append(case)
                finally:
                    end_process(client)
        if late:
            remarks.append(f"the client did not exit within {CASE_LIMIT} s: " + " ".join(late))
        try:
            ask(port, "/updateReports?agent=client")
        except OSError as error:
            remarks.append(f"no report from the fuzzing server: {error}")
    finally:
        end_process(server)
    return read_results(outdir), remarks


def wait_for_server(server, port):
    """How many cases the fuzzing server has, once it answers; None if it ends, or does not answer in time."""
    deadline = time.monotonic() + CASE_LIMIT
    while server.poll() is None and time.monotonic() < deadline:
        try:
            return int(ask(port, "/getCaseCount"))
        except (OSError, TypeError, ValueError):
            time.sleep(0.2)
    return None


def main():
    runs = {"server": run_server, "client": run_client}
    if len(sys.argv) not in (5, 6) or sys.argv[2] not in runs:
        stop("usage: autobahn.py WSTEST server URL OUTDIR [CASES] | autobahn.py WSTEST client 'COMMAND {url}' OUTDIR [CASES]")
    wstest, mode, target, outdir = sys.argv[1:5]
    cases = select("".join(sys.argv[5:]))
    outdir, begin = prepare(outdir), time.monotonic()
    # So that the suite, which is in a session of its own, ends with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    results, remarks = runs[mode](os.path.abspath(wstest), target, outdir, cases)
    tally, failed = collections.Counter(), {}
    for case in cases:
        result = results.get(case)
        behaviour = result["behavior"] if result else "MISSING"
        tally[behaviour] += 1
        if behaviour not in PASSING:
            failed.setdefault(behaviour, []).append(case)
        elif result["behaviorClose"] not in PASSING:
            failed.setdefault("closing " + result["behaviorClose"], []).append(case)
    count = sum(len(members) for members in failed.values())
    took = round(time.monotonic() - begin, 1)
    for why, members in failed.items():
        print(textwrap.fill(f"{why} ({len(members)}): " + " ".join(members), 120, subsequent_indent="    "))
    for remark in remarks:
        print("INCOMPLETE " + remark)
    counts = ", ".join(f"{n} {name}" for name, n in tally.most_common())
    print(f"{len(cases)} cases in {took} s: {counts}; reports in {outdir}")
    print(f"{len(cases) - count} passed, {count} failed")
    return 1 if count or remarks else 0


if __name__ == "__main__":
    sys.exit(main())
