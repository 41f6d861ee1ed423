#!/usr/bin/env python3
"""The client and `probe` against servers that are not ours: connections.py BINARY ENVOY

Python's websockets with and without TLS, over IPv6 and a Unix socket; Python's h2; real Envoy with extended CONNECT allowed
and not. The last line is `N passed, N failed`; the exit status is 0 only if nothing failed.
(Needs websockets and h2; openssl on PATH.)
"""

import asyncio
import json
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import traceback

import h2.config
import h2.connection
import h2.events
import h2.settings
from websockets.asyncio.server import basic_auth, serve, unix_serve

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "envoy"))
from envoy_pair import EnvoyPair  # noqa: E402
from pair import HOST, Options, claim_network  # noqa: E402

PATIENCE = 60  # seconds that anything may take; a busy machine is no failure
BINARY, ENVOY = sys.argv[1:]


# ---------------------------------------------------------------- servers
async def echo(session):
    async for message in session:
        await session.send(message)


def refuse(connection, request):
    return connection.respond(503, "no healthy upstream") if request.path == "/503" else None


def port_of(server):
    return server.sockets[0].getsockname()[1]


class Http2Echo(asyncio.Protocol):
    """Python's h2 as a server: takes an extended CONNECT, sends each Close, and unmasked each text, back."""

    allowed = True

    def connection_made(self, transport):
        self.transport, self.received = transport, b""
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        if self.allowed:
            self.http2.local_settings = h2.settings.Settings(
                client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
            )
        self.http2.initiate_connection()
        transport.write(self.http2.data_to_send())

    def data_received(self, data):
        for event in self.http2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                headers = {name.decode(): value.decode() for name, value in event.headers}
                status = "200" if headers.get(":protocol") == "websocket" else "400"
                self.http2.send_headers(event.stream_id, [(":status", status)])
            elif isinstance(event, h2.events.DataReceived):
                self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.received += event.data
                self.frames(event.stream_id)
        self.transport.write(self.http2.data_to_send())

    def frames(self, stream):
        while len(self.received) >= 6 and len(self.received) >= (end := 6 + (self.received[1] & 127)):
            frame, self.received = self.received[:end], self.received[end:]
            payload = bytes(byte ^ frame[2 + index % 4] for index, byte in enumerate(frame[6:]))
            answer = frame[:1] if frame[0] != 0x89 else b"\x8a"
            self.http2.send_data(stream, answer + bytes([len(payload)]) + payload, end_stream=frame[0] == 0x88)


class Http2WithoutConnect(Http2Echo):
    allowed = False


async def proxy(reader, writer):
    """An HTTP proxy that knows nothing but CONNECT."""
    head = await reader.readuntil(b"\r\n\r\n")
    host, port = head.split()[1].decode().rsplit(":", 1)
    if b"Basic bWU6c2VjcmV0" not in head:
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        return writer.close()
    there, back = await asyncio.open_connection("127.0.0.1" if host == "web.example" else host, int(port))
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async def pass_on(source, sink):
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    await asyncio.gather(pass_on(reader, back), pass_on(there, writer))


def certificates(folder):
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    openssl(*"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca".split())
    for name in ("web.example", "client.example"):
        openssl(*f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}".split())
        with open(os.path.join(folder, "san"), "w", encoding="utf-8") as extensions:
            extensions.write(f"subjectAltName=DNS:{name}")
        openssl(*f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile san".split())


# ---------------------------------------------------------------- the program
class Failed(Exception):
    pass


async def run(command, *arguments, sent=b"hello\nworld\n", environment=()):
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        BINARY,
        command,
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**clean, **dict(environment)},
    )
    out, err = await asyncio.wait_for(process.communicate(sent), PATIENCE)
    return process.returncode, out.decode(), err.decode()


async def echoes(*arguments, **options):
    result = await run("client", *arguments, **options)
    if result[:2] != (0, "hello\nworld\n"):
        raise Failed(f"{arguments}: {result}")
    return result[2]


async def fails(*arguments, status=1, says=(), **options):
    code, out, err = await run("client", *arguments, **options)
    missing = [text for text in says if text not in err]
    if code != status or out or missing:
        raise Failed(f"{arguments}: {code}, without {missing}: {out}{err}")


async def probed(*arguments):
    code, out, err = await run("probe", "--output", "json", *arguments)
    report = json.loads(out)
    if code != (0 if report["opened"] else 1):
        raise Failed(f"{arguments}: {code} {err} {out}")
    outcomes = {attempt["way"]: attempt["outcome"] for attempt in report["attempts"]}
    return report, outcomes


def equal(actual, expected):
    if actual != expected:
        raise Failed(f"{actual!r}, not {expected!r}")


# ---------------------------------------------------------------- what is checked
async def over_tcp():
    async with serve(echo, "127.0.0.1", 0, subprotocols=["chat"], process_request=refuse) as server:
        uri = f"ws://127.0.0.1:{port_of(server)}"
        heads = await echoes("-v", "--subprotocol", "chat", "--origin", "http://o", uri)
        for text in ("> sec-websocket-protocol: chat", "> origin: http://o", "< HTTP/1.1 101", "< sec-websocket-protocol: chat"):
            if text not in heads:
                raise Failed(f"-v does not say {text!r}: {heads}")
        frames = await echoes("-vv", "--no-compression", "--subprotocol", "chat", uri)
        if "> frame text opcode=1 fin=1 rsv=000" not in frames or "< frame close opcode=8" not in frames:
            raise Failed(f"-vv: {frames}")
        await fails(f"{uri}/503", says=["HTTP 503", "no healthy upstream", "no healthy endpoint"])
        await fails("--http2", uri, says=["does not speak HTTP/2"])
        await echoes("--subprotocol", "chat", "--connect-to", f"localhost:{port_of(server)}", "ws://web.example:1")


async def over_ipv6_and_a_unix_socket():
    async with serve(echo, "::1", 0) as server:
        await echoes(f"ws://[::1]:{port_of(server)}/path")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        async with unix_serve(echo, path):
            await echoes("--unix", path, "ws://web.example/")


async def with_credentials():
    check = basic_auth(realm="r", credentials=("me", "secret"))
    async with serve(echo, "127.0.0.1", 0, process_request=check) as server:
        place = f"127.0.0.1:{port_of(server)}"
        await echoes("--user", "me:secret", f"ws://{place}")
        await echoes(f"ws://me:secret@{place}")
        await fails(f"ws://{place}", says=["HTTP 401", "--user"])


async def through_a_proxy():
    async with serve(echo, "127.0.0.1", 0) as server, await asyncio.start_server(proxy, "127.0.0.1", 0) as between:
        uri, place = f"ws://web.example:{port_of(server)}", f"127.0.0.1:{port_of(between)}"
        await echoes("--proxy", f"http://me:secret@{place}", uri)
        await echoes(uri, environment={"HTTP_PROXY": f"http://me:secret@{place}"}.items())
        await fails(uri, environment={"ALL_PROXY": f"http://{place}"}.items(), says=["HTTP 407"])
        direct = f"ws://127.0.0.1:{port_of(server)}"
        await echoes(direct, environment={"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.0/8"}.items())


async def over_tls():
    with tempfile.TemporaryDirectory() as folder:
        certificates(folder)
        file = lambda name: os.path.join(folder, name)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file("web.example.pem"), file("web.example.key"))
        async with serve(echo, "127.0.0.1", 0, ssl=context) as server:
            there = ("--connect-to", f"127.0.0.1:{port_of(server)}")
            facts = await echoes("-v", "--cacert", file("ca.pem"), *there, "wss://web.example/")
            if "TLSv1.3" not in facts or "web.example" not in facts:
                raise Failed(f"-v: {facts}")
            await echoes("--cacert", file("ca.pem"), "--servername", "web.example", f"wss://127.0.0.1:{port_of(server)}")
            await echoes("--insecure", f"wss://127.0.0.1:{port_of(server)}")
            await fails(*there, "wss://web.example/", says=["not trusted", "--cacert"])
            await fails("--cacert", file("ca.pem"), *there, "wss://other.example/", says=["another name", "--servername"])
            report, outcomes = await probed("--cacert", file("ca.pem"), *there, "wss://web.example/")
            equal((report["tls"]["verified"], outcomes["http1_upgrade"]), (True, "opened"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(file("ca.pem"))
        async with serve(echo, "127.0.0.1", 0, ssl=context) as server:
            uri = ("--cacert", file("ca.pem"), "--connect-to", f"127.0.0.1:{port_of(server)}", "wss://web.example/")
            await echoes("--cert", file("client.example.pem"), "--key", file("client.example.key"), *uri)
            await fails(*uri, says=["during opening handshake"])


async def over_pythons_h2():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Http2Echo, "127.0.0.1", 0)
    facts = await echoes("-v", "--http2", "--no-compression", f"ws://127.0.0.1:{port_of(server)}/chat")
    for text in ("> :protocol: websocket", "> :path: /chat", "< :status: 200", "ENABLE_CONNECT_PROTOCOL=1"):
        if text not in facts:
            raise Failed(f"-v does not say {text!r}: {facts}")
    server.close()
    server = await loop.create_server(Http2WithoutConnect, "127.0.0.1", 0)
    await fails("--http2", f"ws://127.0.0.1:{port_of(server)}", says=["does not allow WebSocket over HTTP/2", "0x8"])
    server.close()


async def through_envoy():
    network = claim_network()
    for allowed in ("on", "off"):
        options = Options(allow_connect=allowed).moved_to(network)
        host, port = options.app.rsplit(":", 1)
        async with serve(echo, host, int(port)):
            pair = await asyncio.to_thread(EnvoyPair(options, ENVOY).start)
            try:
                there = ("--connect-to", options.inbound, f"ws://{HOST}:8080/")
                await echoes(*there)
                report, outcomes = await probed(*there)
                if allowed == "on":
                    await echoes("--http2", "--send-key", *there)
                    await fails("--http2", *there, says=["HTTP 400"])
                    equal(outcomes, {"http1_upgrade": "opened", "http2_connect": "refused", "http2_connect_with_key": "opened"})
                else:
                    await fails("--http2", *there, says=["does not allow WebSocket over HTTP/2", "allow_connect"])
                    equal(outcomes, {"http1_upgrade": "opened", "http2_connect": "not_allowed", "http2_connect_with_key": "not_allowed"})
                equal(report["attempts"][0]["permessage_deflate"]["agreed"], True)
            finally:
                await asyncio.to_thread(pair.__exit__, None, None, None)


CHECKS = (over_tcp, over_ipv6_and_a_unix_socket, with_credentials, through_a_proxy, over_tls, over_pythons_h2, through_envoy)


async def main():
    failed = 0
    for check in CHECKS:
        try:
            await check()
            wrong = ""
        except Failed as failure:
            wrong = str(failure)
        except Exception:
            wrong = traceback.format_exc()
        print("FAILED" if wrong else "ok    ", check.__name__.replace("_", " "))
        print("".join(f"    {line}\n" for line in wrong.splitlines()), end="", flush=True)
        failed += bool(wrong)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


asyncio.run(main())
