"""What a gateway scenario sees: `stage.Stage` with clients that come from an address of their own, over TLS if asked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time

from envoy_gateway import WEB_HOST  # first: it finds stage
import stage  # noqa: E402
from websockets.sync.client import connect as websocket_connect

SCENARIOS: list[stage.Scenario] = []
CLIENT_IP = ""  # set for each run: the source address of all clients


def scenario(name, app="ws", tap=False, sidecar_cannot="", **options):
    """Registers a scenario; see stage.scenario.  Options are fields of envoy_gateway.Options."""

    def register(function):
        SCENARIOS.append(stage.Scenario(name, function, app, tap, sidecar_cannot, options))
        return function

    return register


def dial(address, timeout=10):
    sock = socket.create_connection(stage.split_address(address), timeout=timeout, source_address=(CLIENT_IP, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


stage.dial = dial  # the clients of stage.py


def handshake(path="/", host=WEB_HOST, **rest):
    return stage.handshake(path, host, **rest)


def get(path="/healthz", host=WEB_HOST, extra=""):
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: raw\r\n{extra}Connection: close\r\n\r\n".encode()


def extended_connect(path="/", authority=WEB_HOST, scheme="http", extra=()):
    """The fields of an RFC 8441 request; a browser sends no sec-websocket-key."""
    fields = stage.extended_connect(path, authority, extra=extra)
    return [(name, scheme if name == ":scheme" else value) for name, value in fields]


def h2_get(path="/healthz", authority=WEB_HOST, scheme="http", extra=()):
    fields = {":method": "GET", ":scheme": scheme, ":path": path, ":authority": authority, "user-agent": "h2-client"}
    return [*fields.items(), *extra]


class H2Client(stage.H2Client):
    """stage.H2Client whose socket may be TLS, of which select() does not see what is decrypted already."""

    def pump(self, until=None, timeout=2.0):
        end = time.time() + timeout
        while (left := end - time.time()) > 0:
            if until and any(until in line for line in self.lines):
                break
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except socket.timeout:
                break
            except OSError as error:
                self.lines.append(f"TCP {type(error).__name__}")
                break
            if not data:
                self.lines.append("TCP FIN")
                break
            for event in self.connection.receive_data(data):
                self._note(event)
            self.flush()
        return self.lines

    def send(self, stream, data):
        self.connection.send_data(stream, data)
        self.flush()


class Stage(stage.Stage):
    """A running gateway and sidecar, the application, and a notebook."""

    # -- clients
    def dial(self):
        return dial(self.options.http_listen)

    def dial_tls(self, alpn=(), name=WEB_HOST):
        """A TLS connection to the gateway's HTTPS port."""
        context = ssl.create_default_context(cafile=self.pair.path("web-ca.crt"))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context.wrap_socket(dial(self.options.https_listen), server_hostname=name)

    def connect(self, path="/", compression="deflate", host=WEB_HOST):
        return websocket_connect(f"ws://{host}{path}", sock=self.dial(), compression=compression, max_size=None)

    def connect_tls(self, alpn=("http/1.1",), path="/", compression=None):
        """A session of the `websockets` library over TLS (wss)."""
        context = ssl.create_default_context(cafile=self.pair.path("web-ca.crt"))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        sock = dial(self.options.https_listen)
        return websocket_connect(f"wss://{WEB_HOST}{path}", sock=sock, ssl=context, compression=compression, max_size=None)

    def open_session(self, path="/", host=WEB_HOST, sock=None, extra=()):
        sock = sock or self.dial()
        sock.sendall(handshake(path, host, extra=extra))
        head, _ = stage.read_head(sock)
        return sock, head

    def open_and_echo(self, **how):
        """A raw session on which `hello` has been echoed."""
        sock, head = self.open_session(**how)
        sock.sendall(stage.text("hello"))
        sock.settimeout(3)
        echo = sock.recv(100)
        self.say(f"Handshake answered `{first_line(head)}`; sent `hello`, echo {echo.hex(' ')}")
        return sock

    def status_of(self, data):
        """Sends a request; returns the status line and the Location, and closes."""
        sock = self.dial()
        sock.sendall(data)
        head, _ = stage.read_head(sock)
        sock.close()
        time.sleep(0.1)
        return first_line(head) + "".join(
            f", {line}" for line in head.decode("latin1").split("\r\n") if line.lower().startswith("location:")
        )

    def extended_connect(self, sock, fields, end="close"):
        """An RFC 8441 client: hello and its echo if the request is accepted, then the end of the session; "wait": neither."""
        client = H2Client(sock)
        stream = client.request(fields)
        client.pump("HEADERS", 3)
        if end == "wait":
            client.pump(timeout=1)
        elif any(":status: 200" in line for line in client.lines):
            client.send(stream, stage.text("hello"))
            client.pump("DATA", 2)
            if end == "close":
                client.send(stream, stage.CLOSE_FRAME)
                client.pump("RST_STREAM", 1.5)
            elif end == "end_stream":
                client.connection.end_stream(stream)
                client.flush()
                client.pump(timeout=1.5)
            elif end == "reset":
                client.connection.reset_stream(stream, 8)
                client.flush()
                client.pump(timeout=0.5)
        else:
            client.pump(timeout=0.7)
        self.say("HTTP/2 client sent:")
        self.show("\n".join(f"{name}: {value}" for name, value in fields))
        self.say("and saw:")
        self.show("\n".join(client.lines))
        with contextlib.suppress(OSError):
            client.sock.close()


def first_line(head):
    return head.split(b"\r")[0].decode("latin1") if head else "closed"
