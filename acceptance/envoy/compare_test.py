"""Tests of compare.py: compare_test.py"""

import json
import os
import unittest

import compare

HERE = os.path.dirname(os.path.abspath(__file__))
CLUSTER = "outbound|8080||websockets-server.default.svc.cluster.local"
LINE = {
    "start_time": "2026-11-23T15:13:39.025Z",
    "method": "GET",
    "path": "/",
    "protocol": "HTTP/1.1",
    "response_code": 101,
    "response_flags": "UC",
    "response_code_details": "upstream_reset_after_response_started{connection_termination}",
    "bytes_received": 30,
    "bytes_sent": 18,
    "duration": 1003,
    "upstream_service_time": None,
    "user_agent": "Python/3.11 websockets/17.4",
    "request_id": "39cd2e0a-5e62-4ef1-969f-1f640822503c",
    "upstream_host": "127.0.10.2:8000",
    "upstream_cluster": CLUSTER,
    "upstream_local_address": "127.0.0.1:50076",
    "downstream_local_address": "127.0.10.1:8080",
    "downstream_remote_address": "127.0.0.1:36028",
}
TEXT = (
    '[2026-11-23T15:14:25.503Z] "GET / HTTP/1.1" 101 UC upstream_reset_after_response_started{connection_termination}'
    ' - "-" 34 22 1019 - "-" "Python/3.11 websockets/17.4" "edd695f0-97d5-4b1c-9eaa-724c99b8ddd6"'
    f' "websockets-server.default.svc.cluster.local:8080" "127.0.10.2:8000" {CLUSTER}'
    " 127.0.0.1:51908 127.0.10.1:8080 127.0.0.1:55024 - default"
)


def log(*lines):
    return "".join(json.dumps(line) + "\n" for line in lines)


def differences(recorded, got, races=None):
    return compare.compare_logs({"client": log(*recorded), "server": ""}, {"client": log(*got), "server": ""}, races)


class Normalisation(unittest.TestCase):
    def test_what_differs_in_each_run_is_no_difference(self):
        other = {
            **LINE,
            "start_time": "2027-01-01T00:00:00.000Z",
            "request_id": "00000000-5e62-4ef1-969f-1f640822503c",
            "user_agent": "Python/3.13 websockets/17.4",
            "upstream_local_address": "127.0.0.1:1234",
            "downstream_remote_address": "127.0.0.1:4321",
            "duration": 1100,
        }
        self.assertEqual(differences([LINE], [other]), [])

    def test_key_order_is_no_difference(self):
        self.assertEqual(differences([LINE], [dict(reversed(LINE.items()))]), [])

    def test_line_order_is_no_difference(self):
        other = {**LINE, "path": "/other", "request_id": "x"}
        self.assertEqual(differences([LINE, other], [other, LINE]), [])

    def test_every_other_value_is_a_difference(self):
        changes = {
            "start_time": "2026-11-23 15:13:39",
            "request_id": None,
            "upstream_service_time": "3",
            "response_code": "101",
            "bytes_sent": 19,
            "response_flags": "-",
            "upstream_host": "127.0.10.2:8001",
            "downstream_local_address": "127.0.10.1:8081",
            "upstream_local_address": "127.0.0.6:50076",
            "downstream_remote_address": None,
            "user_agent": "curl",
        }
        for key, value in changes.items():
            with self.subTest(key):
                text = "\n".join(differences([LINE], [{**LINE, key: value}]))
                self.assertIn(f"    {key}: recorded ", text)

    def test_a_given_request_id_is_compared(self):
        self.assertTrue(differences([{**LINE, "request_id": "my-own-id"}], [LINE]))

    def test_a_missing_and_an_additional_key(self):
        without = {key: value for key, value in LINE.items() if key != "upstream_service_time"}
        self.assertIn("got (no such key)", "\n".join(differences([LINE], [without])))
        self.assertIn("recorded (no such key)", "\n".join(differences([without], [LINE])))

    def test_true_is_not_one(self):
        self.assertTrue(differences([{**LINE, "bytes_sent": 1}], [{**LINE, "bytes_sent": True}]))


class Durations(unittest.TestCase):
    def test_long_ones_from_both_sides(self):
        self.assertTrue(compare.duration_agrees(1003, 1340))
        self.assertFalse(compare.duration_agrees(1003, 1400))
        self.assertFalse(compare.duration_agrees(1003, 3))
        self.assertTrue(compare.duration_agrees(8000, 9900))
        self.assertFalse(compare.duration_agrees(8000, 10100))

    def test_short_ones_from_above(self):
        self.assertTrue(compare.duration_agrees(3, 0))
        self.assertTrue(compare.duration_agrees(3, 800))
        self.assertFalse(compare.duration_agrees(3, 1000))

    def test_slack(self):
        self.assertTrue(compare.duration_agrees(1003, 600, slack=(100, 0)))
        self.assertTrue(compare.duration_agrees(1003, 1900, slack=(0, 1000)))
        self.assertFalse(compare.duration_agrees(1003, 3, slack=(0, 1000)))
        self.assertEqual(differences([LINE], [{**LINE, "duration": 1900}], {"slack_ms": [0, 1000]}), [])

    def test_whether_nothing_else_differs(self):
        slow = {**LINE, "duration": 3000}
        self.assertTrue(compare.differ_in_duration_alone(differences([LINE], [slow])))
        for other in ([{**slow, "bytes_sent": 1}], [], [LINE, LINE], [{**slow, "upstream_local_address": None}]):
            self.assertFalse(compare.differ_in_duration_alone(differences([LINE], other)))

    def test_only_numbers(self):
        self.assertFalse(compare.duration_agrees(3, "3"))
        self.assertFalse(compare.duration_agrees(3, None))
        self.assertFalse(compare.duration_agrees(3, -1))

    def test_of_equal_lines_are_compared_in_ascending_order(self):
        slow = {**LINE, "duration": 3000}
        self.assertEqual(differences([LINE, slow], [slow, LINE]), [])
        self.assertIn("duration: recorded 3000", "\n".join(differences([LINE, slow], [LINE, LINE])))


class Lines(unittest.TestCase):
    def test_a_missing_line(self):
        self.assertIn("client sidecar, no such line: HTTP/1.1 GET / 101", differences([LINE], [])[0])

    def test_a_line_too_many(self):
        self.assertIn("client sidecar, line too many", differences([LINE], [LINE, LINE])[0])

    def test_lines_are_paired_with_the_most_similar(self):
        other = {**LINE, "path": "/other"}
        text = differences([LINE, other], [{**other, "bytes_sent": 1}, LINE])
        self.assertEqual(text[1:], ["    bytes_sent: recorded 18, got 1"])

    def test_an_unreadable_line(self):
        result = compare.compare_logs({"client": log(LINE), "server": ""}, {"client": "{oops\n", "server": ""})
        self.assertIn('"{oops"', "\n".join(result))

    def test_text(self):
        line = compare.parse_line(TEXT)
        self.assertEqual(line["response_code"], 101)
        self.assertEqual(line["authority"], "websockets-server.default.svc.cluster.local:8080")
        self.assertIsNone(line["upstream_service_time"])
        self.assertEqual(line["route_name"], "default")
        self.assertEqual(compare.parse_line(TEXT.replace(" UC ", " - "))["response_flags"], "-")

    def test_text_is_not_json(self):
        other = compare.parse_line(TEXT)
        del other["format"]
        result = compare.compare_logs({"client": TEXT, "server": ""}, {"client": log(other), "server": ""})
        self.assertIn("    format: recorded", "\n".join(result))


class Relations(unittest.TestCase):
    def test_sessions_that_share_a_connection(self):
        second = {**LINE, "request_id": "00000000-5e62-4ef1-969f-1f640822503c"}
        apart = {**second, "upstream_local_address": "127.0.0.1:50077"}
        fact = "client sidecar, distinct upstream_local_address"
        self.assertEqual(differences([LINE, second], [LINE, apart]), [f"{fact}: recorded 1, got 2"])
        self.assertEqual(differences([LINE, second], [LINE, apart], {"relations": {fact: [1, 2]}}), [])

    def test_request_id_joins_the_sides(self):
        recorded = {"client": log(LINE), "server": log(LINE)}
        got = {**recorded, "server": log({**LINE, "request_id": "00000000-5e62-4ef1-969f-1f640822503c"})}
        self.assertEqual(
            compare.compare_logs(recorded, got), ["lines with the same request_id on both sides: recorded 1, got 0"]
        )


class Races(unittest.TestCase):
    """A race with the outcomes client UC, server UC (recorded) and client DC, server SI."""

    RACES = {
        "outcomes": [
            {
                "client": {"recorded": {"response_flags": "UC"}, "alternative": {"response_flags": "DC"}},
                "server": {"recorded": {"response_flags": "UC"}, "alternative": {"response_flags": "SI"}},
            }
        ]
    }

    def outcome(self, client_flags, server_flags, **changes):
        recorded = {"client": log(LINE), "server": log(LINE)}
        got = {
            "client": log({**LINE, "response_flags": client_flags, **changes}),
            "server": log({**LINE, "response_flags": server_flags}),
        }
        return compare.compare_logs(recorded, got, self.RACES)

    def test_known_outcomes_pass(self):
        self.assertEqual(self.outcome("UC", "UC"), [])
        self.assertEqual(self.outcome("DC", "SI"), [])

    def test_nothing_else_does(self):
        self.assertTrue(self.outcome("DC", "UC"))
        self.assertTrue(self.outcome("UC", "SI"))
        self.assertTrue(self.outcome("DC", "SI", bytes_sent=1))

    def test_each_known_race_is_of_a_recording(self):
        with open(os.path.join(HERE, "known_races.json"), encoding="utf-8") as file:
            names = set(json.load(file))
        recorded = {name.partition("-")[2] for name in os.listdir(os.path.join(HERE, "recordings"))}
        self.assertEqual(names - recorded, set())


class Views(unittest.TestCase):
    MARKDOWN = (
        "# x\n\n## What was done and what the client saw\n\n{}\n\n"
        "## On the wire between the sidecars\n\nC = client sidecar\n\n```\n```\n\n## client sidecar log (0 line(s))\n"
    )

    def view(self, recorded, got, races=None):
        return compare.compare_views(self.MARKDOWN.format(recorded), self.MARKDOWN.format(got), races)

    def test_what_differs_in_each_run(self):
        old = "date: Mon, 23 Nov 2026 15:13:39 GMT\nsec-websocket-accept: jU7rbPG9JDLZLrtVpVojDrUyk58=\n- `close()` returned after 2.0 s"
        new = "date: Tue, 24 Nov 2026 15:13:39 GMT\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n- `close()` returned after 2.1 s"
        self.assertEqual(self.view(old, new), [])
        self.assertEqual(
            self.view("counters while open:\n\n```\na 1\n```", "counters while open:\n\n```\nb 2\n```"), []
        )

    def test_the_rest(self):
        self.assertEqual(self.view("server: envoy", "server: other")[1:], ["-server: envoy", "+server: other"])

    def test_races(self):
        races = {"view": [["TCP FIN|TCP RST", "<end>"]]}
        self.assertTrue(self.view("TCP FIN", "TCP RST"))
        self.assertEqual(self.view("TCP FIN", "TCP RST", races), [])


class Framing(unittest.TestCase):
    def test_how_data_is_cut_does_not_matter_but_its_bytes_do(self):
        one = "stream 1 DATA 7 bytes b'\\x81\\x05hello'\nstream 1 END_STREAM\n"
        two = "stream 1 DATA 2 bytes b'\\x81\\x05'\nstream 1 DATA 5 bytes b'hello'\nstream 1 DATA 0 bytes b''\nstream 1 END_STREAM\n"
        self.assertEqual(compare.join_data(one), compare.join_data(two))
        self.assertNotEqual(compare.join_data(one), compare.join_data(two.replace("hello", "hullo")))
        self.assertEqual(compare.normalise_view("SETTINGS A=1, B=2\n"), compare.normalise_view("SETTINGS B=2, A=1\n"))


class Recordings(unittest.TestCase):
    def test_each_recording_agrees_with_itself(self):
        recordings = os.path.join(HERE, "recordings")
        for folder in sorted(os.listdir(recordings)):
            with self.subTest(folder):
                logs = {}
                for side in compare.SIDES:
                    with open(os.path.join(recordings, folder, f"{side}-sidecar.jsonl"), encoding="utf-8") as file:
                        logs[side] = file.read()
                self.assertNotIn("unreadable line", json.dumps([compare.parse_log(text) for text in logs.values()]))
                self.assertEqual(compare.compare_logs(logs, logs), [])


if __name__ == "__main__":
    unittest.main()
