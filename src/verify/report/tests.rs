//! One run with a scenario that holds and one that fails, as each report shows it.

use std::path::PathBuf;
use std::time::Duration;

use super::{Github, Json, Junit, Reporter};
use crate::verify::event::{Summary, VerifyEvent};
use crate::verify::expect::Side;
use crate::verify::judge::{CaseVerdict, Check, Subject, Verdict};

fn check(field: &str, expected: &str, actual: &str, at: u64) -> Check {
    Check {
        subject: Subject::Log(Side::Server),
        field: field.to_owned(),
        expected: expected.to_owned(),
        actual: actual.to_owned(),
        holds: expected == actual,
        line: Some("{\"path\":\"/a%b|<c>\"}".to_owned()),
        explanation: (expected != actual).then(|| "sidecar: it is 100% wrong".to_owned()),
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
    let verdict = |name: &str, file: Option<&str>, checks| {
        VerifyEvent::Judged(Verdict {
            scenario: name.to_owned(),
            file: file.map(PathBuf::from),
            elapsed: Duration::from_millis(1500),
            cases: vec![case(checks)],
        })
    };
    for event in [
        VerifyEvent::Started { cases: 2 },
        verdict("good", None, vec![check("method", "GET", "GET", 7)]),
        verdict(
            "bad",
            Some("ci/a,b.yaml"),
            vec![check("protocol", "HTTP/2", "HTTP/1.1", 9), check("path", "/", "/a%b|<c>", 10)],
        ),
        VerifyEvent::Finished(Summary { held: 1, failed: 1, elapsed: Duration::from_secs(2) }),
    ] {
        report.hear(&event).expect("memory takes everything");
    }
}

fn written(report: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    report(&mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn github_gets_an_annotation_in_one_line_at_the_place_of_the_expectation_and_a_summary() {
    let mut summary = Vec::new();
    let commands = written(|out| run(&mut Github::new(out, Some(&mut summary))));
    assert_eq!(
        commands,
        "::error file=ci/a%2Cb.yaml,line=9,title=verify%3A bad::server: protocol: expected HTTP/2, was HTTP/1.1%0A\
         server: path: expected /, was /a%25b|<c>%0A{\"path\":\"/a%25b|<c>\"}%0Asidecar: it is 100%25 wrong\n"
    );
    assert_eq!(
        String::from_utf8(summary).expect("text"),
        "### websockets-cli verify: 1 ok, 1 failed\n\n\
         | scenario | verdict | what failed |\n| --- | --- | --- |\n\
         | good | ok |  |\n\
         | bad | **FAIL** | server: protocol: expected HTTP/2, was HTTP/1.1<br>server: path: expected /, was /a%b\\|&lt;c> |\n"
    );
}

#[test]
fn junit_has_a_suite_a_scenario_and_a_failure_with_everything_that_failed() {
    let xml = written(|out| run(&mut Junit::new(out)));
    let report = quick_junit::Report::deserialize_from_str(&xml);
    assert!(report.is_ok_and(|report| (report.tests, report.failures) == (2, 1)), "{xml}");
    assert!(xml.contains("<testsuite name=\"bad\""), "{xml}");
    assert!(
        xml.contains("<testcase name=\"bad\" classname=\"bad\" assertions=\"2\" time=\"0.750\""),
        "{xml}"
    );
    assert!(xml.contains("message=\"server: protocol: expected HTTP/2, was HTTP/1.1\""), "{xml}");
    assert!(xml.contains("server: path: expected /, was /a%b|&lt;c&gt;"), "{xml}");
    assert!(xml.contains("sidecar: it is 100% wrong"), "{xml}");
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
    assert_eq!(check["explanation"], "sidecar: it is 100% wrong");
    assert_eq!(report["scenarios"][0]["cases"][0]["checks"][0]["explanation"], serde_json::Value::Null);
}
