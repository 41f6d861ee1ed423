#!/usr/bin/env python3
"""The sidecar pair between Python's WebSocket client and server, in both policies: peers.py BINARY

Both sidecars are started as a user starts them by hand, as two processes with the documents of manifests/. The last line
is `N passed, N failed`; the exit status is 0 only if nothing failed. (Needs websockets.)
"""

import asyncio
import glob
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError, InvalidStatus

SERVICE = "ws://websockets-server.default.svc.cluster.local:8080"
AUTHORITY = SERVICE.removeprefix("ws://")
MANIFESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "manifests")
PATIENCE = 60  # seconds that anything may take; a busy machine is no failure
LARGE = 16 << 20  # bytes
LARGE_SECONDS = 10  # there and back, which takes a fifth of a second; a window that is given back too late takes longer


# ---------------------------------------------------------------- the programs
async def application(session):
    """Echoes; under /boom it closes with a code of its own instead."""
    if session.request.path == "/boom":
        await session.close(4321, "boom")
        return
    async for message in session:
        await session.send(message)


def refuse(connection, request):
    return connection.respond(404, "no such page\n") if request.path == "/missing" else None


class Sidecar:
    def __init__(self, binary, direction, workload, documents, endpoint, folder):
        self.log = os.path.join(folder, f"{direction}.jsonl")
        command = [binary, "sidecar", direction, "--listen", "127.0.0.1:0", "--endpoint", endpoint]
        command += ["--workload", workload, "--access-log", self.log]
        for path in documents:
            command += ["-f", path]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if line.startswith("listening on "):
                self.address = line.split()[-1]
                return
            print(f"    {direction}: {line}", end="")
        raise RuntimeError(f"{' '.join(command)}: ended with {self.process.wait(PATIENCE)}")

    def lines(self):
        with open(self.log, encoding="utf-8") as log:
            return [json.loads(line) for line in log]

    def stop(self):
        self.process.terminate()
        status = self.process.wait(PATIENCE)
        self.process.stderr.close()
        return status


async def logged(sidecar, count):
    """The sidecar's log once it has `count` lines, which are written when connections have closed."""
    deadline = time.monotonic() + PATIENCE
    while len(lines := sidecar.lines()) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{sidecar.log} has {len(lines)} lines, not {count}")
        await asyncio.sleep(0.02)
    return lines


# ---------------------------------------------------------------- the sessions; each leaves one line at each sidecar
async def plain(dial):
    async with dial(compression=None) as session:
        for text in ("hello", "world"):
            await session.send(text)
            assert await session.recv() == text
    assert session.close_code == 1000
    # Two messages and a Close, each with its header, and with a mask on the client's side.
    return {"response_code": 101, "bytes_received": 2 * (2 + 4 + 5) + 8, "bytes_sent": 2 * (2 + 5) + 4}


async def compressed(dial):
    async with dial() as session:
        assert session.protocol.extensions, "permessage-deflate was not agreed on"
        for message in ("hello", bytes(range(256)) * 64, "", "\u4f60\u597d"):
            await session.send(message)
            assert await session.recv() == message
        await (await session.ping())
    return {"response_code": 101}


async def large(dial):
    message = os.urandom(LARGE)
    async with dial(compression=None, max_size=None) as session:
        started = time.monotonic()
        await session.send(message)
        assert await session.recv() == message
        seconds = time.monotonic() - started
    print(f"    16 MiB there and back: {seconds:.2f} s")
    assert seconds < LARGE_SECONDS, f"{seconds:.2f} s"
    return {"response_code": 101}


async def closed_by_the_server(dial):
    async with dial("/boom") as session:
        try:
            raise AssertionError(f"a message: {await session.recv()!r}")
        except ConnectionClosedError as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4321, "boom"), closed
    return {"response_code": 101, "path": "/boom"}


async def refused_by_the_server(dial):
    try:
        async with dial("/missing"):
            raise AssertionError("the handshake was accepted")
    except InvalidStatus as refusal:
        assert (refusal.response.status_code, refusal.response.body) == (404, b"no such page\n"), refusal.response
    return {"response_code": 404, "path": "/missing"}


SESSIONS = (plain, compressed, large, closed_by_the_server, refused_by_the_server)


# ---------------------------------------------------------------- the policies
def differences(line, expected):
    return [f"{key}: expected {value!r}, got {line.get(key)!r}" for key, value in expected.items() if line.get(key) != value]


async def check(session, number, sidecars, server_protocol):
    """Plays one session and returns what is wrong with it."""
    outbound, inbound = sidecars
    host, port = outbound.address.rsplit(":", 1)

    def dial(path="", **options):
        return connect(SERVICE + path, host=host, port=int(port), **options)

    expected = {"method": "GET", "authority": AUTHORITY, "path": "/"} | await asyncio.wait_for(session(dial), PATIENCE)
    client_side, server_side = [(await logged(sidecar, number))[number - 1 :] for sidecar in sidecars]
    wrong = [f"{len(lines)} lines at {name}" for name, lines in (("outbound", client_side), ("inbound", server_side)) if len(lines) != 1]
    client_line, server_line = client_side[0], server_side[0]
    wrong += [f"outbound: {text}" for text in differences(client_line, expected | {"protocol": "HTTP/1.1"})]
    joined = {key: client_line[key] for key in ("request_id", "bytes_received", "bytes_sent")}
    wrong += [f"inbound: {text}" for text in differences(server_line, expected | joined | {"protocol": server_protocol})]
    if not str(server_line.get("upstream_local_address")).startswith("127.0.0.6:"):
        wrong.append(f"inbound: upstream_local_address is {server_line.get('upstream_local_address')!r}")
    return wrong + [f"    {line}" for line in (client_line, server_line) if wrong]


async def play(binary, name, documents, server_protocol):
    """Starts the pair, plays each session, stops the pair; returns (passed, failed)."""
    passed = failed = 0

    def report(what, wrong):
        nonlocal passed, failed
        print(f"{'FAILED' if wrong else 'ok    '}  {name}: {what}")
        print("".join(f"    {text}\n" for text in wrong), end="")
        passed, failed = passed + (not wrong), failed + bool(wrong)

    with tempfile.TemporaryDirectory() as folder:
        async with serve(application, "127.0.0.1", 0, process_request=refuse, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            inbound = Sidecar(binary, "inbound", "websockets-server", documents, f"127.0.0.1:{port}", folder)
            try:
                outbound = Sidecar(binary, "outbound", "websockets-client-sleep", documents, inbound.address, folder)
                try:
                    for number, session in enumerate(SESSIONS, 1):
                        try:
                            wrong = await check(session, number, (outbound, inbound), server_protocol)
                        except Exception:
                            wrong = traceback.format_exc().splitlines()
                        report(session.__name__.replace("_", " "), wrong)
                finally:
                    statuses = [outbound.stop()]
            finally:
                statuses = [*statuses, inbound.stop()]
            report("both sidecars end with 0 on SIGTERM", [] if statuses == [0, 0] else [f"exit statuses {statuses}"])
    return passed, failed


def policies():
    """(name, the documents, what the hop between the sidecars then speaks)"""
    files = glob.glob(os.path.join(MANIFESTS, "*.yaml"))
    # As its comment says, http1/ takes the place of the policy beside it.
    do_not_upgrade = [path for path in files if os.path.basename(path) != "destination-rule.yaml"]
    do_not_upgrade.append(os.path.join(MANIFESTS, "http1"))
    return (("UPGRADE", [MANIFESTS], "HTTP/2"), ("DO_NOT_UPGRADE", do_not_upgrade, "HTTP/1.1"))


def main():
    [binary] = sys.argv[1:]
    results = [asyncio.run(play(binary, *policy)) for policy in policies()]
    passed, failed = (sum(column) for column in zip(*results))
    print(f"{passed} passed, {failed} failed")
    return bool(failed)


sys.exit(main())
