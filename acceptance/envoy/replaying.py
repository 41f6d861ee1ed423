"""Plays recorded scenarios again and compares: what the replay of a pair of sidecars and that of a gateway have in common.

A `Replay` says what the two proxies are, how a scenario is played on them and described; here are recordings, jobs, verdicts
and the command line. replay.py and ../gateway/replay.py are the programs.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import re
import signal
import sys
import time
import traceback

import compare
import stage
from pair import RECORDED_NETWORK, claim_network

TIME_LIMIT = 60  # seconds a run of a scenario
MAX_RUNS = 3  # of a scenario in which nothing but durations differs
MAX_LINES = 200  # of differences of one scenario
MAX_SHOWN = 9000  # characters of an access log in scenario.md


# ---------------------------------------------------------------- what differs between the replays
class Replay:
    """Two proxies, named by `sides`, and the scenarios that were recorded with them."""

    folder: str  # with recordings/ and known_races.json
    sides: tuple
    scenarios: list

    def log_name(self, side):
        """The file of an access log in a recording."""
        raise NotImplementedError

    def stage(self, scenario, network, make_pair):
        """What the scenario gets to see, not started yet, with its addresses in `network`."""
        raise NotImplementedError

    def describe(self, scenario, live):
        """The sections of scenario.md before the access logs."""
        raise NotImplementedError

    def compare_logs(self, recorded, got, races):
        raise NotImplementedError

    def compare_views(self, recorded, got, races):
        raise NotImplementedError

    def inexpressible(self, scenario):
        """What of the scenario no document can express; empty if all can be."""
        raise NotImplementedError


@dataclasses.dataclass
class Recording:
    """What one run of a scenario left: both access logs, scenario.md, config.json, perhaps more files; standard error."""

    logs: dict
    scenario: str
    config: str = ""
    files: dict = dataclasses.field(default_factory=dict)
    standard_error: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, replay, folder):
        def text(name):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                return file.read()

        return cls({side: text(replay.log_name(side)) for side in replay.sides}, text("scenario.md"))

    def write(self, replay, folder):
        os.makedirs(folder, exist_ok=True)
        contents = {replay.log_name(side): log for side, log in self.logs.items()}
        contents |= {"scenario.md": self.scenario, "config.json": self.config, **self.files}
        for name, text in contents.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)

    def lines_to_wait_for(self):
        """How many lines each log will have; not counting those that a proxy writes at its own end."""
        return {
            side: sum("downstream_local_disconnect" not in line for line in log.splitlines()) for side, log in self.logs.items()
        }


# ---------------------------------------------------------------- one scenario
class TimeLimit(Exception):
    """A scenario took too long."""


def on_alarm(signum, frame):
    raise TimeLimit(f"not done after {TIME_LIMIT} s")


def perform(replay, scenario, make_pair, network, expected_lines):
    """Runs one scenario; returns the recording and the exception that ended it early, if any."""
    live = replay.stage(scenario, network, make_pair)
    try:
        try:
            error = play(scenario, live)
            # The logs get time until they have the lines that the recording has, or 3 s; then a moment for a line too many.
            for side in replay.sides:
                live.wait_for_lines(side, 0 if error else expected_lines[side], timeout=3)
            time.sleep(0.25)
        finally:
            live.stop()
        return record(replay, scenario, live, network), error
    finally:
        live.pair.clean_up()


def play(scenario, live):
    """Starts the parts and plays the scenario; returns the exception that ended it early, if any."""
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(TIME_LIMIT)
    try:
        live.app = stage.start_application(scenario.application, live.options)
        if scenario.tap:
            live.tap = stage.WireTap(live.options.upstream, live.options.inbound)
        live.pair.start()
        scenario.perform(live)
    except Exception as error:
        return error
    finally:
        signal.alarm(0)
    return None


def record(replay, scenario, live, network):
    """The recording of a run, with the addresses that all recordings have."""

    def canonical(text):
        return text.replace(network, RECORDED_NETWORK)

    logs = {side: canonical(live.pair.logs(side)) for side in replay.sides}
    parts = replay.describe(scenario, live)
    for side, log in logs.items():
        shown = log if len(log) < MAX_SHOWN else log[: MAX_SHOWN * 2 // 3] + "... (see the file)\n"
        title = replay.log_name(side).removesuffix(".jsonl").replace("-", " ")
        parts.append(f"## {title} log ({log.count(chr(10))} line(s))\n\n```\n{shown}```\n")
    return Recording(
        logs,
        canonical("\n".join(parts)),
        canonical(json.dumps(vars(live.options), indent=1) + "\n"),
        {name: canonical(text) for name, text in live.files.items()},
        {side: live.pair.standard_error(side) for side in replay.sides},
    )


# ---------------------------------------------------------------- jobs
@dataclasses.dataclass
class Settings:
    """What every job needs to know."""

    replay: Replay
    scenarios: dict
    recordings: dict
    races: dict
    make_pair: object
    keep: str | None
    record: bool


@dataclasses.dataclass
class Result:
    """The outcome of one scenario: ok, DIFF or ERROR, and the lines that explain it."""

    verdict: str
    lines: list


SETTINGS: Settings | None = None
NETWORK = RECORDED_NETWORK


def start_job(settings):
    global SETTINGS, NETWORK
    SETTINGS, NETWORK = settings, claim_network()


def run_job(name):
    """Runs one scenario in a job's process; its name, its result, and the seconds it took."""
    start = time.monotonic()
    try:
        result = record_anew(name) if SETTINGS.record else judge(name)
    except Exception:
        result = Result("ERROR", traceback.format_exc().splitlines())
    return name, result, time.monotonic() - start


def run(name, expected_lines):
    return perform(SETTINGS.replay, SETTINGS.scenarios[name], SETTINGS.make_pair, NETWORK, expected_lines)


def record_anew(name):
    """Plays, and writes the recording unless the scenario could not be played to its end."""
    got, error = run(name, {side: 0 for side in SETTINGS.replay.sides})
    if error:
        return Result("ERROR", explain(error, got))
    got.write(SETTINGS.replay, SETTINGS.recordings[name])
    return Result("ok", [])


def judge(name):
    """Plays and compares; again where nothing but a duration differs: other work on the machine delays one run of a scenario,
    and a timer that is wrong delays each."""
    for _ in range(MAX_RUNS):
        result, only_late = judge_once(name)
        if not only_late:
            break
    return result


def judge_once(name):
    """The result of one run, and whether nothing but durations is wrong in it."""
    replay, folder, races = SETTINGS.replay, SETTINGS.recordings[name], SETTINGS.races.get(name)
    recorded = Recording.read(replay, folder)
    got, error = run(name, recorded.lines_to_wait_for())
    if error and not any(got.logs.values()):
        return Result("ERROR", explain(error, got)), False
    if SETTINGS.keep:
        got.files |= {replay.log_name(side).replace(".jsonl", ".stderr"): text for side, text in got.standard_error.items()}
        got.write(replay, os.path.join(SETTINGS.keep, os.path.basename(folder)))
    differences = replay.compare_logs(recorded.logs, got.logs, races)
    view = replay.compare_views(recorded.scenario, got.scenario, races)
    lines = (explain(error, got) if error else []) + differences
    if view:
        lines += ["what the client saw", *("    " + line for line in view)]
    verdict = "ERROR" if error else "DIFF" if lines else "ok"
    return Result(verdict, lines), verdict == "DIFF" and not view and compare.differ_in_duration_alone(differences)


def explain(error, got):
    """What ended a scenario early, where in the scenarios that was, and what the proxies said last."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(("scenarios.py", "stage.py"))]
    lines = [f"the scenario could not be played to its end: {type(error).__name__}: {error}"]
    lines += [f"    {os.path.basename(frame.filename)}:{frame.lineno} {frame.line}" for frame in frames[-3:]]
    for side, text in got.standard_error.items():
        lines += [f"standard error of {side}: {line}" for line in text.splitlines()[-5:]]
    return lines


def shortened(lines):
    rest = len(lines) - MAX_LINES
    return lines if rest <= 0 else [*lines[:MAX_LINES], f"... and {rest} lines more; see --keep"]


# ---------------------------------------------------------------- the command
def arguments_of(description):
    """A parser for what all replays take after the proxies."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="REGEX", default="", help="only scenarios whose name matches")
    parser.add_argument("--jobs", metavar="N", type=int, default=4, help="scenarios at the same time (default 4)")
    parser.add_argument("--keep", metavar="DIR", help="keep what was logged and seen, laid out like a recording, in DIR")
    return parser


def main(replay, arguments, make_pair, *, record, documents):
    """Plays the chosen scenarios, on proxies that take documents or any options; returns the exit status."""
    known = {scenario.name: scenario for scenario in replay.scenarios}
    root = os.path.join(replay.folder, "recordings")
    recordings = {entry.partition("-")[2]: os.path.join(root, entry) for entry in sorted(os.listdir(root))}
    names = [name for name in recordings if re.search(arguments.only, name)]
    unknown = [name for name in names if name not in known]
    if not names:
        sys.exit(f"replay.py: no scenario matches {arguments.only!r}")
    if unknown:
        sys.exit(f"replay.py: recordings without a scenario: {', '.join(unknown)}")
    skipped = {name: why for name in names if documents and (why := replay.inexpressible(known[name]))}
    with open(os.path.join(replay.folder, "known_races.json"), encoding="utf-8") as file:
        races = json.load(file)
    settings = Settings(replay, known, recordings, races, make_pair, arguments.keep, record)
    verdicts = []
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs, context, start_job, (settings,)) as pool:
        try:
            futures = [pool.submit(run_job, name) for name in names if name not in skipped]
            for future in concurrent.futures.as_completed(futures):
                name, result, seconds = future.result()
                verdicts.append(result.verdict)
                print(f"{result.verdict:5} {name}  {seconds:.1f} s")
                print("".join(f"    {line}\n" for line in shortened(result.lines)), end="", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            return 130
    for name, why in skipped.items():
        print(f"skip  {name}  ({why})")
    passed = verdicts.count("ok")
    print(f"{passed} passed, {len(verdicts) - passed} failed" + (f", {len(skipped)} skipped" if skipped else ""))
    return 0 if passed == len(verdicts) else 1
