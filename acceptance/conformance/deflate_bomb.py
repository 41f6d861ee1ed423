#!/usr/bin/env python3
"""deflate_bomb.py HOST PORT PID: hostile compressed messages against an echo server with permessage-deflate (RFC 7692).

What each case expects:
  closed    the server fails the connection: a Close frame, or the connection is closed
  answered  an echo, or the connection is closed: only silence is wrong
  echo      the message comes back
After each case a well-formed compressed session must work, and at no moment may the server, the process PID, have more
than MAX_GROWTH_MB of resident memory more than before the case.
"""

import argparse
import socket
import struct
import sys
import threading
import time
import zlib

from process import memory_mb

TIMEOUT = 60  # seconds a case; a busy machine is no failure
MAX_GROWTH_MB = 192
FIN, RSV1, TEXT, BINARY, PING = 0x80, 0x40, 1, 2, 9
HELLO = bytes.fromhex("f248cdc9c90700")  # "Hello", RFC 7692 section 7.2.3.1


def frame(first, payload):
    n = len(payload)
    length = (
        bytes([0x80 | n])
        if n < 126
        else b"\xfe" + struct.pack(">H", n)
        if n < 65536
        else b"\xff" + struct.pack(">Q", n)
    )
    return bytes([first]) + length + b"\0\0\0\0" + payload


def zeros(mebibytes):
    """That many MiB of zeros, compressed to a thousandth."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (b"".join(deflater.compress(bytes(1 << 20)) for _ in range(mebibytes)) + deflater.flush(zlib.Z_SYNC_FLUSH))[
        :-4
    ]


def cases():
    bomb = zeros(1024)
    pieces = [bomb[i : i + 1000] for i in range(0, len(bomb), 1000)]
    yield "bomb-1GiB", "closed", frame(FIN | RSV1 | BINARY, bomb)
    yield (
        "bomb-1GiB-in-fragments",
        "closed",
        (frame(RSV1 | BINARY, pieces[0]) + b"".join(frame(0, p) for p in pieces[1:-1]) + frame(FIN, pieces[-1])),
    )
    yield "bad-deflate", "closed", frame(FIN | RSV1 | BINARY, b"\xff\xff\xff\xff")
    yield "bad-utf8-inside", "closed", frame(FIN | RSV1 | TEXT, b"\x00\x02\x00\xfd\xff\xff\xfe\x00")
    yield "bfinal-then-junk", "answered", frame(FIN | RSV1 | BINARY, b"\x03\x80")
    yield "empty-compressed", "answered", frame(FIN | RSV1 | TEXT, b"")
    yield "rsv1-on-continuation", "closed", frame(RSV1 | TEXT, HELLO[:3]) + frame(FIN | RSV1, HELLO[3:])
    yield "rsv1-on-ping", "closed", frame(FIN | RSV1 | PING, b"x")
    yield "rsv2", "closed", frame(FIN | 0x20 | TEXT, b"x")
    yield "hello-in-fragments", "echo", frame(RSV1 | TEXT, HELLO[:3]) + frame(FIN, HELLO[3:])
    yield "hello", "echo", frame(FIN | RSV1 | TEXT, HELLO)


def connect(options):
    connection = socket.create_connection((options.host, options.port), TIMEOUT)
    connection.sendall(
        f"GET / HTTP/1.1\r\nHost: {options.host}:{options.port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(4096)
        if not data:
            break
        head += data
    if b" 101 " not in head[:20] or b"permessage-deflate" not in head.lower():
        connection.close()
        raise OSError("the server did not accept permessage-deflate")
    return connection


def outcome(options, data, expect):
    """'closed', 'close frame CODE', 'echo' or 'silence', and how long it took"""
    begin, received, sent = time.monotonic(), b"", threading.Event()
    with connect(options) as connection:

        def send():
            try:
                connection.sendall(data)
            except OSError:
                pass  # closed while we send: that is an answer
            sent.set()

        connection.settimeout(TIMEOUT)
        threading.Thread(target=send, daemon=True).start()
        while time.monotonic() - begin < TIMEOUT:
            try:
                piece = connection.recv(65536)
            except TimeoutError:
                break
            except OSError:
                piece = b""
            if not piece:
                return "closed", time.monotonic() - begin
            received = (received + piece)[:64]
            if len(received) >= 2 and received[0] == 0x88:
                code = struct.unpack(">H", received[2:4])[0] if len(received) >= 4 else ""
                return f"close frame {code}".strip(), time.monotonic() - begin
            if expect != "closed" and len(received) >= 2 + (received[1] & 127):
                return "echo", time.monotonic() - begin
    return "silence" if not received else "data, and not closed", time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("pid", type=int)
    options = parser.parse_args()
    passed = failed = 0
    for name, expect, data in cases():
        before, peak, done = memory_mb(options.pid), [0], threading.Event()

        def watch():
            while not done.wait(0.01):
                peak[0] = max(peak[0], memory_mb(options.pid))

        threading.Thread(target=watch, daemon=True).start()
        try:
            what, took = outcome(options, data, expect)
            closed = what.startswith("close")
            good = {"closed": closed, "answered": closed or what == "echo", "echo": what == "echo"}[expect]
        except OSError as error:
            what, took, good = str(error), 0, False
        try:
            after = outcome(options, frame(FIN | RSV1 | TEXT, HELLO), "echo")[0]
        except OSError as error:
            after = str(error)
        done.set()
        if after != "echo":
            good, what = False, f"{what}; then a clean session got: {after}"
        growth = max(0, peak[0] - before)
        if growth > MAX_GROWTH_MB:
            good, what = False, f"{what}; too much memory"
        print(
            f"{'OK' if good else 'BAD':4} {name:24} expected {expect:9} got {what} in {took:.1f} s"
            f", memory +{growth:.0f} MB",
            flush=True,
        )
        passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
