//! Who says how bad a finding is: the command line, the documents, the file of a folder.

use super::*;

/// Findings with their codes, each with the line of the comment or annotation that allows it.
fn allowances(text: &str) -> Vec<(&'static str, Option<u64>)> {
    let line = |finding: &Finding| match finding.allowance() {
        Some(Allowance::Document(place)) => Some(place.line),
        _ => None,
    };
    findings(text).iter().map(|finding| (finding.rule.code, line(finding))).collect()
}

/// A Service with two TCP ports, in block style; a comment may stand behind each.
fn service(annotations: &str, above: &str, beside: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: a
  annotations: {{{annotations}}}
spec:
  ports:
  {above}
  - name: tcp-a{beside}
    port: 1
  - name: tcp-b
    port: 2
"
    )
}

#[test]
fn a_comment_allows_what_is_found_in_its_line_or_in_the_one_below_it() {
    let found = |above, beside| allowances(&service("", above, beside));
    assert_eq!(found("#", ""), [("tcp-port", None), ("tcp-port", None)]);
    assert_eq!(found("#", " # websockets-cli: allow tcp-port"), [("tcp-port", Some(9)), ("tcp-port", None)]);
    for comment in [
        "# websockets-cli: allow tcp-port",
        "#websockets-cli:allow unseen-host,tcp-port",
        "# websockets-cli: allow unseen-host, tcp-port\n  # a database",
        "# websockets-cli: allow unseen-host\n\n  # websockets-cli: allow tcp-port",
    ] {
        let allowed: Vec<_> = found(comment, "").into_iter().map(|(_, line)| line.is_some()).collect();
        assert_eq!(allowed, [true, false], "{comment}");
    }
    for comment in
        ["# websockets-cli: allow unseen-host", "# websockets-cli: see the page", "# allow tcp-port"]
    {
        assert_eq!(found(comment, ""), [("tcp-port", None), ("tcp-port", None)], "{comment}");
    }
}

#[test]
fn an_annotation_allows_what_is_found_in_its_document_and_in_no_other() {
    let annotated = service("websockets-cli/allow: 'unseen-host, tcp-port'", "#", "");
    let all = [("tcp-port", Some(5)), ("tcp-port", Some(5))];
    assert_eq!(allowances(&annotated), all);
    let other = service("", "#", "").replace("name: a\n", "name: b\n");
    let none = [("tcp-port", None), ("tcp-port", None)];
    assert_eq!(allowances(&format!("{annotated}---\n{other}")), [all, none].concat());
    assert_eq!(allowances(&format!("{other}---\n{annotated}")).split_at(2).0, none);
    // Of what cannot be read, too, and each item of a list by itself.
    let broken = service("websockets-cli/allow: invalid-document", "#", "").replace("port: 1", "port: x");
    assert!(allowances(&broken).contains(&("invalid-document", Some(5))), "{:?}", allowances(&broken));
    let item = |name, annotations| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, annotations: {{{annotations}}}}}, \
             spec: {{ports: [{{name: tcp, port: 1}}]}}}}"
        )
    };
    let items = [item("a", "websockets-cli/allow: tcp-port"), item("b", "")].join(", ");
    let list = format!("{{apiVersion: v1, kind: List, items: [{items}]}}");
    assert_eq!(allowances(&list), [("tcp-port", Some(1)), ("tcp-port", None)]);
}

#[test]
fn what_is_to_be_allowed_and_does_not_exist_is_an_error_with_the_nearest_name() {
    for (above, annotations, expected) in [
        (
            "# websockets-cli: allow tcp-prot",
            "",
            "8:3 no finding has the code \"tcp-prot\": the nearest is tcp-port",
        ),
        (
            "# websockets-cli: allow unseen-host, as is said elsewhere",
            "",
            "8:3 no finding has the code \"as\": docs/lint.md has all codes",
        ),
        ("# websockets-cli: allow", "", "8:3 expected the codes of findings behind allow, found none"),
        ("# websockets-cli: alow tcp-port", "", "8:3 a comment can allow findings, and cannot \"alow\" any"),
        ("# websockets-cli: deny tcp-port", "", "8:3 a comment can allow findings, and cannot \"deny\" any"),
        ("#", "websockets-cli/allow: '*'", "5:39 no finding has the code \"*\": docs/lint.md has all codes"),
    ] {
        let found = findings(&service(annotations, above, ""));
        let unknown: Vec<_> = found
            .iter()
            .filter(|finding| *finding.rule == rules::UNKNOWN_CODE)
            .map(|Finding { place, message, .. }| format!("{}:{} {message}", place.line, place.column))
            .collect();
        assert_eq!(unknown, [expected]);
        assert_eq!(found.iter().filter(|finding| finding.rule.code == "tcp-port").count(), 2);
    }
}

#[test]
fn the_command_line_counts_more_than_the_document_and_that_more_than_the_file() {
    let plain = service("", "#", "");
    let allowing = service("websockets-cli/allow: tcp-port", "#", "");
    let rule = [rules::of_code("tcp-port").expect("a rule")];
    let nothing = CodeLevels::default();
    let allow = CodeLevels::new(rule, []).expect("one");
    let deny = CodeLevels::new([], rule).expect("one");
    for (command_line, text, file, expected) in [
        (&nothing, &plain, &nothing, Some(Severity::Warning)),
        (&nothing, &plain, &allow, None),
        (&nothing, &plain, &deny, Some(Severity::Error)),
        (&nothing, &allowing, &nothing, None),
        (&nothing, &allowing, &deny, None),
        (&deny, &allowing, &allow, Some(Severity::Error)),
        (&allow, &plain, &deny, None),
        (&deny, &plain, &allow, Some(Severity::Error)),
    ] {
        let mut found = findings(text);
        let levels = Levels { command_line: command_line.clone(), file: file.clone() };
        levels.apply(&mut found);
        assert_eq!(found[0].severity(), expected, "{levels:?} {text}");
    }
    let error = CodeLevels::new(rule, rule).expect_err("both");
    assert_eq!(error.to_string(), "tcp-port is both allowed and denied: leave out one of the two");
}

#[test]
fn every_code_is_known_by_its_name_and_no_other_is() {
    for rule in rules::ALL {
        assert_eq!(rules::of_code(rule.code).map(|found| found.code), Ok(rule.code));
    }
    assert!(rules::of_code("").is_err());
    assert!(rules::of_code("TCP-PORT").is_err());
}
