#!/usr/bin/env python3
"""Mixed traffic through both kinds of pair for long, with kills: soak.py BINARY [--seconds S] [--sessions N]

Two pairs of sidecars, HTTP/2 and HTTP/1.1 between them, each with a server of its own, carry N sessions at a time: texts,
binary, large and compressed messages, pings, readers that stop reading, connections that are cut off. For the first half
of the time one program after another is ended, by SIGTERM or SIGKILL, and started again; the second half is undisturbed.

Then the logs are held against what the sessions saw: one line a session at either sidecar, none twice, none torn, payloads
as sent, no session cut or refused but by an end of ours; and of the second half, memory and descriptors. Only of a
sidecar that SIGKILL ended may the lines be missing of sessions that were open or had just ended. The last lines are a
table for docs/reliability.md and `N passed, N failed`; the exit status is 0 only if nothing failed. (Needs websockets.)
"""

import argparse
import asyncio
import collections
import glob
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

MANIFESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "manifests")
SERVICE = "ws://websockets-server.default.svc.cluster.local:8080"
PATIENCE = 120  # seconds that one step of a session may take, on a busy machine too
UNWRITTEN = 5  # seconds for which a line may wait to be written when SIGKILL comes
AFTERMATH = 5  # seconds after a restart in which sessions may still meet what it left
FLAT_MEMORY = 20 << 20  # bytes by which a program may grow between the beginning and the end of the second half
FEWEST_SAMPLES = 9  # of which each third has some
FLAT_DESCRIPTORS = 64  # of as many as there are sessions, which come and go
LARGE = 2 << 20
SESSIONS = "sessions end as they should, with the payloads that were sent"
LINES = "one whole line a session at either sidecar"
PIECES, PIECE = 24, 64 << 10


# ---------------------------------------------------------------- the programs
class Program:
    """One process that can be ended and started again at the same address."""

    def __init__(self, name, binary, arguments, folder):
        self.name, self.binary, self.arguments = name, binary, arguments
        self.said = open(os.path.join(folder, f"{name}.stderr"), "a+", encoding="utf-8")
        self.address = "127.0.0.1:0"
        self.down = []  # from when to when it was not there, and the signal
        self.samples = []  # bytes and descriptors

    async def start(self):
        before = self.said.seek(0, os.SEEK_END)
        command = [self.binary, *self.arguments, "--listen", self.address]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.said)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.said.seek(before)
            for line in self.said:
                if line.startswith("listening on ") and line.endswith("\n"):
                    self.address = line.split()[-1]
                    return
            if self.process.poll() is not None:
                break
            await asyncio.sleep(0.02)
        raise RuntimeError(f"{' '.join(command)} did not start; see {self.said.name}")

    async def end(self, number):
        self.process.send_signal(number)
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} does not end")
            await asyncio.sleep(0.02)
        return self.process.returncode

    async def restart(self, number):
        began = time.monotonic()
        status = await self.end(number)
        await self.start()
        self.down.append((began, time.monotonic(), number))
        return status

    def sample(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            kibibytes = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
        self.samples.append((kibibytes << 10, len(os.listdir(f"/proc/{self.process.pid}/fd"))))


class Pair:
    def __init__(self, name, binary, documents, folder):
        self.name, self.binary, self.documents, self.folder = name, binary, documents, folder
        self.sessions = []

    def sidecar(self, direction, workload, endpoint):
        arguments = ["sidecar", direction, "--endpoint", endpoint, "--workload", workload, "--access-log", self.log(direction)]
        arguments += [word for path in self.documents for word in ("-f", path)]
        return Program(f"{self.name}-{direction}", self.binary, arguments, self.folder)

    async def start(self):
        self.server = Program(f"{self.name}-server", self.binary, ["server"], self.folder)
        await self.server.start()
        self.inbound = self.sidecar("inbound", "websockets-server", self.server.address)
        await self.inbound.start()
        self.outbound = self.sidecar("outbound", "websockets-client-sleep", self.inbound.address)
        await self.outbound.start()
        self.programs = [self.server, self.inbound, self.outbound]

    def log(self, direction):
        return os.path.join(self.folder, f"{self.name}-{direction}.jsonl")

    def disturbed(self, session):
        """Whether one of its programs was away while the session was there."""
        return any(
            session.began <= up + AFTERMATH and down <= session.ended for program in self.programs for down, up, _ in program.down
        )


# ---------------------------------------------------------------- the sessions
class Wrong(Exception):
    """What came is not what was sent."""


class Session:
    def __init__(self):
        self.id = str(uuid.uuid4())
        self.began = time.monotonic()
        self.opened = self.clean = self.aborted = self.altered = False
        self.step = "handshake"
        self.status = None  # of a handshake that was refused
        self.wrong = None
        self.counts = collections.Counter()


async def echoed(peer, session, message, kind):
    await peer.send(message)
    if await asyncio.wait_for(peer.recv(), PATIENCE) != message:
        raise Wrong(f"{kind}: another message came back")
    session.counts[kind] += 1
    session.counts["bytes"] += 2 * len(message)


async def texts(peer, session):
    for _ in range(random.randrange(5, 40)):
        await echoed(peer, session, f"{session.id} {random.random()}", "texts")
        await asyncio.sleep(random.random() * 0.2)


async def binaries(peer, session):
    for _ in range(random.randrange(5, 20)):
        await echoed(peer, session, random.randbytes(random.randrange(1, 20_000)), "binary messages")
        await asyncio.sleep(random.random() * 0.2)


async def large(peer, session):
    for _ in range(random.randrange(1, 3)):
        await echoed(peer, session, random.randbytes(LARGE), "large messages")
        await asyncio.sleep(random.random() * 2)


async def pings(peer, session):
    for _ in range(random.randrange(2, 10)):
        await asyncio.wait_for(await peer.ping(), PATIENCE)
        session.counts["pings"] += 1
        await asyncio.sleep(random.random() * 0.5)


async def slow_reader(peer, session):
    """Sends much and reads nothing for a while."""
    pieces = [random.randbytes(PIECE) for _ in range(PIECES)]

    async def send():
        for piece in pieces:
            await peer.send(piece)

    sending = asyncio.create_task(send())
    try:
        await asyncio.sleep(1 + random.random() * 2)
        for piece in pieces:
            if await asyncio.wait_for(peer.recv(), PATIENCE) != piece:
                raise Wrong("slow reader: another message came back")
        await sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    session.counts["stops of a reader"] += 1
    session.counts["bytes"] += 2 * PIECES * PIECE


async def abort(peer, session):
    await texts(peer, session)
    session.aborted = True
    await peer.send("not read any more")
    peer.transport.abort()


STEPS = (texts, texts, binaries, large, pings, slow_reader, abort)


async def play(pair, over):
    """One session after another."""
    host, port = pair.outbound.address.rsplit(":", 1)
    while not over.is_set():
        session = Session()
        options = {
            "compression": random.choice(["deflate", None]),
            "additional_headers": {"x-request-id": session.id},
            "ping_interval": None,
            "open_timeout": PATIENCE,
            "max_size": None,
            "max_queue": 2,
            "proxy": None,
        }
        try:
            async with connect(SERVICE, host=host, port=int(port), **options) as peer:
                session.opened = True
                session.counts["compressed sessions"] += bool(peer.protocol.extensions)
                for step in random.sample(STEPS, random.randrange(1, 4)):
                    session.step = step.__name__
                    await step(peer, session)
                    if session.aborted:
                        break
                else:
                    session.step = "close"
                    await peer.close()
                    session.clean = peer.protocol.close_code == 1000
        except ConnectionRefusedError:
            # Nobody was there: not a session.
            await asyncio.sleep(0.2)
            continue
        except InvalidStatus as refused:
            session.status = refused.response.status_code
        except Wrong as wrong:
            session.altered = True
            session.wrong = str(wrong)
        except TimeoutError:
            session.wrong = f"stood still in {session.step}"
        except (ConnectionClosed, InvalidHandshake, OSError, EOFError, AttributeError) as cut:
            # AttributeError: websockets, on its way out of the block, ends a connection that asyncio has just lost.
            if isinstance(cut, AttributeError) and not isinstance(cut.__context__, ConnectionClosed):
                raise
            if not session.aborted:
                session.wrong = f"cut in {session.step}: {cut!r}"
        session.ended = time.monotonic()
        pair.sessions.append(session)
        if not session.opened:
            await asyncio.sleep(0.2)


# ---------------------------------------------------------------- the disturbances, and what the programs take
async def disturb(pairs, seconds):
    """Ends one program after another, each at least once either way; returns what SIGTERM ended otherwise than with 0."""
    wrong, until = [], time.monotonic() + seconds
    ends = [
        (which, number)
        for number in (signal.SIGKILL, signal.SIGTERM)
        for which in ("server", "inbound", "outbound")
    ]
    every = [(which, number, pair) for which, number in ends for pair in pairs]
    for done, (which, number, pair) in enumerate(itertools.cycle(every)):
        if done >= len(every) and time.monotonic() > until:
            return wrong
        await asyncio.sleep(seconds / 30)
        program = getattr(pair, which)
        status = await program.restart(number)
        if number == signal.SIGTERM and status != 0:
            wrong.append(f"{program.name} ended with {status}")


async def watch(programs, seconds):
    """Samples what they take while nobody disturbs them."""
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(programs[0].samples) < FEWEST_SAMPLES:
        for program in programs:
            program.sample()
        await asyncio.sleep(min(1, seconds / 30))


def growth(program):
    """By how much memory and descriptors grew from the first third of the samples to the last, as medians; and the last medians."""
    third = len(program.samples) // 3
    parts = program.samples[:third], program.samples[-third:]
    early, late = ([statistics.median(column) for column in zip(*part)] for part in parts)
    return late[0] - early[0], late[1] - early[1], late


# ---------------------------------------------------------------- the logs
def read(path):
    """The lines by request id, and those that are torn."""
    lines, torn = collections.defaultdict(list), []
    with open(path, "rb") as log:
        for text in log:
            try:
                if not text.endswith(b"\n"):
                    raise ValueError("no end of line")
                line = json.loads(text)
                lines[line["request_id"]].append(line)
            except (ValueError, KeyError) as error:
                torn.append(f"{path}: {error}: {text[:200]!r}")
    return lines, torn


def may_lack(program, session):
    """Whether SIGKILL ended the program while the session's line was not written yet."""
    return any(
        number == signal.SIGKILL and session.began <= up and down <= session.ended + UNWRITTEN
        for down, up, number in program.down
    )


def judge_lines(pair):
    """What is wrong with the lines of the sessions; how many lines SIGKILL took."""
    wrong, taken = [], 0
    logs = {}
    for program, direction in ((pair.outbound, "outbound"), (pair.inbound, "inbound")):
        logs[direction], torn = read(pair.log(direction))
        wrong += torn
        for session in pair.sessions:
            lines = logs[direction].get(session.id, [])
            if direction == "inbound":
                # A stream that failed before the server answered may have been tried again.
                lines = [line for line in lines if session.opened and line["response_code"] == 101]
            answered = session.opened or direction == "outbound" and session.status is not None
            if len(lines) == 1 and answered or not lines and not answered:
                continue
            if not lines and may_lack(program, session):
                taken += 1
            elif len(lines) > 1 or answered or not pair.disturbed(session):
                wrong.append(f"{pair.name} {direction}: {len(lines)} lines of session {session.id}, {vars(session)}")
        known = {session.id for session in pair.sessions}
        strange = [request for request in logs[direction] if request not in known and request is not None]
        wrong += [f"{pair.name} {direction}: a line of no session, {request}" for request in strange]
    for session in pair.sessions:
        client, server = (logs[direction].get(session.id, []) for direction in ("outbound", "inbound"))
        if session.clean and len(client) == 1 and len(server) == 1:
            both = [[line[key] for key in ("bytes_received", "bytes_sent")] for line in (client[0], server[0])]
            if both[0] != both[1]:
                wrong.append(f"{pair.name}: bytes of {session.id} are {both}")
    return wrong, taken


def judge_sessions(pair):
    """Sessions that were cut, stood still, were refused or got something else, without an end of ours being why."""
    wrong = []
    for session in pair.sessions:
        failed = session.wrong or session.status and f"refused with {session.status}"
        if failed and (session.altered or not pair.disturbed(session)):
            wrong.append(f"{pair.name} {session.id}: {failed}")
    return wrong


def policies(manifests):
    """The documents of either hop."""
    files = glob.glob(os.path.join(manifests, "*.yaml"))
    # As its comment says, http1/ takes the place of the policy beside it.
    http1 = [path for path in files if os.path.basename(path) != "destination-rule.yaml"]
    return {"http2": [manifests], "http1": [*http1, os.path.join(manifests, "http1")]}


async def soak(options, folder):
    half, over = options.seconds / 2, asyncio.Event()
    pairs = [Pair(name, options.binary, documents, folder) for name, documents in policies(MANIFESTS).items()]
    for pair in pairs:
        await pair.start()
    programs = [program for pair in pairs for program in pair.programs]
    try:
        sessions = zip(range(options.sessions), itertools.cycle(pairs))
        playing = asyncio.gather(*(play(pair, over) for _, pair in sessions))
        ended_wrong = await disturb(pairs, half)
        await watch(programs, half)
        over.set()
        await playing
        grown = {program.name: growth(program) for program in programs}
        statuses = [(program.name, await program.end(signal.SIGTERM)) for pair in pairs for program in reversed(pair.programs)]
    finally:
        for program in programs:
            if program.process.poll() is None:
                program.process.kill()
                program.process.wait()
            program.said.close()
    ended_wrong += [f"{name} ended with {status}" for name, status in statuses if status != 0]

    checks = {SESSIONS: [], LINES: []}
    taken = 0
    for pair in pairs:
        checks[SESSIONS] += judge_sessions(pair)
        wrong, lost = judge_lines(pair)
        checks[LINES] += wrong
        taken += lost
    checks["programs end with 0 on SIGTERM"] = ended_wrong
    checks["memory is flat"] = [f"{name} grew by {more / 2**20:.1f} MiB" for name, (more, _, _) in grown.items() if more > FLAT_MEMORY]
    checks["descriptors are flat"] = [
        f"{name} has {more:.0f} more" for name, (_, more, _) in grown.items() if more > FLAT_DESCRIPTORS
    ]
    report(options, pairs, programs, taken, grown, checks)
    failed = sum(bool(wrong) for wrong in checks.values())
    print(f"{len(checks) - failed} passed, {failed} failed")
    return failed


def report(options, pairs, programs, taken, grown, checks):
    sessions = [session for pair in pairs for session in pair.sessions]
    counts = sum((session.counts for session in sessions), collections.Counter())
    for what, wrong in checks.items():
        print(f"{'FAILED' if wrong else 'ok    '}  {what}")
        for text in wrong[:20]:
            print(f"    {text}")
        if len(wrong) > 20:
            print(f"    and {len(wrong) - 20} more")
    ends = collections.Counter((number, name.split("-")[1]) for name, (_, _, number) in ((p.name, d) for p in programs for d in p.down))
    cut = sum(bool(session.wrong) or session.status is not None for session in sessions)
    rows = [
        ("time", f"{options.seconds} s", ""),
        ("sessions at a time, over HTTP/2 and over HTTP/1.1", f"{options.sessions}", ""),
        ("sessions in all", f"{len(sessions)}", f"{len(checks[LINES])} lines wrong"),
        ("of them compressed", f"{counts['compressed sessions']}", ""),
        *((kind, f"{counts[kind]}", "") for kind in ("texts", "binary messages", "large messages", "pings", "stops of a reader")),
        ("payload, both ways", f"{counts['bytes'] / 2**20:.0f} MiB", f"{sum(session.altered for session in sessions)} messages"),
        ("connections that the client cut off", f"{sum(session.aborted for session in sessions)}", ""),
        *(
            (f"{which} ended by {signal.Signals(number).name}", f"{count}", "")
            for (number, which), count in sorted(ends.items())
        ),
        ("sessions that these ends cut or refused", f"{cut}", ""),
        ("lines of sessions that SIGKILL of their sidecar took", f"{taken}", "by SIGKILL alone"),
    ]
    print("\n| what | how much | lost |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print("\n| program | memory | grew by | descriptors | more |\n| --- | --- | --- | --- | --- |")
    for name, (memory, descriptors, (last_memory, last_descriptors)) in grown.items():
        print(f"| {name} | {last_memory / 2**20:.1f} MiB | {memory / 2**20:.1f} MiB | {last_descriptors:.0f} | {descriptors:.0f} |")
    print()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--sessions", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return bool(asyncio.run(soak(options, folder)))


sys.exit(main())
