#!/usr/bin/env python3
"""A name server on 127.0.0.1:53 that knows one name, as a cluster's knows a Service: name_server.py NAME ADDRESS.

Prints `up` when it answers. Any other name does not exist; the known one has an A record and nothing else.
"""

import ipaddress
import socket
import struct
import sys

A, IN = 1, 1
NO_ERROR, NAME_ERROR = 0, 3
RESPONSE = 0x8580  # QR, AA, RD, RA (RFC 1035, 4.1.1)
POINTER_TO_QUESTION = 0xC00C
HEADER_LENGTH = 12


def answer(query, name, address):
    labels, at = [], HEADER_LENGTH
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    kind, _ = struct.unpack_from("!HH", query, at + 1)
    question = query[HEADER_LENGTH : at + 5]
    known = ".".join(labels) == name
    record = b""
    if known and kind == A:
        record = struct.pack("!HHHIH4s", POINTER_TO_QUESTION, A, IN, 5, 4, address.packed)
    flags = RESPONSE | (NO_ERROR if known else NAME_ERROR)
    return query[:2] + struct.pack("!HHHHH", flags, 1, bool(record), 0, 0) + question + record


def main():
    name, address = sys.argv[1], ipaddress.IPv4Address(sys.argv[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        print("up", flush=True)
        while True:
            query, peer = server.recvfrom(512)
            server.sendto(answer(query, name, address), peer)


main()
