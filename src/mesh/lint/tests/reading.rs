//! Several documents together: their order, lists, what cannot be read, and the page that describes
//! the rules.

use super::*;

#[test]
fn findings_come_in_the_order_of_the_files_and_lines() {
    let texts = [
        ("b.yaml", SERVICE.replace("http-ws", "tcp-ws")),
        ("a.yaml", with_pool("maxRetris: 1, h2UpgradePolicy: UPGRADE")),
    ]
    .map(|(name, text)| Text::new(name, text));
    let found = findings_in(&texts, None);
    let places: Vec<_> = found.iter().map(|finding| (&*finding.place.file, finding.rule.code)).collect();
    assert_eq!(places, [("b.yaml", "tcp-port"), ("a.yaml", "unknown-field")]);
}

#[test]
fn a_list_is_its_items() {
    let list = "apiVersion: v1
kind: List
items:
- {apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: r}, spec: {host: a.default}}
";
    assert_eq!(codes(list), ["unknown-host"]);
}

#[test]
fn what_cannot_be_read_is_an_error_with_its_place() {
    for (text, expected) in [
        ("", "test.yaml: no document: nothing but comments and empty ones"),
        ("# nothing\n---\n", "test.yaml: no document: nothing but comments and empty ones"),
        ("hello", "test.yaml:1:1: the document: expected a mapping (name: value), found \"hello\""),
        ("a: 1", "test.yaml:1:1: apiVersion: expected a value, found nothing"),
    ] {
        let texts = [Text::new("test.yaml", text.to_owned())];
        let error =
            lint(&texts, &Circumstances { mesh: None, istio_version: ISTIO_VERSION }).expect_err(text);
        assert_eq!(error.to_string(), expected);
    }
    let texts = [Text::new("test.yaml", "a: b: c".to_owned())];
    let error =
        lint(&texts, &Circumstances { mesh: None, istio_version: ISTIO_VERSION }).expect_err("no YAML");
    assert!(error.to_string().starts_with("test.yaml:1:"), "{error}");
}

#[test]
fn the_page_has_every_rule_as_it_is() {
    let page = include_str!("../../../../docs/lint.md");
    let sections: Vec<&str> = page.split("\n### `").skip(1).collect();
    assert_eq!(sections.len(), rules::ALL.len());
    for (section, rule) in sections.iter().zip(rules::ALL) {
        let expected = format!(
            "{}`\n\n{}.\n\n- Why: {}\n- Fix: {}\n",
            rule.code,
            rule.severity.to_string().replacen(
                char::is_alphabetic,
                &rule.severity.to_string()[..1].to_uppercase(),
                1
            ),
            rule.why,
            rule.fix
        );
        assert!(section.starts_with(&expected), "the page says:\n{section}\nand should say:\n{expected}");
    }
}
