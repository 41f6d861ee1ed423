#!/usr/bin/env python3
"""Chromium and Firefox open wss:// through a gateway: gateway.py BINARY ENVOY [--envoy-only] [--only REGEX] [--jobs N]

    browser --TLS, HTTP/2 or HTTP/1.1--> [gateway] --HTTP/1.1 or HTTP/2--> [`sidecar inbound`] --HTTP/1.1--> application

Each case is played with a real Envoy as gateway and with `sidecar gateway`: the browser gets a page, which is over HTTP/2, and
opens a WebSocket from it, on a stream of that connection if the gateway allows extended CONNECT, else on a connection of HTTP/1.1.
What the browser sees and what both proxies log has to be as expected, and alike, times, ports and ids aside. Of a gateway that
makes up the key that browsers send in HTTP/1.1 alone there is no Envoy to compare with.

One row a case, what differs below it, then `N passed, N failed`; the exit status is 0 only if nothing failed. The column
`application` says what it asks of a handshake. (Needs websockets; chromium, chromedriver, firefox-esr and geckodriver on PATH.)
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import http
import itertools
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(HERE, "..", "gateway"))
from envoy_gateway import HTTPS_SERVER, WEB_HOST, Options  # noqa: E402  (first: it finds the modules of ../envoy)
import compare  # noqa: E402
from gateway_compare import compare_logs  # noqa: E402
from pair import claim_network  # noqa: E402
from sidecar_gateway import EnvoyBeforeSidecar, SidecarGateway  # noqa: E402
from stage import HTTP2_HOP, split_address  # noqa: E402
from webdriver import FAILS, KINDS, PATIENCE, WORKS, Browser  # noqa: E402
from websockets.sync.server import serve  # noqa: E402

MAX_RUNS = 3  # of a case in which nothing but durations differs: other work on the machine delays one of them
PAGE, ICON, CHAT = "/healthz", "/favicon.ico", "/chat"

# Both sides wait for the other to end the TCP connection of a closed session, for a second: Envoy and Firefox race. This gateway
# waits less.
PROMPT_CLOSE = {"delayed_close_timeout": "0.1s"}


# ---------------------------------------------------------------- cases
@dataclasses.dataclass(frozen=True)
class Case:
    """What is played; the words are those of the table."""

    browser: str
    allow_connect: str  # of the gateway
    hop: str
    application: str  # "key": refuses a handshake without Sec-WebSocket-Key; "no key": takes it
    mint: bool = False  # the gateway has --mint-websocket-key

    def __str__(self):
        application = f"{self.application}, minted" if self.mint else self.application
        return f"{self.browser:8}  {self.allow_connect:13}  {self.hop:8}  {application:11}"

    def options(self, network):
        http2 = {"http2_protocol_options": {"allow_connect": True}} if self.allow_connect == "on" else {}
        hop = HTTP2_HOP if self.hop == "HTTP/2" else {}
        return Options(servers=[HTTPS_SERVER], hcm_merge={**PROMPT_CLOSE, **http2}, **hop).moved_to(network)

    @property
    def expected(self):
        """The protocol of the WebSocket at the gateway, and what the browser sees."""
        if self.allow_connect == "off":
            return "HTTP/1.1", WORKS
        # A key is made up for a request that goes out as HTTP/1.1.
        minted = self.mint and self.hop == "HTTP/1.1"
        return "HTTP/2", WORKS if self.application == "no key" or minted else FAILS

    @property
    def races(self):
        """When the closing handshake is done, Firefox ends the connection or the stream of a session, as the application does: the
        gateway sees either first."""
        if self.browser != "firefox":
            return None
        ends = [UPSTREAM_ENDS[self.hop], FIREFOX_ENDS[self.expected[0]]]
        both = [[{"response_flags": flag, "response_code_details": details} for flag, details in order] for order in (ends, ends[::-1])]
        return {"outcomes": [{"client": {"recorded": old, "alternative": new}} for old, new in both]}


# What the gateway logs of who ends a session, by the version of HTTP there.
UPSTREAM_ENDS = {
    "HTTP/1.1": ("UC", "upstream_reset_after_response_started{connection_termination}"),
    "HTTP/2": ("UR", "upstream_reset_after_response_started{remote_error_with_CONNECT_request}"),
}
FIREFOX_ENDS = {"HTTP/1.1": ("DC", "downstream_remote_disconnect"), "HTTP/2": ("DR", "http2.remote_reset")}

HEAD = "browser   allow_connect  hop       application  WebSocket  result           lines"
EVERY = itertools.product(KINDS, ("off", "on"), ("HTTP/1.1", "HTTP/2"), ("key", "no key"))
CASES = [Case(*words) for words in EVERY]
MINTING = [Case(browser, "on", hop, "key", True) for browser in KINDS for hop in ("HTTP/1.1", "HTTP/2")]


# ---------------------------------------------------------------- applications
@contextlib.contextmanager
def application(case, options, binary):
    """`websockets-cli server`, which has RFC 6455's rules; or Python's, made to take a handshake without a key."""
    if case.application == "key":
        with subprocess.Popen(
            [binary, "server", "--listen", options.app], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                for line in process.stderr:
                    if line.startswith("listening on "):
                        break
                yield
            finally:
                process.kill()
        return
    host, port = split_address(options.app)
    with serve(echo, host, port, process_request=answer_or_add_key) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def echo(session):
    for message in session:
        session.send(message)


def answer_or_add_key(connection, request):
    if request.path != CHAT:
        return connection.respond(http.HTTPStatus.OK if request.path == PAGE else http.HTTPStatus.UPGRADE_REQUIRED, "")
    if "Sec-WebSocket-Key" not in request.headers:
        request.headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    return None


# ---------------------------------------------------------------- a run
@dataclasses.dataclass
class Run:
    """What the browser said of its WebSocket, and what both proxies logged."""

    result: str
    logs: dict

    @property
    def requests(self):
        """Protocol, path and status of each line of the gateway."""
        lines = compare.parse_log(self.logs["gateway"])
        return [tuple(line.get(key) for key in ("protocol", "path", "response_code")) for line in lines]

    @property
    def protocol(self):
        """That of the WebSocket, at the gateway."""
        return ", ".join(protocol or "none" for protocol, path, _ in self.requests if path in (CHAT, None)) or "none"

    def unexpected(self, case):
        """What is not as it has to be whatever the gateway is."""
        protocol, result = case.expected
        wanted = [("HTTP/2", PAGE, 200), ("HTTP/2", ICON, 426), (protocol, CHAT, 101 if result == WORKS else 400)]
        if self.result != result:
            yield f"the browser said {self.result!r}, and {result!r} was expected"
        if self.requests != wanted:
            yield f"the gateway logged {self.requests}, and {wanted} was expected"


def run(case, pair, binary):
    """One browser on one gateway."""
    host, port = split_address(pair.options.https_listen)
    with application(case, pair.options, binary), pair:
        with Browser(case.browser, host) as browser:
            browser.open(f"https://{WEB_HOST}:{port}{PAGE}")
            # Of a page both ask for its icon, too, at some time; while that is under way, the WebSocket would get another connection.
            wait_for_requests(pair, 2)
            result = browser.websocket(f"wss://{WEB_HOST}:{port}{CHAT}")
            wait_for_requests(pair, 3)
        # A proxy that ends has written all its lines.
        pair.stop()
        return Run(result, {side: pair.logs(side) for side in pair.sides})


def wait_for_requests(pair, count):
    """Waits until so many requests have come to either proxy, and all of them have ended."""
    deadline = time.monotonic() + PATIENCE
    for side in pair.sides:
        while True:
            came, active = (requests(pair, side, name) for name in ("total", "active"))
            if came >= count and not active:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{side}: {came} requests came, {active} are under way; {count} were to come and end")
            time.sleep(0.02)


def requests(pair, side, name):
    """A counter of a proxy's requests, its own admin port's aside."""
    found = re.findall(rf"^http\.(?!admin\.).*\.downstream_rq_{name}: (\d+)$", pair.admin(side, "/stats"), re.M)
    return sum(map(int, found))


# ---------------------------------------------------------------- verdicts
@dataclasses.dataclass
class Verdict:
    row: str
    problems: list


NETWORK = ""  # of this job


def start_job():
    global NETWORK
    NETWORK = claim_network()


@dataclasses.dataclass
class Player:
    """Plays cases."""

    binary: str
    envoy: str
    envoy_only: bool

    def play(self, case):
        try:
            return self.judge(case)
        except Exception as error:  # whatever it is, the other cases are of interest
            return Verdict(f"{case}  ERROR", [f"{type(error).__name__}: {error}", *traceback.format_exc().splitlines()[-6:]])

    def judge(self, case):
        for _ in range(MAX_RUNS):
            runs = self.run(case)
            problems = [f"{name}: {problem}" for name, found in runs.items() for problem in found.unexpected(case)]
            different = compare_logs(*(found.logs for found in runs.values()), case.races) if len(runs) == 2 else []
            if problems or not different or not compare.differ_in_duration_alone(different):
                break
        lines = "differ" if different else "alike" if len(runs) == 2 else "-"
        of_all = [", ".join(dict.fromkeys(getattr(found, name) for found in runs.values())) for name in ("protocol", "result")]
        return Verdict(f"{case}  {of_all[0]:9}  {of_all[1]:15}  {lines}", problems + different)

    def run(self, case):
        """The runs of a case, by the gateway's name."""
        options = case.options(NETWORK)
        pairs = {}
        if not case.mint:
            pairs["Envoy"] = EnvoyBeforeSidecar(options, self.envoy, self.binary)
        if not self.envoy_only:
            pairs["ours"] = SidecarGateway(options, self.binary, *(["--mint-websocket-key"] if case.mint else []))
        return {name: run(case, pair, self.binary) for name, pair in pairs.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", metavar="BINARY", help="websockets-cli")
    parser.add_argument("envoy", metavar="ENVOY")
    parser.add_argument("--envoy-only", action="store_true", help="only what browsers do with Envoy, without a comparison")
    parser.add_argument("--only", metavar="REGEX", default="", help="only cases of whose row the beginning matches")
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="cases at the same time (default 2)")
    arguments = parser.parse_args()
    cases = CASES + ([] if arguments.envoy_only else MINTING)
    cases = [case for case in cases if re.search(arguments.only, str(case))]
    player = Player(os.path.abspath(arguments.binary), os.path.abspath(arguments.envoy), arguments.envoy_only)
    failed = 0
    print(HEAD, flush=True)
    # Jobs are processes: while one starts a program, this has for a moment all sockets that the job listens on.
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs, context, start_job) as pool:
        for verdict in pool.map(player.play, cases):
            failed += bool(verdict.problems)
            print(verdict.row, *(f"    {problem}" for problem in verdict.problems), sep="\n", flush=True)
    print(f"{len(cases) - failed} passed, {failed} failed")
    return failed > 0 or not cases


if __name__ == "__main__":
    sys.exit(main())
