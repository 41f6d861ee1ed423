#!/usr/bin/env python3
"""deflate_offers.py HOST PORT: what an echo server answers to permessage-deflate offers (RFC 7692 section 7.1).

Autobahn's 13.* covers only a few ordinary offers. For each offer here the answer must be one that the RFC allows (a
decline means: a 101 without the extension), and when the server accepts, a session must work as negotiated: three
messages come back whole, compressed within the window that the server promised, and without context takeover where it
promised that.
"""

import argparse
import hashlib
import re
import socket
import struct
import sys
import zlib

TIMEOUT = 30  # seconds that an answer may take; a busy machine is no failure
PMD = "permessage-deflate"
# (offer, what the server must do with it)
ACCEPT, DECLINE, EITHER = "accept", "decline", "either"
OFFERS = [
    ("PMD", ACCEPT),
    ("PMD; client_max_window_bits", ACCEPT),
    ("PMD; client_max_window_bits=10", ACCEPT),
    ("PMD; server_max_window_bits=9", EITHER),
    ("PMD; server_max_window_bits=8", EITHER),
    ("PMD; server_max_window_bits=15", ACCEPT),
    ("PMD; server_max_window_bits=16", DECLINE),
    ("PMD; server_max_window_bits=7", DECLINE),
    ("PMD; server_max_window_bits", DECLINE),
    ('PMD; server_max_window_bits="10"', EITHER),
    ("PMD; server_max_window_bits=010", DECLINE),
    ("PMD; client_max_window_bits=16", DECLINE),
    ("PMD; server_no_context_takeover", ACCEPT),
    ("PMD; server_no_context_takeover; client_no_context_takeover", ACCEPT),
    ("PMD; server_no_context_takeover=1", DECLINE),
    ("PMD; server_no_context_takeover; server_no_context_takeover", DECLINE),
    ("PMD; foo=1", DECLINE),
    ("PMD; foo=1, PMD", ACCEPT),
    ("PMD; server_max_window_bits=8, PMD; server_max_window_bits=9, PMD", ACCEPT),
    ("x-other, PMD", ACCEPT),
    ("PMD;server_max_window_bits=9;client_max_window_bits", EITHER),
    ("PERMESSAGE-DEFLATE", EITHER),
    ("x-webkit-deflate-frame", DECLINE),
]


def parameters(element):
    """'permessage-deflate; a; b=1' as {'a': None, 'b': '1'}; ValueError when one comes twice."""
    name, *rest = [part.strip() for part in element.split(";")]
    if name.lower() != PMD:
        raise ValueError(f"unknown extension {name!r}")
    found = {}
    for part in rest:
        key, _, value = part.partition("=")
        if key.strip() in found:
            raise ValueError(f"{key} twice")
        found[key.strip()] = value.strip().strip('"') if "=" in part else None
    return found


def window_bits(value):
    if value is None or not re.fullmatch(r"8|9|1[0-5]", value):
        raise ValueError(f"window bits {value!r}")
    return int(value)


def fits(answer, offer):
    """Is `answer` (parameters) a valid answer to the one element `offer` (parameters)? RFC 7692 sections 7.1.1 and 7.1.2."""
    for key, value in answer.items():
        if key in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                return False
        elif key == "server_max_window_bits":
            if window_bits(value) > int(offer.get(key) or 15):
                return False
        elif key == "client_max_window_bits":
            if key not in offer or window_bits(value) > int(offer[key] or 15):
                return False
        else:
            return False
    return all(key in answer for key in ("server_no_context_takeover", "server_max_window_bits") if key in offer)


def frame(first, payload):
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
    return bytes([first]) + length + b"\0\0\0\0" + payload


def read_message(stream):
    """(payload, was it compressed) of the next data message; control frames are skipped."""
    payload, compressed = b"", False
    while True:
        head = stream.read(2)
        if len(head) < 2:
            raise ValueError("closed instead of an echo")
        length = head[1] & 127
        if length >= 126:
            length = int.from_bytes(stream.read(2 if length == 126 else 8), "big")
        data = stream.read(length)
        opcode = head[0] & 15
        if opcode == 8:
            raise ValueError(f"Close {struct.unpack('>H', data[:2])[0] if data[:2] else ''} instead of an echo")
        if opcode >= 8:
            continue
        compressed |= bool(head[0] & 0x40)
        payload += data
        if head[0] & 0x80:
            return payload, compressed


def inflate(inflater, data):
    """In steps of 16 bytes, so that a reference behind the window is seen as the error that it is."""
    out, data = b"", data + b"\0\0\xff\xff"
    while True:
        piece = inflater.decompress(data, 16)
        out, data = out + piece, inflater.unconsumed_tail
        if not piece and not data:
            return out


def check_session(connection, stream, answer):
    bits = int(answer.get("server_max_window_bits") or 15)
    noise = hashlib.shake_128(b"noise").hexdigest(20000).encode()
    # The second repeats what lies further back than a small window reaches, the last repeats the first.
    messages = [noise[:300], noise[: (1 << min(bits, 13)) + 300] * 2, noise[:300]]
    inflater = None
    for message in messages:
        if inflater is None or "server_no_context_takeover" in answer:
            inflater = zlib.decompressobj(-bits)
        # Huffman coding only: no reference back, so within any window that the server may have asked of us.
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
        data = deflater.compress(message) + deflater.flush(zlib.Z_SYNC_FLUSH)
        connection.sendall(frame(0xC1, data[:-4]))
        echo, compressed = read_message(stream)
        if compressed:
            try:
                echo = inflate(inflater, echo)
            except zlib.error as error:
                raise ValueError(f"echo does not inflate with what was promised: {error}")
        if echo != message:
            raise ValueError("echo differs")


def check(options, offer, expected):
    """The answer in words; ValueError when it is not allowed."""
    with socket.create_connection((options.host, options.port), TIMEOUT) as connection:
        connection.settimeout(TIMEOUT)
        connection.sendall(
            f"GET / HTTP/1.1\r\nHost: {options.host}:{options.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Extensions: {offer}\r\n\r\n".encode()
        )
        stream = connection.makefile("rb")
        status = stream.readline().decode("latin-1").split(" ")[1:2]
        headers = iter(lambda: stream.readline().decode("latin-1").strip(), "")
        answers = [
            value.strip()
            for name, _, value in (line.partition(":") for line in headers)
            if name.lower() == "sec-websocket-extensions"
        ]
        if status != ["101"]:
            raise ValueError(
                f"status {' '.join(status) or 'missing'}; an offer that cannot be met is declined, not refused"
            )
        if not answers:
            if expected == ACCEPT:
                raise ValueError("declined")
            return "declined"
        if expected == DECLINE:
            raise ValueError(f"accepted: {answers}")
        if len(answers) > 1 or "," in answers[0]:
            raise ValueError(f"more than one answer: {answers}")
        answer = parameters(answers[0])
        elements = []
        for element in offer.split(","):
            try:
                elements.append(parameters(element))
            except ValueError:
                continue
        known = {
            "server_no_context_takeover",
            "client_no_context_takeover",
            "server_max_window_bits",
            "client_max_window_bits",
        }
        if not any(set(element) <= known and fits(answer, element) for element in elements):
            raise ValueError(f"answer does not fit the offer: {answers[0]}")
        check_session(connection, stream, answer)
        return answers[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    failed = 0
    for offer, expected in OFFERS:
        try:
            verdict, text = "OK", check(options, offer.replace("PMD", PMD), expected)
        except (OSError, ValueError) as error:
            verdict, text = "BAD", str(error) or type(error).__name__
            failed += 1
        print(f"{verdict:4} {offer:66} expected {expected:7}  {text.replace(PMD, 'PMD')}")
    print(f"{len(OFFERS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
