"""What a scenario puts around the two sidecars: applications, clients, a decoding relay, and the notes it takes.

`scenarios.py` registers functions with `@scenario(...)`; each gets a `Stage`, drives clients against the outbound
listener and writes down with `say` and `show` what the client saw.  `replay.py` runs them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Callable

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack
from hyperframe.frame import Frame
from websockets.sync.client import connect as websocket_connect

from pair import HOST, Options

AUTHORITY = f"{HOST}:8080"
SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HTTP2_HOP = {"h2_upgrade": "UPGRADE", "allow_connect": "on"}
RELAY = "127.0.10.5:8003"

APPLICATIONS = {
    "ws": (
        "the Python `websockets` echo server (permessage-deflate on, ping_interval 20 s) with the `/healthz` answer"
    ),
    None: "set up by the scenario (see below)",
}


# ---------------------------------------------------------------- registry
@dataclasses.dataclass
class Scenario:
    """One registered scenario."""

    name: str
    perform: Callable[["Stage"], None]
    application: str | None
    tap: bool
    sidecar_cannot: str
    options: dict

    @property
    def description(self):
        return (self.perform.__doc__ or "").strip()


REGISTERED: list[Scenario] = []


def scenario(name, app="ws", tap=False, sidecar_cannot="", **options):
    """Registers a scenario.

    app: "ws" (the echo server), "ws-ping=SECONDS|none", or None if the scenario starts its own application;
    tap: put the decoding relay between the sidecars;
    sidecar_cannot: what of this scenario the documents given to `websockets-cli sidecar` cannot express;
    options: fields of `pair.Options`.
    """

    def register(function):
        REGISTERED.append(Scenario(name, function, app, tap, sidecar_cannot, options))
        return function

    return register


# ---------------------------------------------------------------- application servers
ECHO_SERVER = r"""
import asyncio, http, signal, sys, logging
from websockets.asyncio.server import serve
logging.getLogger("websockets").setLevel(logging.CRITICAL)
host, port, ping = sys.argv[1], int(sys.argv[2]), sys.argv[3]
async def echo(ws):
    async for message in ws:
        await ws.send(message)
def health_check(connection, request):
    if request.path == "/healthz":
        return connection.respond(http.HTTPStatus.OK, "OK\n")
async def main():
    interval = None if ping == "none" else float(ping)
    async with serve(echo, host, port, process_request=health_check, ping_interval=interval, max_size=None) as server:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
        print("ready", flush=True)
        await server.wait_closed()
asyncio.run(main())
"""


class EchoServer:
    """The Python `websockets` echo server in a process of its own."""

    def __init__(self, address, ping="20"):
        host, port = split_address(address)
        self.process = subprocess.Popen(
            [sys.executable, "-c", ECHO_SERVER, host, str(port), ping],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if b"ready" not in self.process.stdout.readline():
            raise RuntimeError(f"the echo server could not listen on {address}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def terminate(self):
        self.process.terminate()

    stop = kill


class Listening:
    """Accepts connections and calls `_serve(connection)` for each, in a thread."""

    def __init__(self, address):
        self.listener = listen(address)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class ScriptedServer(Listening):
    """Accepts connections and calls `handler(connection, request_head)` for each, in a thread."""

    def __init__(self, address, handler):
        self.handler = handler
        self.seen = []
        super().__init__(address)

    def _serve(self, connection):
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                if not data:
                    break
                head += data
            self.seen.append(head)
            if head:
                self.handler(connection, head)
        with contextlib.suppress(OSError):
            connection.close()


def answer(data):
    """A handler for ScriptedServer: sends `data`, then reads until the peer closes."""

    def handler(connection, head):
        connection.sendall(data)
        connection.settimeout(5)
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass

    return handler


def response(status, body, extra=""):
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return (head + body).encode()


class FakeSidecar(Listening):
    """A fake server sidecar (the h2 library) which calls `act(connection, stream_id)` for each request."""

    def __init__(self, address, act):
        self.act = act
        self.requests = 0
        super().__init__(address)

    def _serve(self, sock):
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8", validate_inbound_headers=False)
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        try:
            sock.sendall(connection.data_to_send())
            while data := sock.recv(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self.requests += 1
                        self.act(connection, event.stream_id)
                with contextlib.suppress(OSError):
                    sock.sendall(connection.data_to_send())
        except (OSError, h2.exceptions.H2Error):
            return


# ---------------------------------------------------------------- the decoding relay between the sidecars
SETTING_NAMES = {
    1: "HEADER_TABLE_SIZE",
    2: "ENABLE_PUSH",
    3: "MAX_CONCURRENT_STREAMS",
    4: "INITIAL_WINDOW_SIZE",
    5: "MAX_FRAME_SIZE",
    6: "MAX_HEADER_LIST_SIZE",
    8: "ENABLE_CONNECT_PROTOCOL",
    9: "NO_RFC7540_PRIORITIES",
}
ERROR_NAMES = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def error_name(code):
    code = int(code)
    return ERROR_NAMES[code] if code < len(ERROR_NAMES) else str(code)


class FrameDecoder:
    """Turns one direction of a connection into lines of text, HTTP/2 frame by frame; HTTP/1.1 as raw bytes."""

    def __init__(self, direction, note, expects_preface):
        self.direction = direction
        self.note = note
        self.expects_preface = expects_preface
        self.buffer = b""
        self.header_block = b""
        self.hpack = hpack.Decoder()
        self.is_http2 = None

    def feed(self, data):
        self.buffer += data
        if self.is_http2 is None and not self._recognise():
            return
        if not self.is_http2:
            self.note(f"{self.direction} H1 bytes: {self.buffer!r}")
            self.buffer = b""
            return
        while len(self.buffer) >= 9:
            frame_, length = Frame.parse_frame_header(memoryview(self.buffer[:9]))
            if len(self.buffer) < 9 + length:
                return
            frame_.parse_body(memoryview(self.buffer[9 : 9 + length]))
            self.buffer = self.buffer[9 + length :]
            self._show(frame_, length)

    def _recognise(self):
        if not self.expects_preface:
            self.is_http2 = not self.buffer.startswith(b"HTTP/")
            return True
        if len(self.buffer) < len(PREFACE) and PREFACE.startswith(self.buffer):
            return False
        self.is_http2 = self.buffer.startswith(b"PRI * HTTP/2.0")
        if self.is_http2:
            self.note(f"{self.direction} connection preface (24 bytes)")
            self.buffer = self.buffer[len(PREFACE) :]
        return True

    def _show(self, frame_, length):
        kind = type(frame_).__name__.replace("Frame", "")
        flags = ",".join(sorted(frame_.flags)) or "-"
        head = f"{self.direction} {kind.upper()} stream={frame_.stream_id} flags={flags} len={length}"
        self.note(head + self._detail(kind, frame_))

    def _detail(self, kind, frame_):
        if kind == "Settings":
            settings = (f"{SETTING_NAMES.get(k, k)}={v}" for k, v in frame_.settings.items())
            return " " + (", ".join(settings) or "(empty)")
        if kind == "WindowUpdate":
            return f" increment={frame_.window_increment}"
        if kind == "RstStream":
            return f" error={error_name(frame_.error_code)}"
        if kind == "GoAway":
            return (
                f" last_stream={frame_.last_stream_id} error={error_name(frame_.error_code)}"
                f" debug={frame_.additional_data!r}"
            )
        if kind == "Data":
            data = frame_.data
            shown = f" {data[:48].hex(' ')}" if data else ""
            return f" {len(data)} bytes{shown}" + (" ..." if len(data) > 48 else "")
        if kind == "Ping":
            return f" {frame_.opaque_data.hex()}"
        if kind in ("Headers", "Continuation"):
            self.header_block += frame_.data
            if "END_HEADERS" in frame_.flags:
                fields = self.hpack.decode(self.header_block, raw=True)
                self.header_block = b""
                return "".join(f"\n      {k.decode()}: {v.decode('latin1')}" for k, v in fields)
        return ""


class WireTap:
    """A TCP relay which writes down what passes.  C is the client sidecar, S the server sidecar."""

    def __init__(self, address, target):
        self.target = target
        self.lines = []
        self.connections = 0
        self.sockets = []
        self.lock = threading.Lock()
        self.listener = listen(address)
        threading.Thread(target=self._accept, daemon=True).start()

    def _note_for(self, connection):
        prefix = f"conn{connection} " if connection > 1 else ""

        def note(line):
            with self.lock:
                self.lines.append(prefix + line)

        return note

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(split_address(self.target))
            except OSError:
                client.close()
                continue
            self.sockets += [client, server]
            note = self._note_for(self.connections)
            for source, sink, direction in ((client, server, "C->S"), (server, client, "S->C")):
                decoder = FrameDecoder(direction, note, expects_preface=source is client)
                threading.Thread(target=self._pump, args=(source, sink, decoder), daemon=True).start()

    @staticmethod
    def _pump(source, sink, decoder):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    decoder.note(f"{decoder.direction} TCP FIN")
                    sink.shutdown(socket.SHUT_WR)
                    return
                try:
                    decoder.feed(data)
                except Exception as error:
                    decoder.note(f"{decoder.direction} (tap could not decode: {error!r})")
                sink.sendall(data)
        except OSError as error:
            decoder.note(f"{decoder.direction} TCP closed ({type(error).__name__})")
            with contextlib.suppress(OSError):
                sink.close()

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.close()


# ---------------------------------------------------------------- sockets and WebSocket bytes
def split_address(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def listen(address):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(split_address(address))
    sock.listen(64)
    return sock


def dial(address, timeout=10):
    sock = socket.create_connection(split_address(address), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def reset(sock):
    """Closes with a TCP RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_all(sock, silence=2.0):
    """Reads until close, error or `silence` seconds without data; returns the bytes and how it ended."""
    data = b""
    sock.settimeout(silence)
    while True:
        try:
            more = sock.recv(65536)
        except socket.timeout:
            return data, f"still open after {silence} s of silence"
        except ConnectionResetError:
            return data, "TCP RST"
        if not more:
            return data, "TCP FIN"
        data += more


def read_head(sock, timeout=5.0):
    """Reads a response head; returns it and the bytes that came with it."""
    sock.settimeout(timeout)
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            break
        data += more
    end = data.find(b"\r\n\r\n")
    return (data[: end + 4], data[end + 4 :]) if end >= 0 else (data, b"")


def handshake(path="/", host=AUTHORITY, extra=(), drop=(), upgrade="websocket", method="GET", version="HTTP/1.1"):
    """The bytes of a WebSocket handshake request; `extra` replaces or adds fields, `drop` leaves fields out."""
    fields = {
        "Host": host,
        "Upgrade": upgrade,
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": SAMPLE_KEY,
        "Sec-WebSocket-Version": "13",
    }
    for name in drop:
        del fields[name]
    fields.update(extra)
    lines = [f"{method} {path} {version}", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
    return "\r\n".join(lines).encode()


def frame(opcode, payload, mask=b"\x37\xfa\x21\x3d", fin=True):
    """A masked WebSocket frame."""
    length = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65536:
        head += bytes([0x80 | 126]) + struct.pack("!H", length)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", length)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def text(message):
    return frame(1, message.encode())


CLOSE_FRAME = frame(8, struct.pack("!H", 1000))


# ---------------------------------------------------------------- an HTTP/2 client
def extended_connect(path="/", authority=AUTHORITY, protocol="websocket", extra=()):
    """The header list of an RFC 8441 request."""
    return [
        (":method", "CONNECT"),
        *([(":protocol", protocol)] if protocol else []),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("sec-websocket-version", "13"),
        ("user-agent", "h2-client"),
        *extra,
    ]


class H2Client:
    """A client that speaks HTTP/2 with prior knowledge on an open socket, plain or TLS, and writes down what it sees."""

    def __init__(self, sock):
        self.sock = sock
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
        )
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.flush()
        self.lines = []

    def flush(self):
        with contextlib.suppress(OSError):
            self.sock.sendall(self.connection.data_to_send())

    def request(self, headers, end=False):
        stream_id = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream_id, headers, end_stream=end)
        self.flush()
        return stream_id

    def pump(self, until=None, timeout=2.0):
        """Reads for `timeout` seconds, or until a line contains `until`."""
        end = time.time() + timeout
        while time.time() < end:
            ready, _, _ = select.select([self.sock], [], [], max(0, end - time.time()))
            if not ready:
                break
            try:
                data = self.sock.recv(65536)
            except OSError as error:
                self.lines.append(f"TCP {type(error).__name__}")
                break
            if not data:
                self.lines.append("TCP FIN")
                break
            try:
                events = self.connection.receive_data(data)
            except Exception as error:
                self.lines.append(f"h2 library: {error!r}")
                break
            for event in events:
                self._note(event)
            self.flush()
            if until and any(until in line for line in self.lines):
                break
        return self.lines

    def _note(self, event):
        if isinstance(event, h2.events.ResponseReceived):
            fields = "".join(f"\n    {k}: {v}" for k, v in event.headers)
            self.lines.append(f"stream {event.stream_id} HEADERS{fields}")
        elif isinstance(event, h2.events.DataReceived):
            self.lines.append(f"stream {event.stream_id} DATA {len(event.data)} bytes {event.data[:60]!r}")
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.lines.append(f"stream {event.stream_id} END_STREAM")
        elif isinstance(event, h2.events.StreamReset):
            self.lines.append(f"stream {event.stream_id} RST_STREAM {error_name(event.error_code)}")
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.lines.append(
                f"GOAWAY {error_name(event.error_code)} last_stream={event.last_stream_id} {event.additional_data!r}"
            )
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            settings = (f"{SETTING_NAMES.get(int(k), int(k))}={v.new_value}" for k, v in event.changed_settings.items())
            self.lines.append("SETTINGS " + ", ".join(settings))


# ---------------------------------------------------------------- the stage
CLI_CLIENT = r"""
import socket
real = socket.getaddrinfo
def fake(host, port, *args, **kwargs):
    if host == "HOST": host, port = "IP", PORT
    return real(host, port, *args, **kwargs)
socket.getaddrinfo = fake
from websockets.cli import main
main(["ws://HOST:8080"])
"""


class Stage:
    """What a scenario sees: the running pair, the application, and a notebook."""

    def __init__(self, options: Options, pair):
        self.options = options
        self.pair = pair
        self.app = None
        self.tap = None
        self.notes = []
        self.files = {}

    def stop(self):
        """Stops the pair, then the application and the relay."""
        self.pair.stop()
        for part in (self.app, self.tap):
            if part:
                part.stop()

    # -- the notebook
    def say(self, line):
        self.notes.append(str(line))

    def show(self, block):
        """A literal block."""
        if isinstance(block, bytes):
            block = block.decode("latin1").replace("\r\n", "\n")
        self.notes.append(f"```\n{block.rstrip()}\n```")

    # -- clients
    def connect(self, path="/", compression="deflate", host=AUTHORITY):
        """A session of the `websockets` library through the outbound listener."""
        return websocket_connect(
            f"ws://{host}{path}", sock=dial(self.options.outbound), compression=compression, max_size=None
        )

    def hello(self, compression):
        """The guide's session: hello, world, close."""
        with self.connect(compression=compression) as session:
            extensions = [type(extension).__name__ for extension in session.protocol.extensions]
            for message in ("hello", "world"):
                session.send(message)
                echo = session.recv()
                if echo != message:
                    raise AssertionError(f"sent {message!r}, received {echo!r}")
                self.say(f"- sent `{message}`, received `{echo}`")
            closing = time.time()
        self.say(
            f"- `close()` returned after {time.time() - closing:.1f} s (the server's close frame comes at once; "
            "the rest is waiting for the TCP FIN, see delayed close in the field guide)"
        )
        self.say(
            f"- closed by the client: code {session.close_code}, reason `{session.close_reason}`; "
            f"extensions in use: {extensions or 'none'}"
        )
        self.say("- response head as the client saw it:")
        head = session.response
        fields = "\n".join(f"{k}: {v}" for k, v in head.headers.raw_items())
        self.show(f"HTTP/1.1 {head.status_code} {head.reason_phrase}\n{fields}")

    def request(self, data, silence=1.5):
        """Sends bytes, reads everything, and writes both down."""
        sock = dial(self.options.outbound)
        sock.sendall(data)
        received, end = read_all(sock, silence)
        sock.close()
        self.say("Client sent:")
        self.show(data)
        self.say(f"Client received ({end}):")
        self.show(received or b"(nothing)")

    def open_session(self, path="/", address=None):
        """A raw handshake; returns the socket and the response head."""
        sock = dial(address or self.options.outbound)
        sock.sendall(handshake(path))
        head, _ = read_head(sock)
        return sock, head

    def cli(self, lines=("hello", "world"), gap=0.4):
        """The guide's own client, `python3 -m websockets`, fed with `lines` as somebody types who reads, and then end of file."""
        ip, port = self.options.outbound.rsplit(":", 1)
        program = CLI_CLIENT.replace("HOST", HOST).replace("IP", ip).replace("PORT", port)
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output = b""

        def read_until(shown):
            nonlocal output
            while shown not in output and (more := os.read(process.stdout.fileno(), 65536)):
                output += more

        try:
            read_until(b"Connected to")
            for line in lines:
                time.sleep(gap)
                with contextlib.suppress(OSError):
                    process.stdin.write(line.encode() + b"\n")
                    process.stdin.flush()
                read_until(b"< " + line.encode())
            time.sleep(gap)
            with contextlib.suppress(OSError):
                process.stdin.close()
            output += process.stdout.read()
            status = process.wait(10)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output = re.sub(rb"\x1b(7|8|\[[0-9]*[A-Z])", b"", output).replace(b"\r", b"").decode()
        self.say(
            f"`python3 -m websockets ws://{HOST}:8080` (name resolution pointed at the outbound listener), "
            f"stdin {list(lines)} then end of file; exit status {status}; output with the terminal escapes removed:"
        )
        self.show(output)

    # -- the application
    def serve(self, handler):
        """Starts a ScriptedServer as the application."""
        self.app = ScriptedServer(self.options.app, handler)
        return self.app

    # -- the pair
    def counters(self, side, regex):
        """The counters whose names match `regex`, one a line, for the notebook only."""
        try:
            found = self.pair.stats(side, regex)
        except (OSError, ValueError) as error:
            return f"(no counters: {error})"
        return "\n".join(f"{name} {value}" for name, value in found.items() if ".admin." not in name)

    def wait_for_lines(self, side, count, timeout=6):
        """Waits until a sidecar's log has `count` lines."""
        end = time.time() + timeout
        while time.time() < end and self.pair.logs(side).count("\n") < count:
            time.sleep(0.05)


def start_application(kind, options):
    """The application that a scenario asks for, running; None if it starts its own."""
    if kind is None:
        return None
    if kind == "ws":
        return EchoServer(options.app)
    if kind.startswith("ws-ping="):
        return EchoServer(options.app, ping=kind.partition("=")[2])
    raise ValueError(f"no such application: {kind}")
