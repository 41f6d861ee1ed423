#!/usr/bin/env python3
"""A WebSocket server whose path decides how it behaves: behaviour_server.py

It listens on a port of 127.0.0.1 that the system chooses, and prints it once it accepts. `peers.py` starts it; by hand, it
shows how a client copes with a server that is not well-behaved (`/close1011/boom`, `/drop`, `/mask`). (Needs websockets.)
"""

import asyncio
import http

from websockets.asyncio.server import serve

PAUSE = 0.4  # seconds that a client has for its prompt before something happens to it
LARGEST_DEFAULT_MESSAGE = 1 << 20  # Python's max_size
CONTROL_CHARACTERS = "tab\there nl\nline2 esc\x1b[31mred\x1b[0m del\x7f nel\x85 nbsp\xa0 \u4f60\u597d \U0001f600"


async def echo(session):
    async for message in session:
        await session.send(message)


async def binary(session):
    await session.send(bytes(range(20)) + b"\xff\xfe")
    async for message in session:
        await session.send(message.encode() if isinstance(message, str) else message)


async def ping(session):
    await (await session.ping(b"abc"))
    await session.send("got pong")
    await session.pong(b"unsolicited")
    await echo(session)


async def control_characters(session):
    await session.send(CONTROL_CHARACTERS)
    await session.send("")
    await echo(session)


async def tick(session):
    for number in range(5):
        await asyncio.sleep(PAUSE)
        await session.send(f"tick {number}")
    await echo(session)


async def too_large(session):
    await asyncio.sleep(PAUSE)
    await session.send("x" * (LARGEST_DEFAULT_MESSAGE + 1))
    await echo(session)


async def close(session):
    """/closeCODE or /closeCODE/REASON, in which `_` stands for a space."""
    code, _, reason = session.request.path.removeprefix("/close").partition("/")
    await asyncio.sleep(PAUSE)
    await session.close(int(code), reason.replace("_", " "))


async def drop(session):
    await asyncio.sleep(PAUSE)
    session.transport.abort()


async def fin(session):
    await asyncio.sleep(PAUSE)
    session.transport.close()


def raw(data):
    """A session in which the server sends these bytes, whatever they are, and no more."""

    async def session(session):
        await asyncio.sleep(PAUSE)
        session.transport.write(data)
        await session.wait_closed()

    return session


SESSIONS = {
    "/echo": echo,
    "/bin": binary,
    "/ping": ping,
    "/ctl": control_characters,
    "/tick": tick,
    "/big": too_large,
    "/drop": drop,
    "/fin": fin,
    "/mask": raw(b"\xf1\x01a"),  # reserved bits
    "/utf8": raw(b"\x81\x02\xff\xff"),  # a text that is not UTF-8
    "/ws1005": raw(b"\x88\x00"),  # a Close without a code
}


async def session(session):
    path = session.request.path
    await (close if path.startswith("/close") else SESSIONS[path])(session)


def refuse(connection, request):
    """Paths that are refused, or sent elsewhere, before they become a session."""
    if request.path == "/302":
        response = connection.respond(http.HTTPStatus.FOUND, "")
        response.headers["Location"] = "/echo"
        return response
    answers = {
        "/200": (http.HTTPStatus.OK, "OK\n"),
        "/404": (http.HTTPStatus.NOT_FOUND, "nope\n"),
        "/503": (http.HTTPStatus.SERVICE_UNAVAILABLE, "no healthy upstream"),
    }
    return connection.respond(*answers[request.path]) if request.path in answers else None


async def main():
    async with serve(session, "127.0.0.1", 0, process_request=refuse, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
