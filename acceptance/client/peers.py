#!/usr/bin/env python3
"""The client beside Python's, against servers that are not ours: peers.py BINARY

behaviour_server.py is the server; its path says what it does (/close1011/boom). Both clients run on a terminal of the same
size, and their screens must be the same; where Python's breaks, only ours runs. The last line is `N passed, N failed`; the
exit status is 0 only if nothing failed. (Needs websockets, pexpect, pyte, jsonschema.)
"""

import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import jsonschema
import pexpect
import pyte
from websockets.asyncio.server import serve
from websockets.frames import Opcode

PATIENCE = 60  # seconds that anything may take; a busy machine is no failure
[BINARY] = sys.argv[1:]
HERE = pathlib.Path(__file__).resolve().parent
SCHEMAS = HERE.parents[1] / "schemas"
PYTHONS = [sys.executable, "-m", "websockets"]
STATE = tempfile.TemporaryDirectory()
CTRL_C, CTRL_D = "\x03", "\x04"


class Failed(Exception):
    pass


def equal(actual, expected, what=""):
    if actual != expected:
        raise Failed(f"{what}\n{actual!r}\nis not\n{expected!r}")


# ---------------------------------------------------------------- terminals
class Terminal:
    """A program on a pseudo-terminal, and the screen that a user sees."""

    def __init__(self, command, columns=80, rows=24, state=STATE.name):
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment |= {"TERM": "xterm-256color", "XDG_STATE_HOME": state}
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        # A shell that runs this in the background ignores SIGINT, and so would Python's client.
        default = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        size = {"dimensions": (rows, columns), "timeout": PATIENCE}
        self.process = pexpect.spawn(command[0], command[1:], env=environment, preexec_fn=default, **size)
        self.process.delaybeforesend = None

    def lines(self):
        lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def read(self, seconds):
        try:
            self.stream.feed(self.process.read_nonblocking(65536, seconds))
        except pexpect.TIMEOUT:
            pass

    def until(self, what, holds):
        deadline = time.monotonic() + PATIENCE
        while not holds(self.lines()):
            if time.monotonic() > deadline:
                raise Failed(f"no {what} on this screen:\n" + "\n".join(self.lines()))
            try:
                self.read(0.2)
            except pexpect.EOF:
                raise Failed(f"it ended without {what}:\n" + "\n".join(self.lines())) from None

    def shows(self, line):
        self.until(line, lambda lines: line in lines)

    def type(self, keys):
        self.process.send(keys)

    def resize(self, columns, rows):
        self.screen.resize(rows, columns)
        self.process.setwinsize(rows, columns)

    def end(self):
        """Its exit status, or minus the signal that ended it, as subprocess has it; afterwards the screen is the last one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.read(0.2)
            except pexpect.EOF:
                self.process.close()
                return self.process.exitstatus if self.process.signalstatus is None else -self.process.signalstatus
        raise Failed("it does not end; its screen is\n" + "\n".join(self.lines()))


def follow(terminal, steps):
    for step in steps:
        if isinstance(step, signal.Signals):
            terminal.process.kill(step)
        elif step.startswith("SHOWS "):
            terminal.shows(step.removeprefix("SHOWS "))
        else:
            terminal.type(step)
    status = terminal.end()
    return status, terminal.lines()


def ours(*arguments, **size):
    return Terminal([BINARY, "client", *arguments], **size)


ECHOED = ["SHOWS >", "hello\r", "SHOWS < hello", "world\r", "SHOWS < world"]
TICKED = ["SHOWS < tick 4", "abc\r", "SHOWS < abc", CTRL_D]

# Path, what the user does, our exit status. Python's is 0 in all of them but the one with a signal.
SESSIONS = [
    ("echo", [*ECHOED, CTRL_D], 0),
    ("echo", [*ECHOED, CTRL_C], 0),
    ("echo", ["SHOWS >", signal.SIGTERM], 143),
    ("echo", ["SHOWS >", "\r", "SHOWS <", "你好 😀\r", "SHOWS < 你好 😀", CTRL_D], 0),
    ("bin", ["SHOWS < (binary) 000102030405060708090a0b0c0d0e0f10111213fffe", CTRL_D], 0),
    ("ping", ["SHOWS < got pong", CTRL_D], 0),
    ("ctl", ["SHOWS <", "SHOWS >", CTRL_D], 0),
    ("tick", TICKED, 0),
    ("302", ["SHOWS >", CTRL_D], 0),
    ("close1000", [], 0),
    ("close1000/bye_bye", [], 0),
    ("close1001", [], 0),
    ("close1008/policy_x", [], 3),
    ("close1011/boom", [], 3),
    ("close1012", [], 3),
    ("close1013", [], 3),
    ("close1014/upstream", [], 3),
    ("close3000/registered", [], 3),
    ("close4000/app", [], 3),
    ("ws1005", [], 3),
    ("drop", [], 3),
    ("fin", [], 3),
    ("mask", [], 3),
    ("utf8", [], 3),
]


def screens_are_those_of_pythons_client(place):
    """In every session, at once: most of the time is the server's."""
    clients = []
    for path, steps, status in SESSIONS:
        uri = f"{place}/{path}"
        clients.append((path, steps, status, ours(uri), Terminal([*PYTHONS, uri])))
    for path, steps, status, mine, pythons in clients:
        expected = follow(pythons, steps)
        actual = follow(mine, steps)
        equal(actual[1], expected[1], f"screen of {path}, {steps}")
        equal((actual[0], expected[0]), (status, -15 if status == 143 else 0), f"exit status of {path}")


FAILURES = [
    ("{place}/404", "whole", 1),
    ("{place}/503", "whole", 1),
    ("{place}/200", "whole", 1),
    ("http://127.0.0.1:1/", "whole", 2),
    ("foo", "whole", 2),
    ("{place}/#frag", "whole", 2),
    ("ws://127.0.0.1:1", "beginning", 1),
    ("ws://no-such-host.invalid:8080", "beginning", 1),
    ("wss:{rest}/", "beginning", 1),
]


def failures_begin_with_the_line_of_pythons_client(place):
    for uri, compared, status in FAILURES:
        uri = uri.format(place=place, rest=place.removeprefix("ws:"))
        # Wide: the first line is compared, not where it is wrapped.
        arguments = ["--insecure", uri] if uri.startswith("wss") else [uri]
        code, lines = follow(ours(*arguments, columns=200, rows=40), [])
        expected_code, expected = follow(Terminal([*PYTHONS, uri], columns=200), [])
        if compared == "whole":
            equal(lines[0], expected[0])
        beginning = f"Failed to connect to {uri}: "
        if not (lines[0].startswith(beginning) and expected[0].startswith(beginning) and len(lines[0]) > len(beginning) + 5):
            raise Failed(f"{lines[0]!r} beside {expected[0]!r}")
        parts = [line.split(":")[0] for line in lines]
        if "why" not in parts or "hint" not in parts:
            raise Failed("not in three parts:\n" + "\n".join(lines))
        compat, _ = follow(ours("--exit-status", "compat", *arguments), [])
        equal((code, expected_code, compat), (status, 1, 1), uri)


def a_message_over_the_limit_is_told_where_pythons_client_says_that_it_closed(place):
    terminal = ours(f"{place}/big", columns=120)
    code, lines = follow(terminal, [])
    told = "The server sent a message of 1048577 bytes, over the limit of 1048576 bytes: --max-message-size allows more."
    closed = "Connection closed: 1006 (abnormal closure [internal])."
    equal((code, lines), (3, [f"Connected to {place}/big.", told, closed]))


def where_pythons_screen_breaks_ours_does_not(place):
    # Typed text longer than the line, with messages arriving.
    terminal, typed = ours(f"{place}/tick", columns=30, rows=12), "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMN"
    terminal.shows(">")
    terminal.type(typed)
    terminal.shows("< tick 4")
    wrapped = ["> " + typed[:28], typed[28:]]
    terminal.until("the line in two rows", lambda lines: lines[-2:] == wrapped)
    terminal.type("\r")
    answer = ["< " + typed[:28], typed[28:]]
    terminal.until("the answer above a prompt", lambda lines: lines[-5:] == [*wrapped, *answer, ">"])
    head = [f"Connected to {place}/tick."[:30], f"Connected to {place}/tick."[30:]]
    equal(terminal.lines(), [*head, *(f"< tick {number}" for number in range(5)), *wrapped, *answer, ">"])
    terminal.type(CTRL_D)
    equal(terminal.end(), 0)

    # Messages that arrive while the cursor is amid the line.
    terminal = ours(f"{place}/tick")
    terminal.shows(">")
    terminal.type("hello\x1b[D\x1b[D\x1b[D")
    terminal.shows("< tick 1")
    equal(terminal.screen.cursor.x, len("> he"), "column of the cursor")
    terminal.type("X\r")
    terminal.shows("< heXllo")

    # A message longer than the line.
    terminal = ours(f"{place}/echo", columns=30, rows=12)
    terminal.shows(">")
    terminal.type("x" * 70 + "\r")
    sent, came = (["%s %s" % (mark, "x" * 28), "x" * 30, "x" * 12] for mark in "><")
    terminal.until("both in three rows", lambda lines: lines[-7:] == [*sent, *came, ">"])

    # The screen is full, and becomes another one while a line is typed.
    terminal = ours(f"{place}/echo", rows=6)
    terminal.shows(">")
    for number in range(6):
        terminal.type(f"{number}\r")
        terminal.shows(f"< {number}")
    equal(terminal.lines()[-3:], ["> 5", "< 5", ">"])
    terminal.type("y" * 60)
    terminal.until("what is typed", lambda lines: lines[-1] == "> " + "y" * 60)
    terminal.resize(40, 12)
    terminal.type("z" * 10 + "\r")
    line = "y" * 60 + "z" * 10
    terminal.until("the line as typed", lambda lines: "".join(lines[-3:-1]) == "< " + line and lines[-1] == ">")
    terminal.type(CTRL_D)
    equal(terminal.end(), 0)


# ---------------------------------------------------------------- the prompt
def commands_do_what_they_say(place):
    uri = f"{place}/echo"
    terminal = ours("--no-history", uri, rows=60)
    terminal.shows(">")
    for typed, answer in (
        ("/binary 00ff 0A", "< (binary) 00ff0a"),
        ("/base64 AP8=", "< (binary) 00ff"),
        ("//binary", "< /binary"),
        ("/pong unasked", None),
        ("/nothing", None),
        ("plain", "< plain"),
    ):
        terminal.type(f"{typed}\r")
        if answer:
            terminal.shows(answer)
    equal(any("no command is called /nothing" in line for line in terminal.lines()), True)
    terminal.type("/ping a b\r")
    terminal.until("round-trip time", lambda lines: any(line.startswith("pong a b in ") and line.endswith(" ms") for line in lines))
    terminal.type("/help\r")
    for command in ("/help", "/ping", "/pong", "/binary", "/base64", "/file", "/close", "/reconnect", "/headers", "//TEXT"):
        terminal.until(command, lambda lines: any(line.startswith(command) for line in lines))
    terminal.type("/headers\r")
    terminal.until("both heads", lambda lines: "GET /echo HTTP/1.1" in lines and "HTTP/1.1 101 Switching Protocols" in lines)
    terminal.type("/reconnect\r")
    terminal.until("another connection", lambda lines: lines.count(f"Connected to {uri}.") == 2 and lines[-1] == ">")
    terminal.type("again\r")
    terminal.shows("< again")
    terminal.type("/close 4001 that is all\r")
    equal(terminal.end(), 0)
    equal(terminal.lines()[-1], "Connection closed: 4001 (private use) that is all.")

    terminal = ours("--no-history", "--raw", uri)
    terminal.shows(">")
    terminal.type("/help\r//x\r")
    terminal.shows("< /help")
    terminal.shows("< //x")


def tab_completes_commands_and_paths(place):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "a greeting"), "w", encoding="utf-8") as file:
            file.write("from a file")
        terminal = ours("--no-history", f"{place}/echo")
        terminal.shows(">")
        terminal.type("/rec\t")
        terminal.shows("> /reconnect")
        terminal.type("\x15/fi\t" + folder + "/a\t\r")
        terminal.shows("< from a file")


def the_prompt_comes_back_after_ctrl_z_and_fg(place):
    environment = "PS1='$ ' exec bash --norc --noprofile -i"
    terminal = Terminal(["/bin/sh", "-c", environment])
    terminal.shows("$")
    terminal.type(f"{BINARY} client --no-history {place}/echo\r")
    terminal.shows(">")
    terminal.type("ab")
    terminal.shows("> ab")
    terminal.type("\x1a")
    terminal.until("the shell", lambda lines: lines[-1] == "$")
    terminal.type("fg\r")
    terminal.until("the line", lambda lines: lines[-1] == "> ab")
    terminal.type("c\r")
    terminal.shows("< abc")
    terminal.type(CTRL_D)
    terminal.until("the shell", lambda lines: lines[-1] == "$")
    terminal.type("exit\r")
    equal(terminal.end(), 0)


def lines_are_kept_across_sessions_unless_told_otherwise(place):
    def session(keys, *arguments):
        terminal = ours(*arguments, f"{place}/echo", state=state)
        terminal.shows(">")
        terminal.type(keys)
        terminal.until("an answer", lambda lines: any(line.startswith("<") for line in lines))
        terminal.type(CTRL_D)
        equal(terminal.end(), 0)
        return next(line for line in terminal.lines() if line.startswith("<"))

    with tempfile.TemporaryDirectory() as state:
        session("first\r")
        session("secret\r", "--no-history")
        equal(session("\x1b[A\r"), "< first", "the last line that was kept")
        equal(session("\x1b[A\r", "--no-history"), "<", "no line with --no-history")
        with open(os.path.join(state, "websockets-cli", "history"), encoding="utf-8") as file:
            equal("secret" in file.read(), False, "a line of a session without history")


# ---------------------------------------------------------------- pipes
def run(*arguments, sent=b"", client=(BINARY, "client")):
    process = subprocess.run([*client, *arguments], input=sent, capture_output=True, timeout=PATIENCE, check=False)
    return process.returncode, process.stdout, process.stderr.decode()


def standard_output_has_the_messages_alone(place):
    echo = f"{place}/echo"
    for sent, out in ((b"hello\nworld\n", b"hello\nworld\n"), (b"hello", b"hello\n"), (b"", b""), (b"\n\n", b"\n\n"), (b"/help\n", b"/help\n")):
        talk = f"Connected to {echo}.\nConnection closed: 1000 (OK).\n"
        equal(run(echo, sent=sent), (0, out, talk), sent)
    numbers = "".join(f"line {number}\n" for number in range(100_000)).encode()
    equal(run(echo, sent=numbers)[1] == numbers, True, "a hundred thousand lines in order")
    code, out, _ = run(f"{place}/ctl", "--replies", "2")
    equal((code, out.decode()), (0, "tab\there nl\nline2 esc\x1b[31mred\x1b[0m del\x7f nel\x85 nbsp\xa0 你好 😀\n\n"))
    equal(run(f"{place}/bin", "--replies", "1")[:2], (0, b"(binary) 000102030405060708090a0b0c0d0e0f10111213fffe\n"))
    equal(run(f"{place}/bin", "--replies", "1", "--raw-output")[:2], (0, bytes(range(20)) + b"\xff\xfe"))
    for path, code, end in (("close1001", 0, "1001 (going away)."), ("close1011/boom", 3, "1011 (internal error) boom."), ("drop", 3, "1006 (abnormal closure [internal]).")):
        # The input stays open: it is the server that ends it.
        process = subprocess.Popen([BINARY, "client", f"{place}/{path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        equal(process.wait(PATIENCE), code, path)
        said = process.stderr.read().decode()
        equal(said.splitlines()[-1], f"Connection closed: {end}")
    equal(run("--exit-status", "compat", "--replies", "1", f"{place}/close1011/boom")[0], 0)


def options_for_scripts(place):
    echo = f"{place}/echo"
    equal(run("--send", "one", "--send", "two", echo, sent=b"unheard\n")[:2], (0, b"one\ntwo\n"))
    equal(run("--replies", "3", f"{place}/tick")[:2], (0, b"tick 0\ntick 1\ntick 2\n"))
    equal(run("--replies", "2", "--timeout", "1s", echo, sent=b"one\n")[:2], (4, b"one\n"))
    equal(run("--expect", "tick [23]", f"{place}/tick")[:2], (0, b"tick 0\ntick 1\ntick 2\n"))
    equal(run("--expect", "never", "--wait", "200ms", echo, sent=b"x\n")[:2], (4, b"x\n"))
    equal(run("--expect", "never", f"{place}/close1000")[0], 3)
    payload = bytes(range(256)) * 300
    equal(run("--binary", "--raw-output", echo, sent=payload)[:2], (0, payload))
    equal(run("--frame-size", "1000", "--raw-output", echo, sent=payload)[:2], (0, payload))
    equal(run("--frame-size", "3", echo, sent=b"abcde")[:2], (0, b"(binary) 616263\n(binary) 6465\n"))
    code, out, _ = run("--output", "jsonl", f"{place}/close4000/app", "--replies", "1")
    records = [json.loads(line) for line in out.splitlines()]
    schema = json.loads((SCHEMAS / "client-messages.schema.json").read_text())
    code, more, _ = run("--output", "jsonl", echo, sent="text \x1b[2J é\n".encode())
    records += [json.loads(line) for line in more.splitlines()]
    code, lost, _ = run("--output", "jsonl", f"{place}/drop", "--replies", "1")
    records.append(json.loads(lost))
    for record in records:
        jsonschema.validate(record, schema, format_checker=jsonschema.FormatChecker())
    equal(
        [(record["direction"], record["opcode"], record["payload"], record["close_code"]) for record in records],
        [
            ("received", "close", "app", 4000),
            ("sent", "text", "text \x1b[2J é", None),
            ("received", "text", "text \x1b[2J é", None),
            ("sent", "close", "", 1000),
            ("received", "close", "", 1000),
            ("received", "close", "", 1006),
        ],
    )
    equal([code, any(byte < 32 and byte != 10 for byte in more)], [3, False], "control characters")


def the_probe_s_report_has_its_form(place):
    schema = json.loads((SCHEMAS / "probe.schema.json").read_text())
    for path, code in (("echo", 0), ("404", 1), ("503", 1), ("drop", 0)):
        status, out, _ = run("--output", "json", f"{place}/{path}", client=(BINARY, "probe"))
        equal(status, code, path)
        jsonschema.validate(json.loads(out), schema)


# ---------------------------------------------------------------- servers of this script
class Recorder:
    """A server of Python's websockets whose sessions follow a script, and that keeps how the client closed."""

    def __init__(self, script, **options):
        self.script, self.options, self.closes = script, options, []

    async def session(self, session):
        try:
            await self.script(session)
            await session.wait_closed()
        finally:
            self.closes.append(session.protocol.close_rcvd)

    async def __aenter__(self):
        self.server = await serve(self.session, "127.0.0.1", 0, ping_interval=None, **self.options).__aenter__()
        return f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *error):
        self.server.close()


def on(recorder, *arguments, **options):
    async def both():
        async with recorder as uri:
            return await asyncio.to_thread(run, *arguments, uri, **options)

    result = asyncio.run(both())
    return result, [(close.code, close.reason) if close else None for close in recorder.closes]


def what_is_too_long_is_refused_with_1009(_):
    def sending(size):
        async def script(session):
            await session.send("x" * size)

        return Recorder(script, max_size=None, compression=None)

    equal(on(sending(2**20 + 1), "--replies", "1")[1][0][0], 1009)
    (code, out, _), closes = on(sending(2**20), "--replies", "1")
    equal((code, len(out), closes[0][0]), (0, 2**20 + 1, 1000))
    async def noise(session):
        await session.send(os.urandom(2**20))

    # Compressed, it is longer than the limit.
    (code, out, _), closes = on(Recorder(noise, max_size=None), "--replies", "1", "--raw-output")
    equal((code, len(out), closes[0][0]), (0, 2**20, 1000))
    (code, _, _), closes = on(sending(11), "--replies", "1", "--max-message-size", "10")
    equal((code, closes[0][0]), (3, 1009))


def a_server_that_answers_no_ping_is_left(_):
    def mute(session):
        send = session.protocol.send_frame
        session.protocol.send_frame = lambda frame: None if frame.opcode is Opcode.PONG else send(frame)

    async def silent(session):
        mute(session)

    timing = ("--ping-interval", "200ms", "--ping-timeout", "200ms", "--replies", "1")
    (code, _, said), closes = on(Recorder(silent), *timing)
    equal((code, closes), (3, [(1011, "keepalive ping timeout")]))
    equal(said.splitlines()[-1], "Connection closed: 1006 (abnormal closure [internal]).")

    async def patient(session):
        await asyncio.sleep(1.5)
        await session.send("still there")

    (code, out, _), _ = on(Recorder(patient), *timing[:2], "--ping-timeout", "20s", *timing[4:])
    equal((code, out), (0, b"still there\n"))


def it_echoes_whatever_comes_until_the_close(_):
    messages = ["text", "", b"\x00\xff", "x" * (3 << 20), b"y" * (3 << 20)]
    answers = []

    async def script(session):
        for message in messages:
            await session.send(message)
            answers.append(await session.recv())
        await session.close(1000, "thanks")

    (code, out, _), _ = on(Recorder(script, max_size=None), "--echo", sent=b"not read\n")
    equal((code, out, answers == messages), (0, b"", True))


def a_peer_of_the_transcript_sees_each_end(_):
    async def script(_):
        pass

    for keys, expected in ((CTRL_D, (1000, "")), (CTRL_C, (1000, "")), ("/close 3001 enough\r", (3001, "enough")), (signal.SIGTERM, (1000, ""))):
        recorder = Recorder(script)

        async def both():
            async with recorder as uri:
                terminal = ours("--no-history", uri)
                await asyncio.to_thread(follow, terminal, ["SHOWS >", keys])

        asyncio.run(both())
        equal([(close.code, close.reason) for close in recorder.closes], [expected])


CHECKS = (
    screens_are_those_of_pythons_client,
    failures_begin_with_the_line_of_pythons_client,
    a_message_over_the_limit_is_told_where_pythons_client_says_that_it_closed,
    where_pythons_screen_breaks_ours_does_not,
    commands_do_what_they_say,
    tab_completes_commands_and_paths,
    the_prompt_comes_back_after_ctrl_z_and_fg,
    lines_are_kept_across_sessions_unless_told_otherwise,
    standard_output_has_the_messages_alone,
    options_for_scripts,
    the_probe_s_report_has_its_form,
    what_is_too_long_is_refused_with_1009,
    a_server_that_answers_no_ping_is_left,
    it_echoes_whatever_comes_until_the_close,
    a_peer_of_the_transcript_sees_each_end,
)


def main():
    command = [sys.executable, HERE / "behaviour_server.py"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    failed = 0
    try:
        port = int(server.stdout.readline())
        for check in CHECKS:
            started = time.monotonic()
            try:
                check(f"ws://127.0.0.1:{port}")
                wrong = ""
            except Failed as failure:
                wrong = str(failure)
            except Exception:
                wrong = traceback.format_exc()
            print("FAILED" if wrong else "ok    ", check.__name__.replace("_", " "), f"({time.monotonic() - started:.1f} s)")
            print("".join(f"    {line}\n" for line in wrong.splitlines()), end="", flush=True)
            failed += bool(wrong)
    finally:
        server.kill()
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
