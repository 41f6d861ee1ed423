//! One run with a scenario that holds, one that fails and two that are not judged, as each report
//! shows it.

use std::path::PathBuf;
use std::time::Duration;

use super::{Github, Human, Json, Junit, Reporter};
use crate::access_log::explain::{Explanation, Health, Origin, Proxy};
use crate::verify::event::{Summary, VerifyEvent};
use crate::verify::expect::Side;
use crate::verify::judge::{CaseVerdict, Check, Reservation, Subject, Verdict};
use crate::yaml::{self, Text};

fn check(field: &str, expected: &str, actual: &str, at: u64) -> Check {
    Check {
        subject: Subject::Log(Side::Server),
        field: field.to_owned(),
        expected: expected.to_owned(),
        actual: actual.to_owned(),
        holds: expected == actual,
        request_id: Some("<id>".to_owned()),
        line: Some("{\"path\":\"/a%b|<c>\"}".to_owned()),
        explanation: (expected != actual).then(|| Explanation {
            sidecar: Proxy::Server,
            asked: "GET /".to_owned(),
            ended: "it is 100% wrong".into(),
            origin: Origin::Here,
            health: Health::Failed,
            change: Some("mend <it>".into()),
        }),
        at: Some(at),
    }
}

fn run(report: &mut impl Reporter) {
    let case = |checks| CaseVerdict {
        label: None,
        elapsed: Duration::from_millis(750),
        checks,
        decided_by: Vec::new(),
    };
    let verdict = |name: &str, file: Option<&str>, checks, reservations| Verdict {
        scenario: name.to_owned(),
        file: file.map(PathBuf::from),
        elapsed: Duration::from_millis(1500),
        cases: vec![case(checks)],
        reservations,
    };
    let good = || vec![check("method", "GET", "GET", 7)];
    let bad = vec![
        check("protocol", "HTTP/2", "HTTP/1.1", 9),
        check("path", "/", "/a%b|<c>", 10),
        check("method", "GET", "null", 11),
    ];
    let mut summary = Summary { elapsed: Duration::from_secs(2), ..Summary::default() };
    report.hear(&VerifyEvent::Started { cases: 4 }).expect("memory takes everything");
    for verdict in [
        verdict("good", None, good(), Vec::new()),
        verdict("bad", Some("ci/a,b.yaml"), bad, Vec::new()),
        verdict("open", None, good(), redirected()),
        verdict("open too", None, good(), redirected()),
    ] {
        summary.count(&verdict);
        report.hear(&VerifyEvent::Judged(verdict)).expect("memory takes everything");
    }
    report.hear(&VerifyEvent::Finished(summary)).expect("memory takes everything");
}

/// What a document says and nothing was played of.
fn redirected() -> Vec<Reservation> {
    let text = Text::new("vs.yaml", "a: 1\nredirect: <b>\n".to_owned());
    let document = &yaml::documents(&text).expect("YAML")[0];
    vec![Reservation {
        place: Some(document.place_of("redirect")),
        message: "every request for <b> is redirected".to_owned(),
        code: "redirect",
        fix: "Route to the Service.".into(),
    }]
}

fn written(report: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    report(&mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn github_gets_an_annotation_in_one_line_at_the_place_of_the_expectation_and_a_summary() {
    let mut summary = Vec::new();
    let commands = written(|out| run(&mut Github::new(out, Some(&mut summary), false)));
    assert_eq!(
        commands,
        "::error file=ci/a%2Cb.yaml,line=9,title=verify%3A bad::it is 100%25 wrong%0Awhat to do: mend <it>%0Aserver: \
         protocol: expected HTTP/2, was HTTP/1.1%0Aserver: path: expected /, was /a%25b|<c>%0Aand 1 that follow from \
         it, request id <id> (-v shows all, and the access-log lines)\n\
         ::error file=vs.yaml,line=2,col=11,title=verify%3A not judged%3A redirect::every request for <b> is \
         redirected%0ARoute to the Service.\n"
    );
    assert_eq!(
        String::from_utf8(summary).expect("text"),
        "### websockets-cli verify: 1 ok, 1 failed, 2 not judged\n\n\
         | scenario | verdict | why |\n| --- | --- | --- |\n\
         | good | ok |  |\n\
         | bad | **FAIL** | it is 100% wrong<br>what to do: mend &lt;it><br>server: protocol: expected HTTP/2, was \
         HTTP/1.1<br>server: path: expected /, was /a%b\\|&lt;c><br>and 1 that follow from it, request id &lt;id> \
         (-v shows all, and the access-log lines) |\n\
         | open | **not judged** | vs.yaml:2:11: every request for &lt;b> is redirected \\[redirect\\] |\n\
         | open too | **not judged** | vs.yaml:2:11: every request for &lt;b> is redirected \\[redirect\\] |\n"
    );
}

#[test]
fn junit_has_a_suite_a_scenario_and_a_failure_with_everything_that_failed() {
    let xml = written(|out| run(&mut Junit::new(out, false)));
    let report = quick_junit::Report::deserialize_from_str(&xml);
    let counted = report.map(|report| (report.tests, report.failures, report.errors));
    assert_eq!(counted.ok(), Some((4, 1, 2)), "{xml}");
    assert!(xml.contains("<testsuite name=\"bad\""), "{xml}");
    assert!(
        xml.contains("<testcase name=\"bad\" classname=\"bad\" assertions=\"3\" time=\"0.750\""),
        "{xml}"
    );
    assert!(xml.contains("message=\"it is 100% wrong\" type=\"protocol\""), "{xml}");
    assert_eq!(xml.matches("it is 100% wrong").count(), 1, "{xml}");
    assert!(xml.contains("what to do: mend &lt;it&gt;\n"), "{xml}");
    assert!(!xml.contains("method: expected"), "{xml}");
    let all = written(|out| run(&mut Junit::new(out, true)));
    assert!(all.contains("server: method: expected GET, was null\n{"), "{all}");
    assert!(xml.contains("server: path: expected /, was /a%b|&lt;c&gt;"), "{xml}");
    let why = "not judged: vs.yaml:2:11: every request for &lt;b&gt; is redirected [redirect]";
    assert!(xml.contains(&format!("<error message=\"{why}\" type=\"redirect\"")), "{xml}");
    assert!(xml.contains("\nRoute to the Service."), "{xml}");
}

#[test]
fn json_has_a_version_and_says_of_every_check_what_was_expected_and_found() {
    let text = written(|out| run(&mut Json::new(out)));
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&report["version"], &report["holds"], &report["failed"]),
        (&1.into(), &false.into(), &1.into())
    );
    let bad = &report["scenarios"][1];
    assert_eq!((&bad["name"], &bad["file"]), (&"bad".into(), &"ci/a,b.yaml".into()));
    assert_eq!(bad["cases"][0]["seconds"], 0.75);
    let check = &bad["cases"][0]["checks"][0];
    assert_eq!(check["subject"], "server");
    assert_eq!((&check["expected"], &check["actual"]), (&"HTTP/2".into(), &"HTTP/1.1".into()));
    assert_eq!((&check["holds"], &check["at"]), (&false.into(), &9.into()));
    assert_eq!(check["explanation"], serde_json::Value::Null);
    let cause = serde_json::json!({"why": "it is 100% wrong", "change": "mend <it>"});
    assert_eq!(bad["cases"][0]["cause"], cause);
    assert_eq!(report["scenarios"][0]["cases"][0]["cause"], serde_json::Value::Null);
    assert_eq!(text.matches("it is 100% wrong").count(), 1, "{text}");
    assert_eq!(report["scenarios"][0]["cases"][0]["checks"][0]["explanation"], serde_json::Value::Null);
}

#[test]
fn json_says_of_what_is_not_judged_that_it_does_not_hold_and_why() {
    let text = written(|out| run(&mut Json::new(out)));
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&report["outcome"], &report["not_judged"]), (&"failed".into(), &2.into()));
    assert_eq!(report["scenarios"][0]["outcome"], "ok");
    assert_eq!(report["scenarios"][1]["not_judged"], serde_json::json!([]));
    let open = &report["scenarios"][2];
    assert_eq!((&open["holds"], &open["outcome"]), (&false.into(), &"not_judged".into()));
    let why = serde_json::json!([{
        "code": "redirect", "message": "every request for <b> is redirected", "fix": "Route to the Service.",
        "file": "vs.yaml", "line": 2, "column": 11,
    }]);
    assert_eq!(open["not_judged"], why);
}

#[test]
fn people_read_what_is_not_judged_at_each_scenario_and_what_to_do_once() {
    let text = written(|out| run(&mut Human::new(out, false, false, false)));
    let (verdicts, end) = text.split_once("\n\n").expect("a line at the end");
    assert!(verdicts.contains("not judged  open\n      not judged: redirect (vs.yaml:2:11)\n"), "{text}");
    assert_eq!(verdicts.matches("not judged: redirect (vs.yaml:2:11)").count(), 2, "{text}");
    let expected = "4 scenarios: 1 ok, 1 failed, 2 not judged in 2.00 s\n\nNot judged:\n  \
                    vs.yaml:2:11: every request for <b> is redirected [redirect]\n    Route to the Service.\n";
    assert_eq!(end, expected);
}
