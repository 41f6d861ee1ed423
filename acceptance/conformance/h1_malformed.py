#!/usr/bin/env python3
"""h1_malformed.py HOST PORT: malformed and hostile HTTP/1.1 opening handshakes, a connection for each case.

What each case expects of the peer:
  accept   a 101 with the right Sec-WebSocket-Accept
  echo     a 101, and then the text message comes back
  refuse   anything but a 101: an error status, or the connection is closed
  wsclose  a 101, and then the peer fails the WebSocket connection: a Close frame, or the connection is closed
  any      both answers are allowed, but there must be one
Verdicts: OK; BAD, the other answer came; HANG, neither an answer nor a close in time; N/A, the case needs a 101 and got
none. Only OK passes. At the end a well-formed session must still work.
"""

import argparse
import base64
import collections
import hashlib
import re
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
ACCEPT = base64.b64encode(hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
TIMEOUT = 4  # seconds that an answer may take; of a connection that stays open, so long is waited for
HANDSHAKE = 15  # seconds after which a silent or slow peer must be gone: well above the server's own 5
JOBS = 8  # connections at a time
Case = collections.namedtuple("Case", "name expect actions limit")
CASES = []


def raw(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


class Requests:
    """Builds opening handshakes for one target."""

    path = "/"

    def __init__(self, host):
        self.host = host

    def upgrade(self, line=None, drop=(), put=None, add=(), head=(), eol=b"\r\n", end=None):
        """line: the request line; drop: names left out; put: values replaced; add, head: raw lines after, before the others"""
        fields = [
            ("Host", self.host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
        ]
        lines = [raw(line or f"GET {self.path} HTTP/1.1")] + [raw(field) for field in head]
        lines += [raw(name) + b": " + raw((put or {}).get(name, value)) for name, value in fields if name not in drop]
        lines += [raw(field) for field in add]
        return b"".join(item + eol for item in lines) + (eol if end is None else end)

    def get(self, extra=b""):
        return raw(f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\n") + extra + b"\r\n"


def frame(opcode, payload, rsv=0):
    mask = b"\x11\x22\x33\x44"
    return (
        bytes([0x80 | rsv << 4 | opcode, 0x80 | len(payload)])
        + mask
        + bytes(c ^ mask[i & 3] for i, c in enumerate(payload))
    )


# What a case does, besides sending bytes
def sleep(seconds):
    return ("sleep", seconds)


AFTER_101 = ("after-101",)
FIN = ("fin",)
RST = ("rst",)


def case(name, expect, *actions, limit=None):
    CASES.append(Case(name, expect, actions, limit))


def build(requests):
    req, get, path, host = requests.upgrade, requests.get, requests.path, requests.host
    hello = frame(1, b"hello")

    # well-formed
    case("ok-baseline", "accept", req())
    case("ok-echo", "echo", req(), AFTER_101, hello)
    case("ok-3-frames-in-same-packet", "echo", req() + frame(9, b"p") + hello + frame(8, b"\x03\xe8"))
    case("ok-byte-at-a-time", "accept", *[x for c in req() for x in (bytes([c]), sleep(0.003))])

    # key and version
    case("key-missing", "refuse", req(drop=["Sec-WebSocket-Key"]))
    case("key-empty", "refuse", req(put={"Sec-WebSocket-Key": ""}))
    case("key-long-64-bytes", "refuse", req(put={"Sec-WebSocket-Key": base64.b64encode(b"x" * 64)}))
    case("key-not-base64", "refuse", req(put={"Sec-WebSocket-Key": "!!!!not base64!!!!!!!!!="}))
    case("key-no-padding", "refuse", req(put={"Sec-WebSocket-Key": KEY.rstrip("=")}))
    case("key-duplicate-same", "refuse", req(add=[f"Sec-WebSocket-Key: {KEY}"]))
    case("version-missing", "refuse", req(drop=["Sec-WebSocket-Version"]))
    case("version-8", "refuse", req(put={"Sec-WebSocket-Version": "8"}))
    case("version-013", "refuse", req(put={"Sec-WebSocket-Version": "013"}))
    case("version-list-13-8", "refuse", req(put={"Sec-WebSocket-Version": "13, 8"}))
    case("version-plus13", "refuse", req(put={"Sec-WebSocket-Version": "+13"}))

    # upgrade and connection
    case("upgrade-missing", "refuse", req(drop=["Upgrade"]))
    case("upgrade-list", "any", req(put={"Upgrade": "h2c, websocket"}))
    case(
        "upgrade-h2c",
        "refuse",
        req(
            put={"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"},
            add=["HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"],
        ),
    )
    case("upgrade-with-version", "any", req(put={"Upgrade": "websocket/13"}))
    case("upgrade-duplicate", "any", req(add=["Upgrade: websocket"]))
    case("connection-lower", "accept", req(put={"Connection": "upgrade"}))
    case("connection-list", "accept", req(put={"Connection": "keep-alive, Upgrade"}))
    case("connection-close-upgrade", "any", req(put={"Connection": "close, Upgrade"}))
    case("connection-keepalive-only", "refuse", req(put={"Connection": "keep-alive"}))
    case(
        "header-names-lower",
        "accept",
        req().replace(b"Sec-WebSocket", b"sec-websocket").replace(b"Upgrade: ", b"upgrade: ").replace(b"Host", b"host"),
    )
    case("header-names-upper", "accept", req().replace(b"Sec-WebSocket-Key", b"SEC-WEBSOCKET-KEY"))

    # extensions and subprotocol
    case("ext-garbage", "any", req(add=['Sec-WebSocket-Extensions: ;;;,,,=="']))
    case(
        "ext-deflate-bad-bits",
        "any",
        req(add=["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99"]),
    )
    case("protocol-empty-token", "any", req(add=["Sec-WebSocket-Protocol: ,,a b,"]))

    # host
    case("host-missing", "refuse", req(drop=["Host"]))
    case("host-empty", "any", req(put={"Host": ""}))
    case("host-bad-chars", "refuse", req(put={"Host": "a b<>\\"}))

    # request line
    case("method-post", "refuse", req(f"POST {path} HTTP/1.1", add=["Content-Length: 0"]))
    case("method-lowercase-get", "refuse", req(f"get {path} HTTP/1.1"))
    case("method-options-star", "refuse", req("OPTIONS * HTTP/1.1"))
    case("method-unknown-4k", "refuse", req("X" * 4096 + f" {path} HTTP/1.1"))
    case("http-0.9", "refuse", raw(f"GET {path}\r\n"), limit=HANDSHAKE)
    case("http-2.0-line", "refuse", req(f"GET {path} HTTP/2.0"))
    case("http-version-lower", "refuse", req(f"GET {path} http/1.1"))
    case("h2-preface", "refuse", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    case("absolute-form", "accept", req(f"GET http://{host}{path} HTTP/1.1"))
    case("absolute-form-other-host", "any", req(f"GET http://other.example{path} HTTP/1.1"))
    case("uri-bad-percent", "any", req(f"GET {path}%zz%2 HTTP/1.1"))
    case("uri-percent-00", "any", req(f"GET {path}%00 HTTP/1.1"))
    case("uri-raw-utf8", "any", req(b"GET " + raw(path) + "\u00e9\u4e2d".encode() + b" HTTP/1.1"))
    case("uri-space", "refuse", req(f"GET {path} a HTTP/1.1"))
    case("uri-no-slash", "refuse", req("GET ws HTTP/1.1"))
    case("uri-dotdot", "any", req(f"GET {path}../../etc/passwd HTTP/1.1"))
    case("uri-1m", "refuse", req(f"GET {path}" + "a" * (1 << 20) + " HTTP/1.1"))
    case("leading-crlf", "any", b"\r\n\r\n" + req())
    case("two-spaces-in-line", "any", req(f"GET  {path}  HTTP/1.1"))

    # field syntax
    case("bare-lf-all", "any", req(eol=b"\n"))
    case("bare-cr-in-value", "refuse", req(add=[b"X-A: 1\rX-B: 2"]))
    case("nul-in-value", "refuse", req(add=[b"X-A: a\0b"]))
    case("ctl-in-value", "refuse", req(add=[b"X-A: a\x01b"]))
    case("obs-text-in-value", "any", req(add=[b"X-A: \xff\xfe"]))
    case("obs-fold-in-upgrade", "refuse", req(drop=["Upgrade"], add=[b"Upgrade:\r\n websocket"]))
    case("first-header-folded", "refuse", req(head=[b" X-A: 1"]))
    case("empty-header-name", "refuse", req(add=[": x"]))
    case("no-colon", "refuse", req(add=["garbage"]))
    case("name-non-token", "refuse", req(add=["X(A): 1"]))
    case("header-70k-value", "refuse", req(add=["X-A: " + "a" * 70000]))
    case("headers-100", "any", req(add=[f"X-{i}: {i}" for i in range(100)]))
    case("headers-10000", "refuse", req(add=[f"X-{i}: {i}" for i in range(10000)]))

    # bodies
    case("cl-0", "any", req(add=["Content-Length: 0"]))
    case("cl-5-with-body", "refuse", req(add=["Content-Length: 5"]) + b"hello")
    case("cl-negative", "refuse", req(add=["Content-Length: -1"]))
    case("cl-plus", "refuse", req(add=["Content-Length: +5"]) + b"hello")
    case("cl-list-same", "any", req(add=["Content-Length: 5, 5"]) + b"hello")
    case("cl-overflow", "refuse", req(add=["Content-Length: 99999999999999999999999"]))
    case("cl-te", "refuse", req(add=["Content-Length: 6", "Transfer-Encoding: chunked"]) + b"0\r\n\r\nG")
    case(
        "te-cl-get",
        "refuse",
        get(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n")
        + b"1e\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n\r\n0\r\n\r\n",
    )
    case("te-chunked-identity", "refuse", req(add=["Transfer-Encoding: chunked, identity"]) + b"0\r\n\r\n")
    case("te-twice", "refuse", req(add=["Transfer-Encoding: chunked", "Transfer-Encoding: identity"]) + b"0\r\n\r\n")
    case("te-http-1.0", "refuse", req(f"GET {path} HTTP/1.0", add=["Transfer-Encoding: chunked"]) + b"0\r\n\r\n")
    case("chunk-size-overflow", "refuse", req(add=["Transfer-Encoding: chunked"]) + b"fffffffffffffffff\r\n")

    # pipelining
    case("pipelined-get-then-upgrade", "any", get() + req())
    case("upgrade-then-pipelined-get", "any", req() + get())

    # slow and aborted
    case("connect-then-silence", "refuse", limit=HANDSHAKE)
    case("connect-then-fin", "refuse", FIN)
    case("half-request-then-silence", "refuse", req()[:60], limit=HANDSHAKE)
    case(
        "slowloris-1-byte-0.4s",
        "refuse",
        req(end=b"") + b"X-Slow: ",
        *[b"a", sleep(0.4)] * int(HANDSHAKE / 0.4 + 5),
        limit=HANDSHAKE + 4,
    )
    case("request-then-rst", "any", req(), RST)
    case("binary-garbage-64k", "refuse", hashlib.shake_128(b"s").digest(65536))

    # frames after the handshake
    case("ws-rsv1-without-ext", "wsclose", req(), AFTER_101, frame(1, b"hello", rsv=4))
    case(
        "ws-huge-length-claim",
        "wsclose",
        req(),
        AFTER_101,
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
    )
    case("ws-http-after-101", "wsclose", req(), AFTER_101, get())


class Session:
    """One connection: what came back, and how it ended (None while it is open)."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received, self.end, self.note = b"", None, ""

    def read(self, seconds, enough=lambda: False):
        deadline = time.monotonic() + seconds
        while self.end is None and not enough() and time.monotonic() < deadline:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                return
            except OSError:
                self.end = "reset"
                return
            if not data:
                self.end = "eof"
            self.received += data
            if len(self.received) > 4 << 20:
                self.end = "flood"

    def act(self, actions):
        try:
            for action in actions:
                if isinstance(action, bytes):
                    self.socket.settimeout(5)
                    self.socket.sendall(action)
                elif action[0] == "sleep" and action[1] < 0.01:
                    time.sleep(action[1])
                elif action[0] == "sleep":
                    self.read(action[1])
                elif action == AFTER_101:
                    self.read(TIMEOUT, lambda: b"\r\n\r\n" in self.received)
                    if not self.received.startswith(b"HTTP/1.1 101"):
                        return
                elif action == FIN:
                    self.socket.shutdown(socket.SHUT_WR)
                elif action == RST:
                    self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.socket.close()
                    self.end = "we-reset"
                if self.end:
                    return
        except OSError as error:
            self.note = f"{type(error).__name__} on send"


def judge(case, session):
    """(verdict, the status codes that came, remark)"""
    received, end = session.received, session.end
    statuses = [status.decode() for status in re.findall(rb"(?:^|\r\n|\n|\})HTTP/1\.[01] (\d\d\d)", received)]
    upgraded = "101" in statuses
    body = received.split(b"\r\n\r\n", 1)[-1] if b"\r\n\r\n" in received else b""
    answered = bool(received) or end is not None
    if case.expect in ("accept", "echo"):
        accept = re.search(rb"(?i)sec-websocket-accept: *(\S+)", received)
        if upgraded and (not accept or accept[1] != ACCEPT):
            return "BAD", statuses, "wrong Sec-WebSocket-Accept"
        return "OK" if upgraded and (case.expect == "accept" or b"hello" in body) else "BAD", statuses, ""
    if case.expect == "refuse":
        return ("BAD", statuses, "accepted") if upgraded else ("OK" if answered else "HANG", statuses, "")
    if case.expect == "wsclose":
        code = struct.unpack(">H", body[2:4])[0] if body[:1] == b"\x88" and len(body) >= 4 else None
        closed = body[:1] == b"\x88" or end is not None
        return ("N/A" if not upgraded else "OK" if closed else "HANG"), statuses, f"close code {code}" if code else ""
    return "OK" if answered else "HANG", statuses, ""


def run(options, case):
    begin = time.monotonic()
    try:
        session = Session(options.host, options.port)
    except OSError as error:
        return dict(
            name=case.name,
            expect=case.expect,
            outcome="no connection",
            note=str(error),
            ms=0,
            verdict="BAD",
        )
    session.act(case.actions)
    if session.end is None:

        def enough():
            if case.expect == "echo":
                return b"hello" in session.received.split(b"\r\n\r\n", 1)[-1]
            return case.expect == "accept" and b"\r\n\r\n" in session.received

        session.read(max(0.2, case.limit - (time.monotonic() - begin)) if case.limit else TIMEOUT, enough)
    session.socket.close()
    verdict, statuses, remark = judge(case, session)
    outcome = "+".join(statuses[:3]) or ("not HTTP" if session.received else "-")
    return dict(
        name=case.name,
        expect=case.expect,
        outcome=f"{outcome}/{session.end or 'open'}",
        ms=round((time.monotonic() - begin) * 1000),
        note=" ".join(filter(None, [session.note, remark])),
        verdict=verdict,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--only", default=".", metavar="REGEX", help="only the cases whose name matches")
    options = parser.parse_args()
    build(Requests(f"{options.host}:{options.port}"))
    chosen = [c for c in CASES if re.search(options.only, c.name)]
    begin = time.monotonic()
    with ThreadPoolExecutor(JOBS) as pool:
        results = list(pool.map(lambda c: run(options, c), chosen))
    last = run(options, next(c for c in CASES if c.name == "ok-echo"))
    results.append(dict(last, name="still-serves-afterwards"))
    for r in results:
        print(
            f"{r['verdict']:4} {r['name']:32} expected {r['expect']:8} got {r['outcome']:16} {r['ms']:6} ms  {r['note']}".rstrip()
        )
    passed = sum(r["verdict"] == "OK" for r in results)
    print(f"{len(results)} cases in {time.monotonic() - begin:.1f} s")
    print(f"{passed} passed, {len(results) - passed} failed")
    return 0 if passed == len(results) and chosen else 1


if __name__ == "__main__":
    sys.exit(main())
