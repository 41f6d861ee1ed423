"""The scenarios: what is done to a gateway and a server sidecar.  The docstring of each says what it shows.

A scenario is run only if it has a folder `NN-name` among the recordings.
"""

import contextlib
import socket
import ssl
import threading
import time

from envoy_gateway import DESTINATION, HTTP_SERVER, HTTPS_SERVER, WEB_HOST
from gateway_stage import H2Client, dial, extended_connect, first_line, get, h2_get, handshake, scenario
from stage import CLOSE_FRAME, HTTP2_HOP, SAMPLE_KEY, answer, read_all, reset, response, text

HOPS = (("h1", {}), ("h2", HTTP2_HOP))
KEY = [("sec-websocket-key", SAMPLE_KEY)]
TLS = {"servers": [HTTPS_SERVER]}
CONNECT_AT_GATEWAY = {"hcm_merge": {"http2_protocol_options": {"allow_connect": True}}}
# what Firefox and Chrome add to an extended CONNECT
BROWSER = [
    ("origin", f"https://{WEB_HOST}"),
    ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cache-control", "no-cache"),
]
SWITCHING_PROTOCOLS = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def route(**more):
    return {**more, "route": [DESTINATION]}


def echo_all(session, messages=("hello", "world")):
    for message in messages:
        session.send(message)
        if session.recv() != message:
            raise AssertionError(f"{message} was not echoed")


def what_the_application_saw(stage, count=1):
    for head in stage.app.seen[:count]:
        stage.say("The application received:")
        stage.show(head)


def accepts_or_answers(connection, head):
    """A scripted application: 101 to a WebSocket handshake, 200 to all else; then it closes."""
    is_websocket = b"upgrade: websocket" in head.lower()
    connection.sendall(SWITCHING_PROTOCOLS if is_websocket else response("200 OK", "OK\n"))
    time.sleep(0.2)


# ---------------------------------------------------------------- the plain session
for hop, options in HOPS:

    def hello_plain(stage):
        stage.hello(None)

    hello_plain.__doc__ = f"HTTP/1.1 client, hello/world echo and a clean close 1000, no compression. Hop: {hop}."
    scenario(f"{hop}-hello-plain", **options)(hello_plain)

    def hello_deflate(stage):
        stage.hello("deflate")

    hello_deflate.__doc__ = f"As {hop}-hello-plain with permessage-deflate. Hop: {hop}."
    scenario(f"{hop}-hello-deflate", **options)(hello_deflate)

    def mtls_hello(stage):
        stage.hello("deflate")

    mtls_hello.__doc__ = (
        f"hello/world with mutual TLS between gateway and sidecar, SPIFFE certificates. Hop: {hop}. The gateway's identity is its own service account."
    )
    scenario(f"{hop}-mtls-hello", mtls=True, **options)(mtls_hello)

    def healthz(stage):
        stage.request(get())

    healthz.__doc__ = f"GET /healthz. Hop: {hop}."
    scenario(f"{hop}-healthz", **options)(healthz)


@scenario("h2-allow-connect-off", h2_upgrade="UPGRADE")
def h2_allow_connect_off(stage):
    """UPGRADE, but no allow_connect at the server sidecar: the gateway answers 503 after a second, as a client sidecar does."""
    stage.request(handshake(), silence=3)


@scenario("h2-hello-text-log", log_encoding="TEXT", **HTTP2_HOP)
def h2_hello_text_log(stage):
    """The session with Istio's default TEXT access log on both proxies."""
    stage.hello("deflate")


# ---------------------------------------------------------------- headers at the edge
SPOOFED = [
    ("User-Agent", "raw"),
    ("Origin", "http://elsewhere.example"),
    ("X-Forwarded-For", "192.0.2.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "other.example"),
    ("X-Forwarded-Client-Cert", "By=spiffe://evil;URI=spiffe://evil"),
    ("X-Request-Id", "my-own-id"),
    ("X-Envoy-External-Address", "192.0.2.8"),
    ("X-Envoy-Internal", "true"),
    ("X-Envoy-Decorator-Operation", "mine"),
    ("X-Envoy-Original-Path", "/mine"),
    ("X-Envoy-Downstream-Service-Cluster", "mine"),
    ("X-Envoy-Downstream-Service-Node", "mine"),
    ("X-Envoy-Upstream-Rq-Timeout-Ms", "1"),
    ("X-Envoy-Max-Retries", "9"),
    ("X-Envoy-Retry-On", "5xx"),
    ("X-Envoy-Force-Trace", "true"),
    ("X-Envoy-Attempt-Count", "7"),
    ("X-Envoy-Peer-Metadata-Id", "mine"),
    ("X-Own", "Value"),
]
for hop, options in HOPS:

    def edge_headers(stage):
        stage.serve(accepts_or_answers)
        stage.request(handshake("/chat?room=1", extra=SPOOFED), silence=3)
        stage.request(get("/page"), silence=3)
        what_the_application_saw(stage, 2)

    edge_headers.__doc__ = (
        f"A client that sends x-forwarded-*, x-request-id and x-envoy-* of its own, then a plain GET without them: what the application receives. Hop: {hop}."
    )
    scenario(f"{hop}-edge-headers", app=None, **options)(edge_headers)


REDIRECTING = [{**HTTP_SERVER, "tls": {"httpsRedirect": True}}, HTTPS_SERVER]


@scenario("h1-tracing-headers", app=None, tap=True, tracing=True, sidecar_cannot="no document turns tracing on")
def h1_tracing_headers(stage):
    """Both HCMs have a tracing block without a provider, which is Istio's default (the other recordings have none): with it the gateway adds x-envoy-decorator-operation and the sidecar removes it."""
    stage.serve(accepts_or_answers)
    stage.request(handshake("/chat"), silence=3)
    what_the_application_saw(stage)


# ---------------------------------------------------------------- HTTP/2 clients
@scenario("h2c-client-healthz")
def h2c_client_healthz(stage):
    """An HTTP/2 client with prior knowledge on the plaintext port: GET /healthz; hop HTTP/1.1."""
    client = H2Client(stage.dial())
    client.request(h2_get(), end=True)
    stage.say("HTTP/2 client saw:")
    stage.show("\n".join(client.pump("END_STREAM")))
    client.sock.close()


@scenario("rfc8441-off", **HTTP2_HOP)
def rfc8441_off(stage):
    """Extended CONNECT to a gateway as Istio configures it, without allow_connect (the client ignores SETTINGS)."""
    stage.extended_connect(stage.dial(), extended_connect(extra=KEY))


for hop, options in HOPS:

    def no_key(stage):
        stage.extended_connect(stage.dial(), extended_connect())

    no_key.__doc__ = (
        f"RFC 8441 with allow_connect at the gateway by EnvoyFilter, the request as the RFC wants it, without sec-websocket-key: the Python server is asked for a handshake without a key. Hop: {hop}."
    )
    scenario(f"rfc8441-no-key-{hop}", **CONNECT_AT_GATEWAY, **options)(no_key)

    def with_key(stage):
        stage.extended_connect(stage.dial(), extended_connect(extra=KEY))

    with_key.__doc__ = f"As rfc8441-no-key-{hop} with a sec-websocket-key: hello and a close frame. Hop: {hop}."
    scenario(f"rfc8441-key-{hop}", **CONNECT_AT_GATEWAY, **options)(with_key)


@scenario("rfc8441-no-key-seen-by-app", app=None, **CONNECT_AT_GATEWAY)
def rfc8441_no_key_seen_by_app(stage):
    """What the application receives for an extended CONNECT of a browser, and an application that answers 101 although there is no key."""
    stage.serve(accepts_or_answers)
    stage.extended_connect(stage.dial(), extended_connect("/chat", extra=BROWSER), end="wait")
    what_the_application_saw(stage)


for status in ("200 OK", "403 Forbidden"):
    for hop, options in HOPS:

        def other_answer(stage, status=status):
            stage.serve(answer(response(status, "not a websocket\n")))
            stage.extended_connect(stage.dial(), extended_connect(extra=KEY), end="wait")
            stage.request(handshake(), silence=1.5)

        other_answer.__doc__ = (
            f"The application answers the handshake with {status} and a body: an RFC 8441 client, then an HTTP/1.1 client. Hop: {hop}."
        )
        scenario(f"rfc8441-app-{status[:3]}-{hop}", app=None, **CONNECT_AT_GATEWAY, **options)(other_answer)


# ---------------------------------------------------------------- TLS clients
@scenario("wss-h1-hello", **TLS)
def wss_h1_hello(stage):
    """wss:// with ALPN http/1.1, as a WebSocket library or a browser's second connection; hop HTTP/1.1."""
    with stage.connect_tls() as session:
        echo_all(session)
    stage.say("hello and world echoed, closed with 1000")


@scenario("wss-h1-hello-h2-hop", **TLS, **HTTP2_HOP)
def wss_h1_hello_h2_hop(stage):
    """wss:// with ALPN http/1.1, hop HTTP/2."""
    with stage.connect_tls(compression="deflate") as session:
        echo_all(session)
    stage.say("hello and world echoed, closed with 1000")


@scenario("wss-browser-default", **TLS)
def wss_browser_default(stage):
    """What a browser does with Istio's configuration: it offers h2 and http/1.1 and gets h2, fetches a page, sees ENABLE_CONNECT_PROTOCOL=0, and opens a second connection with ALPN http/1.1 for the WebSocket."""
    sock = stage.dial_tls(["h2", "http/1.1"])
    stage.say(f"ALPN h2, http/1.1 offered, `{sock.selected_alpn_protocol()}` selected")
    client = H2Client(sock)
    client.request(h2_get(scheme="https"), end=True)
    stage.say("HTTP/2 client saw:")
    stage.show("\n".join(client.pump("END_STREAM")))
    with stage.connect_tls(compression="deflate") as session:
        echo_all(session)
    stage.say("Second connection, ALPN http/1.1: hello and world echoed, closed with 1000")
    client.sock.close()
    time.sleep(0.2)


@scenario("wss-rfc8441-off", **TLS)
def wss_rfc8441_off(stage):
    """Extended CONNECT over TLS to a gateway without allow_connect."""
    stage.extended_connect(stage.dial_tls(["h2", "http/1.1"]), extended_connect(scheme="https", extra=BROWSER))


for hop, options in HOPS:

    def browser(stage):
        fields = extended_connect(scheme="https", extra=BROWSER)
        stage.extended_connect(stage.dial_tls(["h2", "http/1.1"]), fields)

    browser.__doc__ = (
        f"allow_connect at the gateway by EnvoyFilter: a browser now uses extended CONNECT, without a key; the Python server refuses. Hop: {hop}."
    )
    scenario(f"wss-rfc8441-browser-{hop}", **TLS, **CONNECT_AT_GATEWAY, **options)(browser)

    def with_key_tls(stage):
        fields = extended_connect(scheme="https", extra=KEY)
        stage.extended_connect(stage.dial_tls(["h2", "http/1.1"]), fields)

    with_key_tls.__doc__ = f"As wss-rfc8441-browser-{hop} with a sec-websocket-key: the session works. Hop: {hop}."
    scenario(f"wss-rfc8441-key-{hop}", **TLS, **CONNECT_AT_GATEWAY, **options)(with_key_tls)


@scenario("wss-unknown-sni", **TLS)
def wss_unknown_sni(stage):
    """TLS with a server name that no Gateway server has: no filter chain; the listener's own access log has the line."""
    for name in ("other.example.org", None):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock = dial(stage.options.https_listen)
        try:
            context.wrap_socket(sock, server_hostname=name)
            stage.say(f"SNI {name}: accepted")
        except OSError as error:
            closed = isinstance(error, (ssl.SSLEOFError, ConnectionResetError))
            stage.say(f"SNI {name}: {'closed in the TLS handshake' if closed else error}")
        sock.close()
        time.sleep(0.2)


@scenario("https-redirect", servers=REDIRECTING, http=[route(name="chat", match=[{"uri": {"prefix": "/chat"}}])])
def https_redirect(stage):
    """httpsRedirect on port 80: 301 for a WebSocket, for a path without a route, for an authority with port (which stays in Location), and for a client that claims X-Forwarded-Proto: https; an unknown host is 404; wss:// on 443 works."""
    stage.request(handshake("/chat?room=1"), silence=1.5)
    stage.request(get("/page"), silence=1.5)
    stage.request(handshake("/chat", host=f"{WEB_HOST}:80"), silence=1.5)
    stage.request(handshake("/chat", extra=[("X-Forwarded-Proto", "https")]), silence=1.5)
    stage.request(handshake("/chat", host="other.example.org"), silence=1.5)
    with stage.connect_tls(path="/chat") as session:
        echo_all(session)
    stage.say("wss://: hello and world echoed, closed with 1000")


# ---------------------------------------------------------------- hosts
@scenario("unknown-host")
def unknown_host(stage):
    """Hosts that no server and VirtualService have: 404 NR, for a handshake and for a GET; also the Service's own names, which a sidecar would know."""
    stage.request(handshake(host="other.example.org"), silence=1.5)
    for host in ("websockets-server", "websockets-server.default.svc.cluster.local:8080", stage.options.http_listen):
        stage.say(f"- Host `{host}` -> `{stage.status_of(get(host=host))}`")


@scenario("authority-with-port", **HTTP2_HOP)
def authority_with_port(stage):
    """The authority's port (even one that is no number) and letter case do not matter for the route, and it is logged and passed on as sent; a trailing dot or an empty authority is 404; HTTP/1.0 is 426."""
    known = (WEB_HOST, f"{WEB_HOST}:80", f"{WEB_HOST}:8080", f"{WEB_HOST}:9999", f"{WEB_HOST}:abc", "WS.Example.COM:80")
    for authority in known:
        sock, head = stage.open_session(host=authority)
        stage.say(f"- Host `{authority}` -> `{first_line(head)}`")
        with contextlib.suppress(OSError):
            sock.sendall(CLOSE_FRAME)
            read_all(sock, 2)
        sock.close()
        time.sleep(0.1)
    for authority in (f"{WEB_HOST}.", ""):
        stage.say(f"- Host `{authority}` -> `{stage.status_of(handshake(host=authority))}`")
    stage.say(f"- HTTP/1.0 -> `{stage.status_of(handshake(version='HTTP/1.0'))}`")


@scenario("no-virtual-service", http=[])
def no_virtual_service(stage):
    """A Gateway to which no VirtualService is bound: everything is 404 NR."""
    stage.request(handshake(), silence=1.5)


@scenario("prefix-mismatch", http=[route(name="chat", match=[{"uri": {"prefix": "/chat"}}])])
def prefix_mismatch(stage):
    """A route for the prefix /chat only: / is 404 NR, /chat, /chat/x and (no path element is asked for) /chatter are routed."""
    stage.request(handshake("/"), silence=1.5)
    for path in ("/chat", "/chat/x?y=1", "/chatter", "/Chat"):
        stage.say(f"- {path} -> `{stage.status_of(handshake(path))}`")


REWRITES = [
    {**route(name="chat", match=[{"uri": {"prefix": "/ws/"}}]), "rewrite": {"uri": "/"}},
    {**route(name="regex", match=[{"uri": {"prefix": "/v"}}]), "rewrite": {"uriRegexRewrite": {"match": "^/v[0-9]+/(.*)", "rewrite": r"/api/\1"}}},
    {**route(name="authority", match=[{"uri": {"exact": "/host"}}]), "rewrite": {"authority": "inner.example"}},
]
for hop, options in HOPS:

    def rewrites(stage):
        stage.serve(accepts_or_answers)
        for path in ("/ws/room?x=1", "/v2/room", "/host"):
            sock, head = stage.open_session(path)
            stage.say(f"- {path} -> `{first_line(head)}`")
            read_all(sock, 3)
            sock.close()
        what_the_application_saw(stage, 3)

    rewrites.__doc__ = (
        f"Rewrites of a prefix, by a regular expression and of the authority: what the application receives and what both sides log as path and authority. Hop: {hop}."
    )
    scenario(f"{hop}-rewrite", app=None, http=REWRITES, **options)(rewrites)


@scenario(
    "redirect-and-direct-response",
    http=[
        {"name": "moved", "match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/new", "authority": "new.example.com", "redirectCode": 308}},
        {"name": "blocked", "match": [{"uri": {"prefix": "/blocked"}}], "directResponse": {"status": 451, "body": {"string": "not here\n"}}},
        route(name="rest"),
    ],
)
def redirect_and_direct_response(stage):
    """A VirtualService's redirect and directResponse answer a handshake."""
    stage.request(handshake("/old/x"), silence=1.5)
    stage.request(handshake("/blocked"), silence=1.5)


@scenario("upgrade-disabled-on-route", route_merge={"route": {"upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}]}})
def upgrade_disabled_on_route(stage):
    """An EnvoyFilter on the route disables the upgrade: 403; a GET is untouched."""
    stage.request(handshake(), silence=1.5)
    stage.request(get(), silence=1.5)


@scenario("route-timeout-open-session", http=[{**route(name="timed"), "timeout": "1s"}], **HTTP2_HOP)
def route_timeout_open_session(stage):
    """A route timeout of 1 s does not cut a session that is open; it lives for 2.5 s and closes cleanly."""
    sock = stage.open_and_echo()
    time.sleep(2.5)
    sock.sendall(text("alive"))
    stage.say(f"2.5 s later `alive` -> {sock.recv(100).hex(' ')}")
    sock.sendall(CLOSE_FRAME)
    received, end = read_all(sock)
    stage.say(f"close frame -> {received.hex(' ')}, {end}")


# ---------------------------------------------------------------- failures upstream
for hop, options in HOPS:

    def not_listening(stage):
        stage.request(handshake(), silence=3)

    not_listening.__doc__ = f"No application listens: the sidecar answers 503 (URX,UF), the gateway relays it. Hop: {hop}."
    scenario(f"{hop}-app-not-listening", app=None, **options)(not_listening)

    def sidecar_down(stage):
        stage.pair.stop_one("server")
        stage.say("The server sidecar is stopped first.")
        stage.request(handshake(), silence=3)

    sidecar_down.__doc__ = f"The server sidecar is not listening: 503 of the gateway after its retries. Hop: {hop}."
    scenario(f"{hop}-server-sidecar-down", **options)(sidecar_down)


    def gives_up(stage):
        stage.serve(lambda connection, head: time.sleep(3))
        sock = stage.dial()
        sock.sendall(handshake())
        time.sleep(0.5)
        sock.close()
        stage.say("The application never answers; the client closes after 0.5 s.")
        time.sleep(0.5)

    gives_up.__doc__ = f"The client gives up before the handshake is answered. Hop: {hop}."
    scenario(f"{hop}-client-gives-up", app=None, **options)(gives_up)

    def killed(stage):
        sock = stage.open_and_echo()
        stage.app.kill()
        received, end = read_all(sock, 4)
        stage.say(f"kill -9 of the application; the client received {received.hex(' ') or 'nothing'}, {end}")
        sock.close()

    killed.__doc__ = f"kill -9 of the application in mid-session. Hop: {hop}."
    scenario(f"{hop}-app-killed", **options)(killed)

    def sidecar_sigterm(stage):
        sock = stage.open_and_echo()
        stage.pair.stop_one("server")
        received, end = read_all(sock, 4)
        stage.say(f"SIGTERM to the server sidecar; the client received {received.hex(' ') or 'nothing'}, {end}")
        sock.close()

    sidecar_sigterm.__doc__ = f"SIGTERM to the server sidecar in mid-session. Hop: {hop}."
    scenario(f"{hop}-server-sidecar-sigterm", **options)(sidecar_sigterm)

    def gateway_sigterm(stage):
        sock = stage.open_and_echo()
        stage.pair.stop_one("gateway")
        received, end = read_all(sock, 4)
        stage.say(f"SIGTERM to the gateway; the client received {received.hex(' ') or 'nothing'}, {end}")
        sock.close()
        time.sleep(0.5)

    gateway_sigterm.__doc__ = f"SIGTERM to the gateway in mid-session. Hop: {hop}."
    scenario(f"{hop}-gateway-sigterm", **options)(gateway_sigterm)


    # ------------------------------------------------------------ the client leaves
    for way in ("rst", "close", "half"):

        def client_leaves(stage, way=way):
            sock = stage.open_and_echo()
            if way == "rst":
                reset(sock)
            elif way == "close":
                sock.close()
            else:
                sock.shutdown(socket.SHUT_WR)
                received, end = read_all(sock, 3)
                stage.say(f"after shutdown(SHUT_WR) the client received {received.hex(' ') or 'nothing'}, {end}")
                sock.close()
            time.sleep(0.6)

        meaning = {"rst": "TCP RST", "close": "FIN", "half": "half close, then waits"}[way]
        client_leaves.__doc__ = f"The client goes away without a close frame: {meaning}. Hop: {hop}."
        scenario(f"{hop}-client-{way}", **options)(client_leaves)

    # ------------------------------------------------------------ drains and timers
    def drained(stage):
        sock = stage.open_and_echo()
        stage.say("`POST /drain_listeners?graceful` on the gateway's admin port (drain time 5 s), as pilot-agent does for a gateway")
        stage.pair.admin("gateway", "/drain_listeners?graceful", "POST")
        for pause, moment in ((1, 1), (6, 7)):
            time.sleep(pause)
            sock.sendall(text("alive"))
            stage.say(f"- {moment} s later: `alive` -> {sock.recv(100).hex(' ') or 'FIN'}")
            try:
                with stage.connect(compression=None) as session:
                    session.send("new")
                    stage.say(f"- {moment} s later a new session: {session.recv()!r}")
            except OSError as error:
                stage.say(f"- {moment} s later a new session: {type(error).__name__}")
        sock.sendall(CLOSE_FRAME)
        received, end = read_all(sock, 3)
        stage.say(f"- close frame -> {received.hex(' ')} {end}")

    drained.__doc__ = f"Graceful drain of the gateway with a session open; new sessions are tried after 1 s and 7 s. Hop: {hop}."
    scenario(f"{hop}-gateway-drained", **options)(drained)

    def stream_idle(stage):
        sock = stage.open_and_echo()
        start = time.time()
        received, end = read_all(sock, 4)
        stage.say(f"then idle: after {time.time() - start:.1f} s the client received {received.hex(' ') or 'nothing'}, {end}")
        sock.close()
        time.sleep(0.3)

    stream_idle.__doc__ = f"stream_idle_timeout of 1 s at the gateway by EnvoyFilter (off by default, 5 min with the EDGE profile); the session is left idle. Hop: {hop}."
    scenario(f"{hop}-gateway-stream-idle-timeout", app="ws-ping=none", hcm_merge={"stream_idle_timeout": "1s"}, **options)(stream_idle)


@scenario("h1-idle-session", app="ws-ping=none")
def h1_idle_session(stage):
    """Istio's default: a session without traffic for 6.5 s lives on."""
    sock = stage.open_and_echo()
    time.sleep(6.5)
    sock.sendall(text("alive"))
    stage.say(f"after 6.5 s idle `alive` -> {sock.recv(100).hex(' ')}")
    sock.sendall(CLOSE_FRAME)
    read_all(sock)
    sock.close()


# ---------------------------------------------------------------- many, early, on the wire
@scenario("h2-fifty-sessions", **HTTP2_HOP)
def h2_fifty_sessions(stage):
    """50 sessions at once from 50 client connections: one HTTP/2 connection to the sidecar."""
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(stage.connect(compression=None)) for _ in range(50)]
        for number, session in enumerate(sessions):
            echo_all(session, [f"m{number:02d}"])
        closers = [threading.Thread(target=session.close) for session in sessions]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()
    for side in ("gateway", "server"):
        stage.wait_for_lines(side, 50)
    stage.say("50 sessions open at the same time, one message each, closed together")


@scenario("wire-h2-hop", tap=True, **HTTP2_HOP)
def wire_h2_hop(stage):
    """The HTTP/2 hop of a session from a plaintext HTTP/1.1 client."""
    with stage.connect(compression=None) as session:
        echo_all(session, ["hello"])
    stage.say("hello echoed, closed with 1000")


@scenario("wire-h2-hop-rfc8441", tap=True, **TLS, **CONNECT_AT_GATEWAY, **HTTP2_HOP)
def wire_h2_hop_rfc8441(stage):
    """The HTTP/2 hop of an extended CONNECT as a browser sends it over TLS."""
    stage.extended_connect(stage.dial_tls(["h2"]), extended_connect("/chat", scheme="https", extra=BROWSER))


@scenario("wire-h1-hop", tap=True)
def wire_h1_hop(stage):
    """The HTTP/1.1 hop of a session: raw bytes."""
    with stage.connect(compression=None) as session:
        echo_all(session, ["hello"])
    stage.say("hello echoed, closed with 1000")
