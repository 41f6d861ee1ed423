"""The scenarios: what is done to a pair of sidecars.  The docstring of each says what it shows.

A scenario is run only if it has a folder `NN-name` among the recordings; loops over both kinds of hop may
therefore produce a variant that is never run.
"""

import contextlib
import json
import os
import signal
import socket
import threading
import time

from websockets.frames import Opcode

from pair import HOST
from stage import (
    AUTHORITY,
    CLOSE_FRAME,
    HTTP2_HOP,
    SAMPLE_KEY,
    EchoServer,
    FakeSidecar,
    H2Client,
    answer,
    dial,
    extended_connect,
    handshake,
    read_all,
    read_head,
    reset,
    response,
    scenario,
    text,
)

HOPS = (("h1", {}), ("h2", HTTP2_HOP))
HEALTHZ = f"GET /healthz HTTP/1.1\r\nHost: {AUTHORITY}\r\nUser-Agent: raw\r\nConnection: close\r\n\r\n".encode()
SWITCHING_PROTOCOLS = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)


# ---------------------------------------------------------------- the guide's session
@scenario("h1-hello-plain")
def h1_hello_plain(stage):
    """hello/world echo and a clean close 1000 over HTTP/1.1, permessage-deflate not offered."""
    stage.hello(None)


@scenario("h1-hello-deflate")
def h1_hello_deflate(stage):
    """hello/world echo and a clean close 1000 over HTTP/1.1 with permessage-deflate (what the websockets client does by default)."""
    stage.hello("deflate")


@scenario("h2-hello-plain", **HTTP2_HOP)
def h2_hello_plain(stage):
    """hello/world echo and a clean close 1000; the hop between the sidecars is HTTP/2 extended CONNECT; no compression."""
    stage.hello(None)


@scenario("h2-hello-deflate", **HTTP2_HOP)
def h2_hello_deflate(stage):
    """As h2-hello-plain with permessage-deflate."""
    stage.hello("deflate")


@scenario("h1-cli-hello")
def h1_cli_hello(stage):
    """The guide's own client, `python3 -m websockets`, over HTTP/1.1."""
    stage.cli()


@scenario("h2-cli-hello", **HTTP2_HOP)
def h2_cli_hello(stage):
    """The guide's own client, `python3 -m websockets`, with the HTTP/2 hop."""
    stage.cli()


@scenario("h2-mtls-hello", mtls=True, **HTTP2_HOP)
def h2_mtls_hello(stage):
    """hello/world with mutual TLS (SPIFFE certificates) between the sidecars, HTTP/2 hop."""
    stage.hello("deflate")


@scenario("h1-server-pings", app="ws-ping=0.4")
def h1_server_pings(stage):
    """The server pings every 0.4 s (four random bytes each); the client answers three; hello/world in between; about 1.2 s in all."""
    with stage.connect(compression=None) as session:
        answered = []
        send_frame = session.protocol.send_frame

        def counted(frame):
            send_frame(frame)
            if frame.opcode is Opcode.PONG:
                answered.append(frame)

        session.protocol.send_frame = counted
        for message, pings in (("hello", 1), ("world", 3)):
            session.send(message)
            session.recv()
            # However late the server's timer is: so many, and not so long.
            while len(answered) < pings:
                time.sleep(0.01)
    stage.say(
        "- hello and world echoed; each ping adds 6 bytes to bytes_sent (2 header + 4 payload), "
        "each pong 10 to bytes_received (2 + 4 mask + 4)"
    )


@scenario("h1-bytes-sent-23")
def h1_bytes_sent_23(stage):
    """Can the guide's `"bytes_sent":23` be reproduced?  With permessage-deflate, `hello` and `world` give 22; one more character (a typed trailing space) gives 23."""
    for messages in (("hello", "world"), ("hello ", "world"), ("hello", "world "), ("hello", "world!")):
        echo_all(stage, messages, "deflate")
        stage.say(f"- messages {messages}")
        time.sleep(0.1)
    messages = ("hello", "world", "bye")
    echo_all(stage, messages, None)
    stage.say(f"- messages {messages}, no compression")


def echo_all(stage, messages, compression):
    with stage.connect(compression=compression) as session:
        for message in messages:
            session.send(message)
            session.recv()


@scenario("h1-text-log", log_encoding="TEXT")
def h1_text_log(stage):
    """The same session with Istio's default TEXT access log (the files hold text lines, not JSON)."""
    stage.hello("deflate")


# ---------------------------------------------------------------- allow_connect off
def library_refusal(stage):
    """Opens a session with the websockets library and writes down what it raises."""
    try:
        with stage.connect():
            pass
    except Exception as error:
        stage.say(f"The websockets client raises `{type(error).__name__}: {error}`")


@scenario("h2-allow-connect-off", h2_upgrade="UPGRADE")
def h2_allow_connect_off(stage):
    """UPGRADE, but the server sidecar's inbound listener has no allow_connect (the guide's `Istio < 1.12 returns 503`): a raw handshake, the websockets library, then the CLI: three requests."""
    stage.request(handshake())
    library_refusal(stage)
    stage.cli(lines=(), gap=0)


@scenario("h2-allow-connect-off-noretry", h2_upgrade="UPGRADE", retry="off")
def h2_allow_connect_off_noretry(stage):
    """As h2-allow-connect-off without Istio's default retry policy."""
    stage.request(handshake())


@scenario("h2-allow-connect-off-wire", tap=True, h2_upgrade="UPGRADE")
def h2_allow_connect_off_wire(stage):
    """As h2-allow-connect-off, one raw request, with the frames between the sidecars."""
    stage.request(handshake())


@scenario("h2-allow-connect-off-healthz", h2_upgrade="UPGRADE")
def h2_allow_connect_off_healthz(stage):
    """UPGRADE and allow_connect off: a plain GET is not touched by the refusal of CONNECT."""
    stage.request(HEALTHZ)


# ---------------------------------------------------------------- plain HTTP
@scenario("h1-healthz")
def h1_healthz(stage):
    """GET /healthz with DO_NOT_UPGRADE."""
    stage.request(HEALTHZ)


@scenario("h2-healthz", **HTTP2_HOP)
def h2_healthz(stage):
    """GET /healthz with UPGRADE."""
    stage.request(HEALTHZ)


@scenario("h2c-client-healthz")
def h2c_client_healthz(stage):
    """An application client that itself speaks HTTP/2 (prior knowledge), GET /healthz, DO_NOT_UPGRADE: the outbound codec is AUTO."""
    client = H2Client(dial(stage.options.outbound))
    headers = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/healthz"),
        (":authority", AUTHORITY),
        ("user-agent", "h2-client"),
    ]
    client.request(headers, end=True)
    stage.say("HTTP/2 client saw:")
    stage.show("\n".join(client.pump("END_STREAM")))


@scenario("h1-keepalive-two-requests")
def h1_keepalive_two_requests(stage):
    """GET /healthz and then the WebSocket handshake on the same client connection."""
    sock = dial(stage.options.outbound)
    sock.sendall(HEALTHZ.replace(b"Connection: close\r\n", b""))
    time.sleep(0.3)
    get_response = sock.recv(65536)
    sock.sendall(handshake())
    head, _ = read_head(sock)
    sock.sendall(text("hello"))
    sock.settimeout(2)
    echo = sock.recv(100)
    sock.sendall(CLOSE_FRAME)
    received, end = read_all(sock)
    stage.say("Response to GET:")
    stage.show(get_response)
    stage.say("Response to the handshake:")
    stage.show(head)
    stage.say(f"Echo frame {echo.hex(' ')}, close frame {received.hex(' ')}, then {end}")


# ---------------------------------------------------------------- disconnects
WAYS_TO_LEAVE = {
    "rst": "TCP RST",
    "close": "close(), i.e. FIN",
    "half": "half close, shutdown of its sending side, and waits for an answer",
}


def open_and_echo(stage):
    """A raw session on which `hello` has been echoed; returns the socket, the status line and the echo in hexadecimal."""
    sock, head = stage.open_session()
    sock.sendall(text("hello"))
    sock.settimeout(2)
    echo = sock.recv(100)
    return sock, head.split(b"\r")[0].decode(), echo.hex(" ")


def leave(stage, way):
    """The client leaves an open session in one of WAYS_TO_LEAVE."""
    sock, status, echo = open_and_echo(stage)
    stage.say(f"Handshake answered `{status}`; sent `hello`, echo {echo}")
    if way == "rst":
        reset(sock)
        stage.say("then the client reset the connection (RST, no close frame)")
    elif way == "close":
        sock.close()
        stage.say("then the client closed the socket (FIN, no close frame)")
    else:
        sock.shutdown(socket.SHUT_WR)
        received, end = read_all(sock, 2)
        stage.say(f"then shutdown(SHUT_WR) and kept reading: received {received.hex(' ') or 'nothing'}, {end}")
        sock.close()
    time.sleep(0.6)


for hop, options in HOPS:
    for way, meaning in WAYS_TO_LEAVE.items():

        def client_leaves(stage, way=way):
            leave(stage, way)

        client_leaves.__doc__ = f"The client goes away without a close frame: {meaning}. Hop: {hop}."
        scenario(f"{hop}-client-{way}", **options)(client_leaves)


def interrupted(stage, interrupt):
    """An open session is interrupted by `interrupt`; the client only reads."""
    sock, _, echo = open_and_echo(stage)
    stage.say(f"Session open, `hello` echoed ({echo})")
    interrupt(stage)
    received, end = read_all(sock, 14)
    reason = received[2:].decode("latin1") if received[:1] == b"\x88" else "-"
    stage.say(f"The client then received {received.hex(' ') or 'nothing'} ({reason}), {end}")
    sock.close()


def kill_application(stage):
    stage.app.kill()
    stage.say("kill -9 of the application")


def terminate_application(stage):
    stage.app.terminate()
    stage.say("SIGTERM to the application (it waits up to 10 s for the close frame the raw client never sends)")


def stop_sidecar(side, number):
    def interrupt(stage):
        stage.pair.stop_one(side, number)
        stage.say(f"{number.name} to the {side} sidecar")

    return interrupt


@scenario("h1-app-killed")
def h1_app_killed(stage):
    """kill -9 of the application server in mid-session, HTTP/1.1 hop."""
    interrupted(stage, kill_application)


@scenario("h2-app-killed", **HTTP2_HOP)
def h2_app_killed(stage):
    """kill -9 of the application server in mid-session, HTTP/2 hop."""
    interrupted(stage, kill_application)


@scenario("h2-app-sigterm", **HTTP2_HOP)
def h2_app_sigterm(stage):
    """SIGTERM to the application: websockets closes with 1001."""
    interrupted(stage, terminate_application)


@scenario("h2-server-sidecar-killed", **HTTP2_HOP)
def h2_server_sidecar_killed(stage):
    """kill -9 of the server sidecar in mid-session, HTTP/2 hop (a killed Envoy writes no access log)."""
    interrupted(stage, stop_sidecar("server", signal.SIGKILL))


@scenario("h1-server-sidecar-killed")
def h1_server_sidecar_killed(stage):
    """kill -9 of the server sidecar in mid-session, HTTP/1.1 hop."""
    interrupted(stage, stop_sidecar("server", signal.SIGKILL))


@scenario("h2-server-sidecar-sigterm", **HTTP2_HOP)
def h2_server_sidecar_sigterm(stage):
    """SIGTERM of the server sidecar in mid-session, HTTP/2 hop."""
    interrupted(stage, stop_sidecar("server", signal.SIGTERM))


@scenario("h1-server-sidecar-sigterm")
def h1_server_sidecar_sigterm(stage):
    """SIGTERM of the server sidecar in mid-session, HTTP/1.1 hop."""
    interrupted(stage, stop_sidecar("server", signal.SIGTERM))


def drained(stage):
    """The server sidecar is drained while a session is open; new sessions are tried at 1, 3 and 6.5 s."""
    sock, _, _ = open_and_echo(stage)
    stage.say(
        "Session open and `hello` echoed; then `POST /drain_listeners?inboundonly&graceful` on the server sidecar's "
        "admin port (drain time 5 s)"
    )
    stage.pair.admin("server", "/drain_listeners?inboundonly&graceful", "POST")
    for pause, moment in ((1, 1), (2, 3), (3.5, 6.5)):
        time.sleep(pause)
        try:
            sock.sendall(text("alive"))
            echo = sock.recv(100)
            stage.say(f"- {moment} s later: `alive` -> {echo.hex(' ') or 'FIN'}")
        except OSError as error:
            stage.say(f"- {moment} s later: {type(error).__name__}")
            break
        try:
            with stage.connect(compression=None) as session:
                session.send("new")
                stage.say(f"- {moment} s later a new session: {session.recv()!r}")
        except Exception as error:
            stage.say(f"- {moment} s later a new session: {type(error).__name__}: {error}")
    with contextlib.suppress(OSError):
        sock.sendall(CLOSE_FRAME)
        received, end = read_all(sock)
        stage.say(f"- close frame sent -> {received.hex(' ')} {end}")


@scenario("h2-server-sidecar-drained", **HTTP2_HOP)
def h2_server_sidecar_drained(stage):
    """Graceful drain of the server sidecar's inbound listener in mid-session, HTTP/2 hop."""
    drained(stage)


# ---------------------------------------------------------------- upstream failures
def silent(seconds):
    """An application that accepts and never answers."""
    return lambda connection, head: time.sleep(seconds)


for hop, options in HOPS:

    def not_listening(stage):
        stage.request(handshake(), silence=3)

    not_listening.__doc__ = f"No application listens (connection refused): a WebSocket handshake. Hop: {hop}."
    scenario(f"{hop}-app-not-listening", app=None, **options)(not_listening)

    def not_listening_noretry(stage):
        stage.request(handshake(), silence=3)

    not_listening_noretry.__doc__ = (
        f"As {hop}-app-not-listening without the retry policies (an Istio whose inbound route has no retry)."
    )
    scenario(
        f"{hop}-app-not-listening-noretry",
        app=None,
        sidecar_cannot="no document turns off the inbound route's retry",
        retry="off",
        **options,
    )(not_listening_noretry)

    def sidecar_down(stage):
        stage.pair.stop_one("server")
        stage.say("The server sidecar is stopped first.")
        stage.request(handshake(), silence=3)

    sidecar_down.__doc__ = f"The server sidecar itself is not listening. Hop: {hop}."
    scenario(f"{hop}-server-sidecar-down", **options)(sidecar_down)

    def closes_silently(stage):
        stage.serve(lambda connection, head: None)
        stage.request(handshake(), silence=4)

    closes_silently.__doc__ = f"The application accepts, reads the handshake and closes without an answer. Hop: {hop}."
    scenario(f"{hop}-app-closes-silently", app=None, **options)(closes_silently)

    def client_gives_up(stage):
        stage.serve(silent(3))
        sock = dial(stage.options.outbound)
        sock.sendall(handshake())
        time.sleep(0.5)
        sock.close()
        stage.say("The application never answers; the client closes after 0.5 s.")
        time.sleep(0.5)

    client_gives_up.__doc__ = f"The client gives up before the handshake is answered. Hop: {hop}."
    scenario(f"{hop}-client-gives-up", app=None, **options)(client_gives_up)


@scenario("h2-route-timeout", app=None, route_timeout="1s", **HTTP2_HOP)
def h2_route_timeout(stage):
    """A VirtualService timeout of 1 s on the outbound route and an application that never answers the handshake."""
    stage.serve(silent(4))
    stage.request(handshake(), silence=3)


# ---------------------------------------------------------------- handshake outcomes
REFUSALS = {
    "403": response("403 Forbidden", "forbidden by app\n"),
    "404": response("404 Not Found", "no such room\n"),
    "426": response("426 Upgrade Required", "version?\n", "Sec-WebSocket-Version: 13\r\n"),
    "200": response("200 OK", "not a websocket\n"),
    "503": response("503 Service Unavailable", "overloaded app\n"),
}
for status, refusal in REFUSALS.items():
    for hop, options in HOPS:

        def application_refuses(stage, refusal=refusal):
            stage.serve(answer(refusal))
            stage.request(handshake(), silence=1.5)
            library_refusal(stage)

        application_refuses.__doc__ = (
            f"The application answers the handshake with {status}"
            + (" and a body, not 101" if status == "200" else "")
            + f". A raw handshake, then the websockets client. Hop: {hop}."
        )
        scenario(f"{hop}-app-{status}", app=None, **options)(application_refuses)


@scenario("h2-bad-key", **HTTP2_HOP)
def h2_bad_key(stage):
    """Sec-WebSocket-Key missing; then present but not 16 bytes of base64. The real websockets server answers. Hop: h2."""
    bad_key(stage)


def bad_key(stage):
    stage.request(handshake(drop=["Sec-WebSocket-Key"]), silence=1.5)
    stage.request(handshake(extra=[("Sec-WebSocket-Key", "short")]), silence=1.5)


UPGRADE_TOKENS = ("h2c", "foo", "WebSocket", "websocket, foo")


@scenario("h1-upgrade-kinds")
def h1_upgrade_kinds(stage):
    """Upgrade tokens: h2c, an unknown one, `WebSocket` in other letter case, a list; one request each, in this order."""
    for token in UPGRADE_TOKENS:
        stage.request(handshake(upgrade=token), silence=0.8)


@scenario("h1-no-upgrades-configured", upgrades="")
def h1_no_upgrades_configured(stage):
    """The HCM has no upgrade_configs at all (not Istio's configuration): what Envoy does with a WebSocket handshake."""
    stage.request(handshake(), silence=0.8)


@scenario("h1-odd-connection-headers")
def h1_odd_connection_headers(stage):
    """`Upgrade: websocket` without a Connection field; Connection: keep-alive, Upgrade; Connection: Upgrade without Upgrade."""
    stage.request(handshake(drop=["Connection"]), silence=0.8)
    stage.request(handshake(extra=[("Connection", "keep-alive, Upgrade")]), silence=0.8)
    stage.request(handshake(drop=["Upgrade"]), silence=0.8)


@scenario("h1-post-and-body")
def h1_post_and_body(stage):
    """A handshake sent as POST; a GET handshake with Content-Length: 5 and a body; with Content-Length: 0 (HTTP/1.1 hop)."""
    stage.request(handshake(method="POST"), silence=0.8)
    stage.request(handshake(extra=[("Content-Length", "5")]) + b"abcde", silence=0.8)
    stage.request(handshake(extra=[("Content-Length", "0")]), silence=0.8)


for hop, options in HOPS:

    def early_frames(stage):
        sock = dial(stage.options.outbound)
        sock.sendall(handshake() + text("early") + CLOSE_FRAME)
        received, end = read_all(sock, 4)
        stage.say(f"Client sent the handshake, a text frame `early` and a close frame in one write; received ({end}):")
        stage.show(received)

    early_frames.__doc__ = f"The client does not wait for 101 before it sends frames. Hop: {hop}."
    scenario(f"{hop}-early-frames", **options)(early_frames)


def send_and_linger(data):
    """An application that answers with `data` and closes 0.2 s later."""

    def handler(connection, head):
        connection.sendall(data)
        time.sleep(0.2)

    return handler


@scenario("h2-server-speaks-first", app=None, **HTTP2_HOP)
def h2_server_speaks_first(stage):
    """The application sends a frame in the same write as its 101, then closes."""
    stage.serve(send_and_linger(SWITCHING_PROTOCOLS + b"X-App: yes\r\n\r\n\x81\x07welcome\x88\x02\x03\xe8"))
    stage.request(handshake(), silence=4)


@scenario("h2-subprotocol", app=None, **HTTP2_HOP)
def h2_subprotocol(stage):
    """Sec-WebSocket-Protocol, Origin, Cookie, Authorization, X-Forwarded-For, X-Request-Id and an own header given by the client; what the application receives and what the client gets back."""
    fields = b"Sec-WebSocket-Protocol: chat\r\nServer: myapp\r\nSet-Cookie: a=b\r\n\r\n"
    app = stage.serve(send_and_linger(SWITCHING_PROTOCOLS + fields))
    extra = [
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Origin", "http://example.com"),
        ("Cookie", "s=1"),
        ("Authorization", "Bearer x"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Request-Id", "my-own-id"),
        ("User-Agent", "raw"),
        ("X-Own", "Value"),
    ]
    stage.request(handshake("/chat?room=1", extra=extra), silence=4)
    stage.say("The application received:")
    stage.show(app.seen[0])


@scenario("h1-headers-seen-by-app", app=None)
def h1_headers_seen_by_app(stage):
    """HTTP/1.1 hop: what the application receives for a handshake and for a GET."""

    def handler(connection, head):
        is_upgrade = b"pgrade" in head
        connection.sendall(SWITCHING_PROTOCOLS + b"\r\n" if is_upgrade else response("200 OK", "OK\n"))
        time.sleep(0.2)

    app = stage.serve(handler)
    stage.request(handshake("/chat", extra=[("User-Agent", "raw")]), silence=4)
    stage.request(HEALTHZ, silence=4)
    for head in app.seen:
        stage.say("The application received:")
        stage.show(head)


# ---------------------------------------------------------------- routing
@scenario("passthrough-unknown-host", app=None)
def passthrough_unknown_host(stage):
    """An authority no Service has, outboundTrafficPolicy ALLOW_ANY: virtual host allow_any, PassthroughCluster (here one static host; in Istio the original destination). No server sidecar is involved."""
    server = EchoServer(stage.options.passthrough)
    try:
        with stage.connect(host="example.com:8080", compression=None) as session:
            session.send("hello")
            stage.say(f"- echo through the passthrough cluster: {session.recv()!r}")
    finally:
        server.stop()
    stage.request(handshake(host="example.com:8080"), silence=2)


@scenario("registry-only-unknown-host", outbound_policy="REGISTRY_ONLY")
def registry_only_unknown_host(stage):
    """An authority no Service has, outboundTrafficPolicy REGISTRY_ONLY: virtual host block_all, direct response 502."""
    stage.request(handshake(host="example.com:8080"), silence=1)
    stage.request(HEALTHZ.replace(AUTHORITY.encode(), b"example.com"), silence=1)


@scenario("no-route-404", outbound_policy="NO_CATCH_ALL")
def no_route_404(stage):
    """An authority that no virtual host matches and no catch-all: 404 NR."""
    stage.request(handshake(host="example.com:8080"), silence=1)
    stage.request(HEALTHZ.replace(AUTHORITY.encode(), b"example.com"), silence=1)


@scenario("authority-short-names", **HTTP2_HOP)
def authority_short_names(stage):
    """The short names of the Service, with and without port, all reach the same route; the authority is logged as sent."""
    authorities = (
        "websockets-server",
        "websockets-server:8080",
        "websockets-server.default",
        "websockets-server.default.svc:8080",
        stage.options.outbound,
        f"{HOST}:9999",
        "WEBSOCKETS-SERVER:8080",
    )
    for authority in authorities:
        sock = dial(stage.options.outbound)
        sock.sendall(handshake(host=authority))
        head, _ = read_head(sock)
        stage.say(f"- Host `{authority}` -> `{head.splitlines()[0].decode() if head else 'closed'}`")
        with contextlib.suppress(OSError):
            sock.sendall(CLOSE_FRAME)
            read_all(sock, 1)
        sock.close()
        time.sleep(0.1)


# ---------------------------------------------------------------- volume
def one_message(stage, size):
    """One binary message of `size` bytes, echoed."""
    data = os.urandom(size)
    with stage.connect(compression=None) as session:
        session.send(data)
        echo = session.recv()
    verdict = "equal" if echo == data else "DIFFERENT"
    stage.say(f"One binary message of {size} bytes echoed: {verdict}; {len(data)} bytes each way")


@scenario("h1-message-1mib")
def h1_message_1mib(stage):
    """One 1 MiB binary message, echoed, HTTP/1.1 hop, no compression."""
    one_message(stage, 1 << 20)


@scenario("h2-message-1mib", **HTTP2_HOP)
def h2_message_1mib(stage):
    """One 1 MiB binary message, echoed, HTTP/2 hop, no compression."""
    one_message(stage, 1 << 20)


@scenario("h2-thousand-messages", **HTTP2_HOP)
def h2_thousand_messages(stage):
    """1,000 messages of 10 to 13 bytes, each echoed, HTTP/2 hop, no compression."""
    sent = 0
    with stage.connect(compression=None) as session:
        for number in range(1000):
            message = f"message {number:02d}"
            session.send(message)
            if session.recv() != message:
                raise AssertionError(f"{message} was not echoed")
            sent += len(message)
    stage.say(
        f"1,000 messages, {sent} bytes of text each way; expected bytes_sent = {sent} + 1000*2 + 4 = {sent + 2004}, "
        f"expected bytes_received = {sent} + 1000*6 + 8 = {sent + 6008}"
    )


def many_sessions(stage, count):
    """`count` sessions open at the same time, one message each, all closed together."""
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(stage.connect(compression=None)) for _ in range(count)]
        for number, session in enumerate(sessions):
            session.send(f"m{number:02d}")
            if session.recv() != f"m{number:02d}":
                raise AssertionError(f"session {number}: no echo")
        stage.say(f"{count} sessions open at the same time. Client sidecar counters while open:")
        stage.show(
            stage.counters(
                "client",
                r"outbound\|8080.*(upstream_cx_(total|active|http1_total|http2_total)|upstream_rq_(active|total)"
                r"|http2.streams_active)$|downstream_cx_upgrades",
            )
        )
        stage.say("Server sidecar counters while open:")
        stage.show(
            stage.counters(
                "server",
                r"inbound.*(downstream_cx_(total|active|http1_total|http2_total|upgrades_total|upgrades_active)"
                r"|downstream_rq_active|upstream_cx_(total|active|http1_total))$|http2.streams_active",
            )
        )
        closers = [threading.Thread(target=session.close) for session in sessions]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()
    for side in ("client", "server"):
        stage.wait_for_lines(side, count)
    lines = {side: [json.loads(line) for line in stage.pair.logs(side).splitlines()] for side in ("client", "server")}
    for key in ("upstream_local_address", "downstream_remote_address"):
        distinct = {side: len({line[key] for line in lines[side]}) for side in lines}
        stage.say(f"- distinct {key}: client sidecar {distinct['client']}, server sidecar {distinct['server']}")
    stage.say(f"- lines: client {len(lines['client'])}, server {len(lines['server'])}")


@scenario("h2-fifty-sessions", **HTTP2_HOP)
def h2_fifty_sessions(stage):
    """50 sessions at once, HTTP/2 hop."""
    many_sessions(stage, 50)


@scenario("h2-max-concurrent-streams", max_concurrent_streams=5, **HTTP2_HOP)
def h2_max_concurrent_streams(stage):
    """The server sidecar announces MAX_CONCURRENT_STREAMS=5 and 12 sessions are open at once."""
    many_sessions(stage, 12)


# ---------------------------------------------------------------- timers
def left_idle(stage):
    """A session is left idle after one echo."""
    sock, _, _ = open_and_echo(stage)
    start = time.time()
    received, end = read_all(sock, 4)
    stage.say(f"hello echoed, then idle: after {time.time() - start:.1f} s the client received {received!r}, {end}")


@scenario("h1-stream-idle-timeout", stream_idle_timeout="1s")
def h1_stream_idle_timeout(stage):
    """stream_idle_timeout of 1 s on both sidecars (Istio has 0 s, i.e. off), HTTP/1.1 hop; the session is left idle. The two timers race: in this recording or another the second proxy may log DC instead of SI."""
    left_idle(stage)


@scenario("h2-server-stream-idle-timeout", server_stream_idle_timeout="1s", **HTTP2_HOP)
def h2_server_stream_idle_timeout(stage):
    """stream_idle_timeout of 1 s on the server sidecar only, HTTP/2 hop."""
    left_idle(stage)


@scenario("h1-idle-session", app="ws-ping=none")
def h1_idle_session(stage):
    """Istio's default (stream idle timeout off): a session idle for 6.5 s, no pings, lives; duration shows the whole time."""
    sock, _ = stage.open_session()
    time.sleep(6.5)
    sock.sendall(text("hello"))
    echo = sock.recv(100)
    stage.say(f"after 6.5 s idle `hello` -> {echo.hex(' ')}")
    sock.sendall(CLOSE_FRAME)
    read_all(sock)


# ---------------------------------------------------------------- RFC 8441 spoken directly
WITH_KEY = extended_connect(extra=[("sec-websocket-key", SAMPLE_KEY)])


def extended_connect_session(stage, address, headers, end="close"):
    """An RFC 8441 client: hello, then the end of the session in one of several ways."""
    client = H2Client(dial(address))
    stream = client.request(headers)
    client.pump("HEADERS", 1.5)
    if any(":status: 200" in line for line in client.lines):
        client.connection.send_data(stream, text("hello"))
        client.flush()
        client.pump("DATA", 1.0)
        if end == "close":
            client.connection.send_data(stream, CLOSE_FRAME)
            client.flush()
            client.pump("END_STREAM", 1.5)
        elif end == "end_stream":
            client.connection.end_stream(stream)
            client.flush()
            client.pump(timeout=1.5)
    else:
        client.pump(timeout=0.5)
    stage.say("HTTP/2 client sent:")
    stage.show("\n".join(f"{name}: {value}" for name, value in headers))
    stage.say("and saw:")
    stage.show("\n".join(client.lines))
    client.sock.close()


@scenario("rfc8441-to-inbound", **HTTP2_HOP)
def rfc8441_to_inbound(stage):
    """An RFC 8441 client (no Sec-WebSocket-Key: the RFC drops it) straight to the inbound listener with allow_connect on: the python server is asked for a handshake without a key."""
    extended_connect_session(stage, stage.options.inbound, extended_connect())


@scenario("rfc8441-to-inbound-with-key", **HTTP2_HOP)
def rfc8441_to_inbound_with_key(stage):
    """As rfc8441-to-inbound with a sec-websocket-key as Envoy sends it: hello and a close frame; then a stream ended with END_STREAM and no close frame."""
    extended_connect_session(stage, stage.options.inbound, WITH_KEY)
    extended_connect_session(stage, stage.options.inbound, WITH_KEY, end="end_stream")


@scenario("rfc8441-to-inbound-off", allow_connect="off")
def rfc8441_to_inbound_off(stage):
    """The RFC 8441 client straight to the inbound listener with allow_connect off."""
    extended_connect_session(stage, stage.options.inbound, WITH_KEY)


@scenario("rfc8441-to-outbound", **HTTP2_HOP)
def rfc8441_to_outbound(stage):
    """The RFC 8441 client to the outbound listener (Istio sets no allow_connect there)."""
    extended_connect_session(stage, stage.options.outbound, WITH_KEY)


@scenario("rfc8441-to-outbound-allowed", outbound_allow_connect="on", **HTTP2_HOP)
def rfc8441_to_outbound_allowed(stage):
    """The RFC 8441 client to an outbound listener that has allow_connect on; HTTP/2 all the way to the server sidecar."""
    extended_connect_session(stage, stage.options.outbound, WITH_KEY)


@scenario("h1-direct-to-inbound", allow_connect="on")
def h1_direct_to_inbound(stage):
    """A client without a sidecar (PERMISSIVE mode): the HTTP/1.1 handshake straight to the inbound listener; allow_connect on makes no difference."""
    sock, head = stage.open_session(address=stage.options.inbound)
    stage.say("Client received:")
    stage.show(head)
    sock.sendall(text("hello"))
    sock.settimeout(2)
    echo = sock.recv(100)
    sock.sendall(CLOSE_FRAME)
    received, end = read_all(sock)
    stage.say(f"echo {echo.hex(' ')}, close {received.hex(' ')}, {end}")


# ---------------------------------------------------------------- on the wire between the sidecars
@scenario("wire-h2-session", tap=True, **HTTP2_HOP)
def wire_h2_session(stage):
    """The whole HTTP/2 hop of a hello session with permessage-deflate offered and a clean close."""
    echo_all(stage, ["hello"], "deflate")
    stage.say("hello echoed, closed with 1000")


@scenario("wire-h2-upstream-allow-connect", tap=True, upstream_allow_connect="on", **HTTP2_HOP)
def wire_h2_upstream_allow_connect(stage):
    """As wire-h2-session with allow_connect also in the client sidecar's cluster: only a SETTINGS entry differs."""
    echo_all(stage, ["hello"], None)


@scenario("wire-h2-healthz", tap=True, **HTTP2_HOP)
def wire_h2_healthz(stage):
    """The HTTP/2 hop of a plain GET /healthz."""
    stage.request(HEALTHZ, silence=1)


@scenario("wire-h2-app-403", tap=True, app=None, **HTTP2_HOP)
def wire_h2_app_403(stage):
    """The HTTP/2 hop of a handshake the application answers with 403."""
    stage.serve(answer(REFUSALS["403"]))
    stage.request(handshake(), silence=1)


@scenario("wire-h2-client-close", tap=True, **HTTP2_HOP)
def wire_h2_client_close(stage):
    """The HTTP/2 hop when the client closes its socket without a close frame."""
    leave(stage, "close")


@scenario("wire-h1-session", tap=True)
def wire_h1_session(stage):
    """The HTTP/1.1 hop of a hello session, no compression: raw bytes."""
    echo_all(stage, ["hello"], None)


# ---------------------------------------------------------------- a server sidecar that answers otherwise
FAKE_ANSWERS = {
    "refused-stream": (
        "RST_STREAM REFUSED_STREAM",
        lambda connection, stream: connection.reset_stream(stream, 7),
    ),
    "protocol-error": (
        "RST_STREAM PROTOCOL_ERROR (what Istio < 1.12's Envoy answered)",
        lambda connection, stream: connection.reset_stream(stream, 1),
    ),
}
for fake, (meaning, act) in FAKE_ANSWERS.items():

    def fake_server(stage, act=act):
        stage.pair.stop_one("server")
        time.sleep(0.1)
        sidecar = FakeSidecar(stage.options.inbound, act)
        stage.request(handshake(), silence=3)
        stage.say(f"- the fake server sidecar received the request {sidecar.requests} time(s)")
        sidecar.stop()

    fake_server.__doc__ = (
        "A fake server sidecar (python h2, ENABLE_CONNECT_PROTOCOL not announced) answers the extended CONNECT with "
        f"{meaning}. Only the client sidecar logs."
    )
    scenario(f"fake-server-{fake}", app=None, **HTTP2_HOP)(fake_server)


@scenario("wire-h2-server-sidecar-drained", tap=True, **HTTP2_HOP)
def wire_h2_server_sidecar_drained(stage):
    """h2-server-sidecar-drained with the frames. Beware: after the listener has closed, the relay accepts and then closes, so the last new session shows UC here where the scenario without the relay shows the refused connection."""
    drained(stage)


@scenario("h2-app-not-listening-healthz", app=None, **HTTP2_HOP)
def h2_app_not_listening_healthz(stage):
    """No application listens: a plain GET (compare upstream_service_time with the WebSocket case)."""
    stage.request(HEALTHZ, silence=3)
