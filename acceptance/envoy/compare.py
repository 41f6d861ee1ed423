"""Compares what a sidecar pair did with a recording: normalisation and comparison as pure functions.

A recording is the two access logs and the text of `scenario.md`.  What differs from run to run (times, ports, ids) is
reduced to what must not differ; everything else has to be equal, and each difference becomes a line of text.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections import Counter, defaultdict

from pair import SIDES

# Istio's default text format; `-` stands for a value that is not there
TEXT_LINE = re.compile(
    r"\[(?P<start_time>[^\]]*)\] "
    r'"(?P<method>\S+) (?P<path>\S+) (?P<protocol>\S+)" (?P<response_code>\d+) (?P<response_flags>\S+) '
    r"(?P<response_code_details>\S+) (?P<connection_termination_details>\S+) "
    r'"(?P<upstream_transport_failure_reason>[^"]*)" (?P<bytes_received>\d+) (?P<bytes_sent>\d+) (?P<duration>\d+) '
    r'(?P<upstream_service_time>\S+) "(?P<x_forwarded_for>[^"]*)" "(?P<user_agent>[^"]*)" "(?P<request_id>[^"]*)" '
    r'"(?P<authority>[^"]*)" "(?P<upstream_host>[^"]*)" (?P<upstream_cluster>\S+) (?P<upstream_local_address>\S+) '
    r"(?P<downstream_local_address>\S+) (?P<downstream_remote_address>\S+) (?P<requested_server_name>\S+) "
    r"(?P<route_name>\S+)"
)
NUMBERS = ("response_code", "bytes_received", "bytes_sent", "duration")
START_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
EPHEMERAL = ("upstream_local_address", "downstream_remote_address")

# Durations from this many ms on must agree from both sides; shorter ones have only an upper bound.
LONG_MS = 500
TOLERANCE_MS = 350
TOLERANCE_SHARE = 0.25


# ---------------------------------------------------------------- access log lines
def parse_log(text):
    """The lines of an access log, JSON or text, as dictionaries; a line that is neither as {"unreadable line": ...}."""
    return [parse_line(line) for line in text.splitlines() if line.strip()]


def parse_line(line):
    if line.startswith("{"):
        try:
            return json.loads(line)
        except ValueError:
            return {"unreadable line": line}
    match = TEXT_LINE.fullmatch(line)
    if not match:
        return {"unreadable line": line}
    fields = {key: None if value == "-" else value for key, value in match.groupdict().items()}
    fields["response_flags"] = match["response_flags"]
    for key in NUMBERS:
        fields[key] = int(match[key])
    return {"format": "text", **fields}


def normalise_line(line):
    """A log line without what differs from run to run; `duration` is compared apart."""
    return {key: normalise_value(key, value) for key, value in line.items() if key != "duration"}


def normalise_value(key, value):
    if not isinstance(value, str):
        return value
    if key == "start_time" and START_TIME.fullmatch(value):
        return "<time>"
    if key == "request_id" and UUID.fullmatch(value):
        return "<uuid>"
    if key == "upstream_service_time" and value.isdecimal():
        return "<digits>"
    if key in EPHEMERAL:
        return re.sub(r":\d+$", ":<port>", value)
    if key == "user_agent":
        return without_python_version(value)
    return value


def without_python_version(text):
    return re.sub(r"Python/\d+\.\d+", "Python/3", text)


def duration_agrees(recorded, got, slack=(0, 0)):
    """Whether a duration in ms is near enough to the recorded one; `slack`: what it may be shorter and longer beyond that."""
    if type(got) is not int or type(recorded) is not int:
        return got == recorded
    tolerance = max(TOLERANCE_MS, TOLERANCE_SHARE * recorded)
    if recorded >= LONG_MS:
        return recorded - tolerance - slack[0] <= got <= recorded + tolerance + slack[1]
    return 0 <= got <= LONG_MS + tolerance + slack[1]


def matches(line, pattern):
    return all(line.get(key) == value for key, value in pattern.items())


def with_outcome(lines, change):
    """Lines as they would be with another outcome of a known race; `change` is None for the recorded one."""
    if not change:
        return lines
    return [{**line, **change["alternative"]} if matches(line, change["recorded"]) else line for line in lines]


# ---------------------------------------------------------------- comparison of one side's lines
def compare_lines(side, recorded, got, slack=(0, 0)):
    """Differences between two lists of parsed lines, as multisets: the order of lines and of keys is nothing."""
    recorded, got = ([(normalise_line(line), line.get("duration")) for line in lines] for lines in (recorded, got))
    differences, recorded_rest, got_rest = match_equal(side, recorded, got, slack)
    for old, new in pair_similar(recorded_rest, got_rest):
        differences += describe_pair(side, old, new, slack)
    return differences


def match_equal(side, recorded_lines, got_lines, slack):
    """Takes out the lines that are equal; of these only the durations may differ, and are compared in ascending order."""
    recorded_groups, got_groups = group(recorded_lines), group(got_lines)
    differences, recorded_rest, got_rest = [], [], []
    for identity in list(recorded_groups) + [key for key in got_groups if key not in recorded_groups]:
        old, new = recorded_groups.get(identity, []), got_groups.get(identity, [])
        common = min(len(old), len(new))
        if len(old) == len(new):
            for (line, before), (_, after) in zip(old, new):
                if not duration_agrees(before, after, slack):
                    differences += [f"{side} sidecar, line {summary(line)}", entry("duration", before, after)]
        recorded_rest += old[common:]
        got_rest += new[common:]
    return differences, recorded_rest, got_rest


def group(lines):
    groups = defaultdict(list)
    for line, duration in lines:
        groups[json.dumps(line, sort_keys=True)].append((line, duration))
    for members in groups.values():
        members.sort(
            key=lambda member: (not isinstance(member[1], int), member[1] if isinstance(member[1], int) else 0)
        )
    return groups


def pair_similar(recorded, got):
    """Pairs each recorded line with the most similar one left; lines without a partner are paired with None."""
    recorded, got = list(recorded), list(got)
    pairs = []
    while recorded and got:
        _, i, j = max(
            (similarity(old[0], new[0]), -i, -j) for i, old in enumerate(recorded) for j, new in enumerate(got)
        )
        pairs.append((recorded.pop(-i), got.pop(-j)))
    return pairs + [(old, None) for old in recorded] + [(None, new) for new in got]


def similarity(old, new):
    weight = {"path": 3, "method": 2, "response_code": 3, "authority": 2}
    return sum(weight.get(key, 1) for key in old if key in new and old[key] == new[key])


def describe_pair(side, old, new, slack):
    if new is None:
        return [f"{side} sidecar, no such line: {summary(old[0])}", *full(old)]
    if old is None:
        return [f"{side} sidecar, line too many: {summary(new[0])}", *full(new)]
    lines = [f"{side} sidecar, line {summary(old[0])}"]
    for key in sorted(old[0].keys() | new[0].keys()):
        before, after = old[0].get(key, MISSING), new[0].get(key, MISSING)
        if before != after or type(before) is not type(after):
            lines.append(entry(key, before, after))
    if not duration_agrees(old[1], new[1], slack):
        lines.append(entry("duration", old[1], new[1]))
    return lines


class Missing:
    def __repr__(self):
        return "(no such key)"


MISSING = Missing()


def show(value):
    return repr(value) if value is MISSING else json.dumps(value, ensure_ascii=False)


def entry(key, recorded, got):
    return f"    {key}: recorded {show(recorded)}, got {show(got)}"


def full(member):
    line, duration = member
    return [f"    {key}: {show(value)}" for key, value in sorted({**line, "duration": duration}.items())]


def summary(line):
    if "unreadable line" in line:
        return f"(unreadable) {line['unreadable line'][:120]}"
    keys = ("protocol", "method", "path", "response_code", "response_flags", "response_code_details")
    return " ".join("null" if line.get(key) is None else str(line.get(key)) for key in keys)


# ---------------------------------------------------------------- what joins lines and sides
def relations(client, server):
    """What ids and ports, different in each run, must still have in common."""
    facts = {}
    sides = {"client": client, "server": server}
    for key in ("upstream_local_address", "downstream_remote_address", "request_id"):
        for side, lines in sides.items():
            facts[f"{side} sidecar, distinct {key}"] = len({line.get(key) for line in lines} - {None})
    client_ids = Counter(line.get("request_id") for line in client if line.get("request_id"))
    server_ids = Counter(line.get("request_id") for line in server if line.get("request_id"))
    facts["lines with the same request_id on both sides"] = sum((client_ids & server_ids).values())
    ends = {line.get("upstream_local_address") for line in client} - {None}
    peers = {line.get("downstream_remote_address") for line in server} - {None}
    facts["server downstream_remote_address that are a client upstream_local_address"] = len(ends & peers)
    return facts


def compare_relations(recorded, got, races=None):
    """`recorded` and `got`: side -> parsed lines; `races`: fact -> all values that were seen."""
    races = races or {}
    before = relations(recorded["client"], recorded["server"])
    after = relations(got["client"], got["server"])
    return [
        f"{fact}: recorded {before[fact]}, got {after[fact]}"
        for fact in before
        if after[fact] != before[fact] and after[fact] not in races.get(fact, ())
    ]


def compare_logs(recorded, got, races=None):
    """Differences between two pairs of logs (side -> text), by the outcome of known races that fits best.

    `races` is the scenario's entry of known_races.json: `outcomes`, `relations`, `slack_ms`, each optional.
    """
    races = races or {}
    old = {side: parse_log(recorded[side]) for side in SIDES}
    new = {side: parse_log(got[side]) for side in SIDES}
    attempts = [compare_outcome(old, new, outcome, races) for outcome in [{}, *races.get("outcomes", ())]]
    return min(attempts, key=len)


def differ_in_duration_alone(differences):
    """Whether these lines of `compare_logs` name no other key than `duration`."""
    of_a_line = re.compile(r"    duration: |(?:client sidecar|server sidecar|gateway), line (?!too many)")
    return all(of_a_line.match(line) for line in differences)


def compare_outcome(recorded, got, outcome, races):
    """Differences from one outcome of the races; `recorded` and `got`: side -> parsed lines."""
    differences = []
    for side in SIDES:
        expected = with_outcome(recorded[side], outcome.get(side))
        differences += compare_lines(side, expected, got[side], races.get("slack_ms", (0, 0)))
    # with a line missing or too many the counts cannot agree, and say nothing new
    if all(len(recorded[side]) == len(got[side]) for side in SIDES):
        differences += compare_relations(recorded, got, races.get("relations"))
    return differences


# ---------------------------------------------------------------- scenario.md
VIEW = "What was done and what the client saw"

VOLATILE = [
    (re.compile(r"^date: .*", re.M | re.I), "date: <date>"),
    (re.compile(r"^(\s*sec-websocket-(?:accept|key)): .*", re.M | re.I), r"\1: <key>"),
    (UUID, "<uuid>"),
    (re.compile(r"(?<=date: )\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"), "<date>"),
    (re.compile(r"\b(x-envoy-upstream-service-time): \d+"), r"\1: <digits>"),
    (re.compile(r"\b(127\.0\.0\.\d+):\d{5}\b"), r"\1:<port>"),
    (re.compile(r"(returned after|then idle: after) [\d.]+ s"), r"\1 <time>"),
]


def section(markdown, title):
    """The text of a second-level section, without its heading; empty if there is none."""
    match = re.search(
        rf"^## {re.escape(title)}$\n(.*?)(?=^## (?:On the wire|client sidecar log|gateway log)|\Z)", markdown, re.M | re.S
    )
    return match[1].strip() if match else ""


def normalise_view(text):
    """What the client saw, without what differs from run to run."""
    text = re.sub(r"(counters[^\n]*:\n\n)```\n.*?\n```", r"\1```\n<counters>\n```", text, flags=re.S)
    for pattern, replacement in VOLATILE:
        text = pattern.sub(replacement, text)
    text = re.sub(r"^SETTINGS (.+)$", lambda m: "SETTINGS " + ", ".join(sorted(m[1].split(", "))), text, flags=re.M)
    return without_python_version(join_data(text))


DATA_FRAMES = re.compile(r"(?:^stream (\d+) DATA \d+ bytes b(?:'[^\n]*'|\"[^\n]*\")\n)(?:^stream \1 DATA \d+ bytes [^\n]*\n)*", re.M)


def join_data(text):
    """Neighbouring DATA frames of a stream as one: how a body or a WebSocket frame is cut into them carries no meaning."""

    def joined(match):
        frames = re.findall(r"DATA (\d+) bytes (b.*)", match[0])
        size = sum(int(length) for length, _ in frames)
        shown = b"".join(ast.literal_eval(payload) for _, payload in frames)[:60]
        return f"stream {match[1]} DATA {size} bytes {shown!r}\n"

    return DATA_FRAMES.sub(joined, text)


def text_difference(recorded, got):
    """A unified diff without its header; empty if equal."""
    lines = difflib.unified_diff(recorded.splitlines(), got.splitlines(), "recorded", "got", lineterm="", n=2)
    return [line for line in lines][2:]


def compare_views(recorded, got, races=None):
    """Differences in what the client saw; `recorded` and `got` are the texts of two scenario.md."""
    views = [normalise_view(section(text, VIEW)) for text in (recorded, got)]
    for pattern, replacement in (races or {}).get("view", ()):
        views = [re.sub(pattern, replacement, view) for view in views]
    return text_difference(*views)
