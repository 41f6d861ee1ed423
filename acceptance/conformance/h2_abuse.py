#!/usr/bin/env python3
"""h2_abuse.py HOST PORT PID: hostile HTTP/2 against a cleartext, prior-knowledge endpoint with extended CONNECT (RFC 8441).

PID is the endpoint's process. The frames are raw; the `hpack` package encodes header blocks. Each case has a connection of
its own, and after each a clean session is tried (extended CONNECT and a WebSocket echo where the peer's SETTINGS offer it,
else GET). Verdicts:
  OK       answered in one of the ways that the case allows, and the clean session works
  DIFF     the clean session works, but the answer was another
  DEAD     the clean session failed: other users are hurt; this is the grave one
  FAT      resident memory grew by more than MAX_GROWTH_MB
  NOT RUN  BUDGET was spent
Only OK passes. Where RFC 9113 section 10.5 leaves it open whether to close a flooding connection, both pass as long as
others are served and memory stays bounded.
"""

import argparse
import collections
import re
import socket
import struct
import sys
import threading
import time

from hpack import Decoder, Encoder
from process import memory_mb

LIMIT = 6  # seconds that is waited for an answer
BUDGET = 600  # seconds for all cases
MAX_GROWTH_MB = 100
PATH = "/"
TYPES = dict(DATA=0, HEADERS=1, PRIORITY=2, RST=3, SETTINGS=4, PUSH=5, PING=6, GOAWAY=7, WU=8, CONT=9)
NAMES = {number: name for name, number in TYPES.items()}
ERRORS = (
    "NO_ERROR PROTOCOL INTERNAL FLOW_CONTROL SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE REFUSED CANCEL COMPRESSION CONNECT CALM "
    "INADEQUATE HTTP_1_1"
).split()
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 0x20
KEY = "dGhlIHNhbXBsZSBub25jZQ=="

# Expectations are regular expressions on the one-line summary of what the peer did.
CONNECTION_ERROR = r"GOAWAY (?!NO_ERROR)|eof|reset|h1:"
STREAM_ERROR = CONNECTION_ERROR + r"|RST|:status [45]"  # or the whole connection, or an error status
STREAM_ERROR_NO_STATUS = CONNECTION_ERROR + r"|RST"
ANYTHING = "."
# RFC 9113 section 10.5 lets an endpoint close such connections, as Envoy does, or bear with them: then in bounded memory.
CLOSE_OR_BEAR = ANYTHING


def error_name(number):
    return ERRORS[number] if number < len(ERRORS) else hex(number)


def frame(kind, flags=0, stream=0, payload=b""):
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([TYPES.get(kind, kind), flags])
        + struct.pack(">I", stream)
        + payload
    )


def settings(*pairs):
    return frame("SETTINGS", 0, 0, b"".join(struct.pack(">HI", number, value) for number, value in pairs))


HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, CONNECT_PROTOCOL = 1, 2, 3, 4, 5, 8


def ws_frame(payload, opcode=1):
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


HELLO = ws_frame(b"hello")


class Connection:
    """An HTTP/2 client connection of our own: sends whatever it is given, and notes all that comes back."""

    def __init__(self, options, first_settings=None, preface=True):
        self.options, self.peer_settings = options, {}
        self.socket = socket.create_connection((options.host, options.port), 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.frames, self.end, self.blocked = b"", [], None, False
        self.encoder, self.decoder, self.acknowledge = Encoder(), Decoder(), preface
        self.headers, self.data, self.ended = {}, {}, set()
        self.echoed = self.session_meanwhile = self.units = self.remark = None
        if preface:
            self.send(PREFACE + (settings() if first_settings is None else first_settings))

    def send(self, data, patience=4.0):
        """False when the peer has closed, or did not read for so long."""
        self.socket.settimeout(patience)
        try:
            self.socket.sendall(data)
            return True
        except TimeoutError:
            self.blocked = True
        except OSError:
            self.end = self.end or "reset"
        return False

    def block(self, *fields):
        return self.encoder.encode(fields, huffman=False)

    def authority(self):
        return f"{self.options.host}:{self.options.port}"

    def get(self, *extra, method="GET"):
        """The header block of an ordinary request."""
        return self.block(
            (":method", method), (":scheme", "http"), (":authority", self.authority()), (":path", "/"), *extra
        )

    def connect(self, *extra, **changed):
        """The header block of an extended CONNECT; a pseudo-header set to None is left out."""
        pseudo = {
            "method": "CONNECT",
            "protocol": "websocket",
            "scheme": "http",
            "path": PATH,
            "authority": self.authority(),
        }
        pseudo.update(changed)
        return self.block(
            *[(":" + name, value) for name, value in pseudo.items() if value is not None],
            ("sec-websocket-version", "13"),
            *extra,
        )

    def parse(self):
        while len(self.buffer) >= 9:
            length = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + length:
                return
            kind, flags = self.buffer[3], self.buffer[4]
            stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
            payload, self.buffer = self.buffer[9 : 9 + length], self.buffer[9 + length :]
            kind = NAMES.get(kind, kind)
            self.frames.append((kind, flags, stream, payload))
            if kind == "SETTINGS" and not flags & 1:
                self.peer_settings.update(struct.unpack(">HI", payload[i : i + 6]) for i in range(0, length, 6))
                if self.acknowledge:
                    self.send(frame("SETTINGS", 1))
            elif kind == "PING" and not flags & 1:
                self.send(frame("PING", 1, 0, payload))
            elif kind == "HEADERS":
                try:
                    self.headers[stream] = dict(self.decoder.decode(payload[5:] if flags & PRIORITY else payload))
                except Exception:  # the connection may be broken on purpose
                    self.headers.setdefault(stream, {})
            elif kind == "DATA":
                self.data[stream] = self.data.get(stream, b"") + payload
            if kind == "RST" or kind in ("DATA", "HEADERS") and flags & END_STREAM:
                self.ended.add(stream)

    def read(self, seconds, enough=lambda: False):
        deadline = time.monotonic() + seconds
        while self.end is None and time.monotonic() < deadline:
            if enough():
                return True
            self.socket.settimeout(max(0.001, min(0.25, deadline - time.monotonic())))
            try:
                data = self.socket.recv(262144)
            except TimeoutError:
                continue
            except OSError:
                self.end = "reset"
                break
            if not data:
                self.end = "eof"
                break
            self.buffer += data
            if self.buffer[:5] == b"HTTP/":
                self.end = "h1:" + self.buffer[:40].split(b"\r")[0].decode("latin-1")
                break
            self.parse()
        return bool(enough())

    def first_frame(self):
        self.read(1, lambda: bool(self.frames))

    def goaways(self):
        return [f for f in self.frames if f[0] == "GOAWAY"]

    def resets(self):
        return [f for f in self.frames if f[0] == "RST"]

    def refused(self):
        return bool(self.goaways() or self.resets())

    def summary(self):
        parts = []
        if self.goaways():
            payload = self.goaways()[-1][3]
            text = f' "{payload[8:48].decode("latin-1")}"' if len(payload) > 8 else ""
            parts.append("GOAWAY " + error_name(struct.unpack(">I", payload[4:8])[0]) + text)
        resets = collections.Counter(error_name(struct.unpack(">I", f[3])[0]) for f in self.resets())
        statuses = collections.Counter(h[":status"] for h in self.headers.values() if ":status" in h)
        for label, counter in (("RST ", resets), (":status ", statuses)):
            parts += [label + name + (f" x{count}" if count > 1 else "") for name, count in counter.items()]
        parts += [self.end] if self.end else []
        parts += ["peer-stopped-reading"] if self.blocked else []
        parts += [self.remark] if self.remark else []
        return ", ".join(parts) or "no answer"

    def close(self):
        self.socket.close()


def clean_session(options, patience=20):
    """(did an ordinary user's session work, what was tried)"""
    try:
        c = Connection(options)
        c.read(patience, lambda: any(f[0] == "SETTINGS" for f in c.frames))
        if c.peer_settings.get(CONNECT_PROTOCOL) == 1:
            what = "WebSocket echo"
            c.send(frame("HEADERS", END_HEADERS, 1, c.connect()))
            c.read(patience, lambda: 1 in c.headers or c.refused())
            good = c.headers.get(1, {}).get(":status") == "200"
            if good:
                c.send(frame("DATA", 0, 1, HELLO))
                c.read(patience, lambda: b"hello" in c.data.get(1, b"") or 1 in c.ended)
                good = b"hello" in c.data.get(1, b"")
        else:
            what = "GET"
            c.send(frame("HEADERS", END_HEADERS | END_STREAM, 1, c.get()))
            c.read(patience, lambda: 1 in c.ended or c.refused())
            good = ":status" in c.headers.get(1, {})
        c.close()
        return good, what if good else f"{what}: {c.summary()}"
    except OSError as error:
        return False, type(error).__name__


Case = collections.namedtuple("Case", "name expect run")
CASES = []


def case(name, expect):
    """Registers a function from options to the connection that it used."""

    def register(function):
        CASES.append(Case(name, expect, function))
        return function

    return register


def simple(name, expect, make, request=False, wait=None):
    """Sends the bytes that `make` gives; waits for the connection's end, or with `request` for an answer to that."""

    @case(name, expect)
    def run(options):
        c = Connection(options)
        c.first_frame()
        data = make(c)
        if isinstance(data, bytes):
            c.send(data)
        c.read(
            LIMIT if wait is None else wait,
            lambda: (
                c.goaways() or c.end or request and (1 in c.ended or any(":status" in h for h in c.headers.values()))
            ),
        )
        c.read(0.3)
        return c


def flooding(name, expect, attack):
    @case(name, expect)
    def run(options):
        c = Connection(options)
        c.first_frame()
        attack(c)
        return c


def flood(c, unit, total, batch=200):
    """Sends `unit` (bytes, or a function of the index) `total` times, hardly reading, until the peer ends it."""
    sent, deadline = 0, time.monotonic() + LIMIT * 2
    while sent < total and c.end is None and time.monotonic() < deadline and not c.goaways():
        if not c.send(b"".join(unit(i) if callable(unit) else unit for i in range(sent, min(total, sent + batch)))):
            break
        sent += batch
        if sent % (batch * 5) == 0:
            c.read(0.0005)
    c.units = min(sent, total)
    c.read(2, lambda: c.refused() or c.end)


def flood_unread(c, unit, total):
    for _ in range(total):
        if c.end or not c.send(unit * 1000, 2):
            break
    c.read(2, lambda: c.refused() or c.end)


def literal(name, value):
    """A header field as a literal without indexing: nothing checks or lowercases it on the way."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def long_literal(index_byte, name, size):
    return (
        index_byte
        + bytes([len(name)])
        + name
        + b"\x7f"
        + bytes([0x80 | ((size - 127) & 127), (size - 127) >> 7])
        + b"a" * size
    )


def request(c, stream, *extra, flags=END_HEADERS | END_STREAM):
    return frame("HEADERS", flags, stream, c.get(*extra))


def post(c, stream=1):
    """A request that stays open for DATA."""
    return frame("HEADERS", END_HEADERS, stream, c.get(method="POST"))


def odd(index):
    return 2 * index + 1


def fields(name, expect, *extra):
    """An ordinary GET with more fields, as they are."""
    simple(
        name,
        expect,
        lambda c: frame("HEADERS", 5, 1, c.get() + b"".join(literal(k, v) for k, v in extra)),
        request=True,
    )


def pseudo(name, expect, **values):
    """A request of exactly these pseudo-header fields."""
    simple(
        name,
        expect,
        lambda c: frame("HEADERS", 5, 1, c.block(*[(":" + k, v) for k, v in values.items()])),
        request=True,
    )


def extended(name, expect, *extra, flags=END_HEADERS, **changed):
    """An extended CONNECT with changed pseudo-headers or more fields."""
    simple(name, expect, lambda c: frame("HEADERS", flags, 1, c.connect(*extra, **changed)), request=True, wait=4)


def exact_connect(name, expect, *block):
    """A request of exactly these fields, for what `extended` cannot say."""
    simple(name, expect, lambda c: frame("HEADERS", END_HEADERS, 1, c.block(*block)), request=True, wait=4)


def tunnel(name, expect, then):
    """Opens a WebSocket by extended CONNECT, then does `then`; 'echo' and 'ended' in the summary say what came of it."""

    @case(name, expect)
    def run(options):
        c = Connection(options)
        c.first_frame()
        c.send(frame("HEADERS", END_HEADERS, 1, c.connect()))
        c.read(3, lambda: 1 in c.headers or c.refused())
        then(c)
        c.read(2, lambda: c.goaways() or c.end or 1 in c.ended)
        c.echoed = b"hello" in c.data.get(1, b"")
        return c


def opening(name, expect, data, wait=4):
    """Bytes in place of the connection preface."""

    @case(name, expect)
    def run(options):
        c = Connection(options, preface=False)
        c.send(data)
        c.read(wait, lambda: c.goaways() or c.end)
        c.read(0.2)
        return c


def build():
    # floods
    flooding(
        "rapid-reset",
        CONNECTION_ERROR,
        lambda c: flood(c, lambda i: request(c, odd(i)) + frame("RST", 0, odd(i), b"\0\0\0\x08"), 20000),
    )
    flooding(
        "rapid-reset-ws-tunnels",
        CONNECTION_ERROR,
        lambda c: flood(
            c,
            lambda i: frame("HEADERS", END_HEADERS, odd(i), c.connect()) + frame("RST", 0, odd(i), b"\0\0\0\x08"),
            10000,
        ),
    )
    flooding(
        "made-you-reset-data-after-end",
        CONNECTION_ERROR,
        lambda c: flood(c, lambda i: request(c, odd(i)) + frame("DATA", 0, odd(i), b"x"), 5000),
    )
    flooding(
        "continuation-flood-8k-literals",
        CONNECTION_ERROR,
        lambda c: (
            c.send(request(c, 1, flags=END_STREAM)),
            flood(c, frame("CONT", 0, 1, long_literal(b"\x10", b"x-aaa", 8000)), 20000, 20),
        ),
    )
    flooding(
        "continuation-flood-1-byte",
        CONNECTION_ERROR,
        lambda c: (
            c.send(frame("HEADERS", END_STREAM, 1, c.get() + b"\x10\x05x-aaa\x7f\xff\xff\x7f")),
            flood(c, frame("CONT", 0, 1, b"a"), 100000),
        ),
    )
    flooding("settings-flood", CLOSE_OR_BEAR, lambda c: flood(c, settings((MAX_STREAMS, 100)), 100000))
    flooding("ping-flood", CLOSE_OR_BEAR, lambda c: flood(c, frame("PING", 0, 0, b"12345678"), 100000))
    flooding(
        "ping-flood-unread", CLOSE_OR_BEAR, lambda c: flood_unread(c, frame("PING", 0, 0, b"12345678"), 300)
    )
    flooding(
        "priority-flood",
        CLOSE_OR_BEAR,
        lambda c: flood(c, lambda i: frame("PRIORITY", 0, odd(i), b"\0\0\0\0\x10"), 50000),
    )
    flooding("window-update-flood", CLOSE_OR_BEAR, lambda c: flood(c, frame("WU", 0, 0, b"\0\0\0\1"), 100000))
    flooding("unknown-frame-flood", CLOSE_OR_BEAR, lambda c: flood(c, frame(0x77, 0, 0, b"x" * 100), 50000))
    flooding(
        "reset-idle-flood",
        CONNECTION_ERROR,
        lambda c: flood(c, lambda i: frame("RST", 0, odd(i), b"\0\0\0\x08"), 10000),
    )

    # header compression
    simple(
        "hpack-bomb-indexed",
        STREAM_ERROR,
        lambda c: (
            c.send(frame("HEADERS", 5, 1, c.get() + long_literal(b"\x40", b"x-big", 3900))),
            [c.send(frame("HEADERS", 5, 3 + 2 * i, c.get() + b"\xbe" * 16000)) for i in range(40)],
        ),
    )
    simple("hpack-bad-index", CONNECTION_ERROR, lambda c: frame("HEADERS", 5, 1, c.get() + b"\xff\xff\x03"))
    simple(
        "hpack-table-update-too-big",
        CONNECTION_ERROR,
        lambda c: frame("HEADERS", 5, 1, b"\x3f\xe1\xff\xff\x03" + c.get()),
    )
    simple(
        "hpack-huffman-eos",
        CONNECTION_ERROR,
        lambda c: frame("HEADERS", 5, 1, c.get() + b"\x00\x03x-a\x84\xff\xff\xff\xff"),
    )
    simple(
        "headers-1000-small", ANYTHING, lambda c: request(c, 1, *[(f"x-{i}", "1") for i in range(1000)]), request=True
    )
    simple(
        "cookie-crumbs-1200",
        ANYTHING,
        lambda c: request(c, 1, *[("cookie", f"a{i}=1") for i in range(1200)]),
        request=True,
    )

    # flow control

    @case("zero-window-100-streams", ANYTHING)
    def zero_window(options):
        c = Connection(options, settings((INITIAL_WINDOW, 0)))
        c.send(b"".join(request(c, odd(i)) for i in range(100)))
        c.read(3)
        c.session_meanwhile = clean_session(options)
        return c

    simple("wu-zero-connection", CONNECTION_ERROR, lambda c: frame("WU", 0, 0, b"\0\0\0\0"))
    simple(
        "wu-overflow-connection", r"GOAWAY FLOW_CONTROL|eof|reset", lambda c: frame("WU", 0, 0, b"\x7f\xff\xff\xff") * 2
    )
    simple("wu-on-idle-stream", CONNECTION_ERROR, lambda c: frame("WU", 0, 99, b"\0\0\0\1"))

    @case("data-beyond-our-window-64m", STREAM_ERROR + "|peer-stopped|all-was-granted")
    def beyond_window(options):
        c = Connection(options)
        c.first_frame()
        tunnel_offered = c.peer_settings.get(CONNECT_PROTOCOL) == 1
        c.send(frame("HEADERS", END_HEADERS, 1, c.connect()) if tunnel_offered else post(c))
        c.read(1, lambda: bool(c.headers))
        c.units = 0
        while c.units < 64 << 20 and c.end is None and not c.refused():
            if not c.send(frame("DATA", 0, 1, b"\x82\x7e\x3f\xf8" + b"x" * 16376)):
                break
            c.units += 16380
            if c.units % (16380 * 64) == 0:
                c.read(0.001)
        c.read(LIMIT, lambda: c.goaways() or c.end)
        # A peer that consumes as fast as we send has widened the window all the time, and nothing was wrong.
        granted = [65535, c.peer_settings.get(INITIAL_WINDOW, 65535)]
        for kind, _, stream, payload in c.frames:
            if kind == "WU" and stream < 2:
                granted[stream] += int.from_bytes(payload, "big")
        if c.units <= min(granted):
            c.remark = "all-was-granted"
        return c

    # framing
    simple("frame-length-ffffff-claim", CONNECTION_ERROR, lambda c: b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 100000)
    simple("settings-bad-length", r"GOAWAY FRAME_SIZE|eof|reset", lambda c: frame("SETTINGS", 0, 0, b"12345"))
    simple("settings-on-stream", CONNECTION_ERROR, lambda c: frame("SETTINGS", 0, 1))
    simple("settings-window-2g", r"GOAWAY FLOW_CONTROL|eof|reset", lambda c: settings((INITIAL_WINDOW, 1 << 31)))
    simple("settings-enable-push-2", CONNECTION_ERROR, lambda c: settings((ENABLE_PUSH, 2)))
    simple(
        "settings-connect-protocol-2", ANYTHING, lambda c: settings((CONNECT_PROTOCOL, 2)) + request(c, 1), request=True
    )
    simple("ping-bad-length", r"GOAWAY FRAME_SIZE|eof|reset", lambda c: frame("PING", 0, 0, b"1234"))
    simple("ping-on-stream", CONNECTION_ERROR, lambda c: frame("PING", 0, 1, b"12345678"))
    simple("continuation-alone", CONNECTION_ERROR, lambda c: frame("CONT", 4, 1, c.get()))
    simple(
        "headers-then-other-frame",
        CONNECTION_ERROR,
        lambda c: request(c, 1, flags=END_STREAM) + frame("PING", 0, 0, b"12345678"),
    )
    simple("padding-too-long", CONNECTION_ERROR, lambda c: post(c) + frame("DATA", PADDED, 1, b"\xff" + b"x" * 10))
    simple(
        "goaway-then-request", ANYTHING, lambda c: frame("GOAWAY", 0, 0, bytes(8)) + request(c, 1), request=True, wait=2
    )

    # streams
    simple("stream-id-even", CONNECTION_ERROR, lambda c: request(c, 2))
    simple("stream-id-0-headers", CONNECTION_ERROR, lambda c: request(c, 0))
    simple(
        "stream-id-decreasing",
        STREAM_ERROR_NO_STATUS,
        lambda c: (c.send(request(c, 5)), c.read(1, lambda: 5 in c.ended), request(c, 3))[-1],
        wait=3,
    )
    simple("data-on-idle-stream", CONNECTION_ERROR, lambda c: frame("DATA", 0, 1, b"x"))
    simple("headers-after-end-stream", STREAM_ERROR, lambda c: request(c, 1) + request(c, 1), wait=3)
    simple(
        "depends-on-itself",
        ANYTHING,
        lambda c: frame("HEADERS", PRIORITY | 5, 1, b"\0\0\0\1\x10" + c.get()),
        request=True,
    )

    # header rules
    fields("hdr-uppercase", STREAM_ERROR, (b"X-Foo", b"1"))
    fields("hdr-connection", STREAM_ERROR, (b"connection", b"keep-alive"))
    fields("hdr-transfer-encoding", STREAM_ERROR, (b"transfer-encoding", b"chunked"))
    fields("hdr-te-gzip", STREAM_ERROR, (b"te", b"gzip"))
    fields("hdr-keep-alive", STREAM_ERROR, (b"keep-alive", b"5"))
    fields("hdr-proxy-connection", STREAM_ERROR, (b"proxy-connection", b"x"))
    fields("hdr-crlf-in-value", STREAM_ERROR, (b"x-a", b"a\r\nx-b: c"))
    fields("hdr-space-in-name", STREAM_ERROR, (b"x a", b"1"))
    fields("hdr-empty-name", STREAM_ERROR, (b"", b"1"))
    fields("hdr-leading-space-value", ANYTHING, (b"x-a", b" v"))
    fields("pseudo-unknown", STREAM_ERROR, (b":foo", b"1"))
    fields("pseudo-status-in-request", STREAM_ERROR, (b":status", b"200"))
    fields("host-differs-from-authority", ANYTHING, (b"host", b"evil.example"))
    fields("content-length-mismatch", STREAM_ERROR, (b"content-length", b"10"))
    pseudo("missing-method", STREAM_ERROR, scheme="http", path="/", authority="h")
    pseudo("missing-scheme", STREAM_ERROR, method="GET", path="/", authority="h")
    pseudo("empty-path", STREAM_ERROR, method="GET", scheme="http", path="", authority="h")
    pseudo("path-no-slash", STREAM_ERROR, method="GET", scheme="http", path="x", authority="h")
    pseudo("path-with-space", ANYTHING, method="GET", scheme="http", path="/a b HTTP/1.1", authority="h")
    pseudo("method-with-space", STREAM_ERROR, method="GET /x", scheme="http", path="/", authority="h")
    pseudo("authority-missing", ANYTHING, method="GET", scheme="http", path="/")
    pseudo("authority-bad", STREAM_ERROR, method="GET", scheme="http", path="/", authority="a b")

    # extended CONNECT
    extended("ws-baseline", ":status 200")
    extended("ws-connect-without-protocol", STREAM_ERROR, protocol=None)
    extended("ws-protocol-with-get", STREAM_ERROR, method="GET")
    extended("ws-protocol-with-post", STREAM_ERROR, method="POST")
    extended("ws-protocol-empty", STREAM_ERROR, protocol="")
    extended("ws-protocol-uppercase", ANYTHING, protocol="WebSocket")
    extended("ws-missing-scheme", STREAM_ERROR, scheme=None)
    extended("ws-missing-path", STREAM_ERROR, path=None)
    extended("ws-scheme-ws", ANYTHING, scheme="ws")
    extended("ws-path-star", STREAM_ERROR, path="*")
    exact_connect(
        "ws-version-8",
        STREAM_ERROR,
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", PATH),
        (":authority", "h"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-key", KEY),
    )
    extended("ws-with-end-stream", ANYTHING, flags=END_HEADERS | END_STREAM)
    extended("ws-with-upgrade-headers", STREAM_ERROR, ("upgrade", "websocket"), ("connection", "upgrade"))
    extended("ws-with-sec-websocket-key", ANYTHING, ("sec-websocket-key", "x"))

    # tunnelled data
    tunnel(
        "tun-1-byte-data-frames",
        ", echo",
        lambda c: c.send(b"".join(frame("DATA", 0, 1, HELLO[i : i + 1]) for i in range(len(HELLO)))),
    )
    tunnel(
        "tun-padded-data-frames",
        ", echo",
        lambda c: c.send(
            b"".join(frame("DATA", PADDED, 1, b"\xfa" + HELLO[i : i + 1] + bytes(250)) for i in range(len(HELLO)))
        ),
    )
    tunnel("tun-end-stream-after-echo", ", echo", lambda c: c.send(frame("DATA", END_STREAM, 1, HELLO)))
    tunnel(
        "tun-rst-mid-message",
        ANYTHING,
        lambda c: c.send(frame("DATA", 0, 1, HELLO[:3]) + frame("RST", 0, 1, b"\0\0\0\x08")),
    )
    tunnel(
        "tun-trailers-without-end",
        STREAM_ERROR,
        lambda c: c.send(frame("DATA", 0, 1, HELLO) + frame("HEADERS", 4, 1, c.block(("x-t", "1")))),
    )
    tunnel("tun-garbage-ws-frames", STREAM_ERROR + "|ended", lambda c: c.send(frame("DATA", 0, 1, b"\xff" * 1000)))

    @case("tun-100-on-one-connection", ", echo")
    def many_tunnels(options):
        c = Connection(options)
        c.read(1, lambda: bool(c.peer_settings))
        count = min(100, c.peer_settings.get(MAX_STREAMS, 100))
        c.send(b"".join(frame("HEADERS", END_HEADERS, odd(i), c.connect()) for i in range(count)))
        c.read(8, lambda: len(c.headers) >= count or c.goaways())
        c.send(b"".join(frame("DATA", 0, odd(i), HELLO) for i in range(count)))
        c.read(8, lambda: sum(b"hello" in data for data in c.data.values()) >= count)
        c.units = sum(b"hello" in data for data in c.data.values())
        c.echoed = c.units >= count
        return c

    # opening
    opening("preface-bad", CONNECTION_ERROR, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    opening(
        "preface-then-headers-no-settings",
        CONNECTION_ERROR,
        PREFACE
        + frame(
            "HEADERS",
            5,
            1,
            Encoder().encode([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")]),
        ),
    )
    opening("preface-then-silence", ANYTHING, PREFACE, 6)
    opening("garbage-64k", CONNECTION_ERROR, bytes((i * 7919 + 13) & 255 for i in range(65536)))


def run(options, case):
    before, peak, done, begin = memory_mb(options.pid), [0], threading.Event(), time.monotonic()

    def watch():
        while not done.wait(0.05):
            peak[0] = max(peak[0], memory_mb(options.pid))

    threading.Thread(target=watch, daemon=True).start()
    connection, answer = None, ""
    try:
        connection = case.run(options)
        answer = connection.summary()
        if connection.echoed is not None:
            answer += ", echo" if connection.echoed else ", no-echo"
            answer += ", ended" if 1 in connection.ended else ""
    except OSError as error:
        answer = f"{type(error).__name__}: {error}"
    took = round((time.monotonic() - begin) * 1000)
    after = clean_session(options)  # while the hostile connection is still open
    meanwhile = connection and connection.session_meanwhile
    if connection:
        connection.close()
    done.set()
    allowed = re.search(case.expect, answer) and (case.expect == ANYTHING or answer != "no answer")
    growth = round(peak[0] - before, 1)
    if not after[0] or meanwhile and not meanwhile[0]:
        verdict, answer = "DEAD", f"{answer}; then {after[1] if not after[0] else meanwhile[1]}"
    elif growth and growth > MAX_GROWTH_MB:
        verdict = "FAT"
    else:
        verdict = "OK" if allowed else "DIFF"
    return dict(
        name=case.name,
        verdict=verdict,
        answer=answer,
        ms=took,
        units=connection and connection.units,
        growth_mb=growth,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("pid", type=int)
    parser.add_argument("--only", default=".", metavar="REGEX", help="only the cases whose name matches")
    options = parser.parse_args()
    build()
    chosen = [c for c in CASES if re.search(options.only, c.name)]
    begin, results = time.monotonic(), []
    baseline = clean_session(options)
    print(f"clean session before all cases: {baseline[1]}")
    for c in chosen if baseline[0] else []:
        if time.monotonic() - begin > BUDGET:
            results.append(
                dict(
                    name=c.name,
                    verdict="NOT RUN",
                    answer="the time is spent",
                    ms=0,
                    units=None,
                    growth_mb=None,
                )
            )
            continue
        results.append(run(options, c))
        r = results[-1]
        print(
            f"{r['verdict']:4} {r['name']:34} {r['ms']:6} ms  {r['answer']}"
            + (f" ({r['units']} sent)" if r["units"] else "")
            + (f" +{r['growth_mb']} MB" if r["growth_mb"] and r["growth_mb"] > 1 else ""),
            flush=True,
        )
    passed = sum(r["verdict"] == "OK" for r in results)
    left_out = sum(r["verdict"] == "NOT RUN" for r in results)
    print(
        f"{len(chosen)} cases in {time.monotonic() - begin:.1f} s"
        + (f"; no time was left for {left_out}" if left_out else "")
    )
    print(f"{passed} passed, {len(chosen) - passed} failed")
    return 0 if passed == len(chosen) and chosen else 1


if __name__ == "__main__":
    sys.exit(main())
