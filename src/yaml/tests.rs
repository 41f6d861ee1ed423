//! What texts say, where it is, and what is said of those that are wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::*;

fn read(text: &str) -> Result<Vec<Document>, Error> {
    documents(&Text::new("a.yaml", text.to_owned()))
}

fn document(text: &str) -> Document {
    read(text).expect(text).remove(0)
}

fn json_of(text: &str) -> Json {
    document(text).root().to_json(str::to_owned)
}

fn error(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

#[test]
fn plain_scalars_are_resolved_as_kubectl_does_it() {
    for (scalar, expected) in [
        ("", json!(null)),
        ("~", json!(null)),
        ("Null", json!(null)),
        ("true", json!(true)),
        ("Yes", json!(true)),
        ("off", json!(false)),
        ("n", json!(false)),
        ("nothing", json!("nothing")),
        ("5", json!(5)),
        ("-5", json!(-5)),
        ("+5", json!(5)),
        ("0x1F", json!(31)),
        ("0o17", json!(15)),
        ("0b11", json!(3)),
        ("1_000", json!(1000)),
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("007", json!(7.0)),
        ("1.5", json!(1.5)),
        ("-.5", json!(-0.5)),
        ("1e3", json!(1000.0)),
        (".inf", json!(".inf")),
        (".nan", json!(".nan")),
        ("1e999", json!("1e999")),
        ("1.27.0", json!("1.27.0")),
        ("1_", json!("1_")),
        ("-infinity", json!("-infinity")),
        ("2024-01-01T00:00:00Z", json!("2024-01-01T00:00:00Z")),
        ("\"5\"", json!("5")),
        ("'true'", json!("true")),
        ("!!str 5", json!("5")),
        ("! 5", json!("5")),
        ("!!int '5'", json!(5)),
        ("!!null ''", json!(null)),
        ("!mine 5", json!(5)),
    ] {
        assert_eq!(json_of(&format!("a: {scalar}\n"))["a"], expected, "{scalar}");
    }
    assert_eq!(error("a: !!int b\n"), "a.yaml:1:10: not valid YAML: \"b\" is tagged as !!int, and is none");
}

#[test]
fn texts_are_what_their_style_makes_of_them() {
    for (text, expected) in [
        ("a: 'it''s'\n", "it's"),
        ("a: \"b\\tc\\u00e9\"\n", "b\tcé"),
        ("a: |\n  b\n  c\n", "b\nc\n"),
        ("a: |-\r\n  b\r\n  c\r\n", "b\nc"),
        ("a: >\n  b\n  c\n", "b c\n"),
        ("a: b\n  c\n", "b c"),
        ("{\"a\": \"b\\\"\\u0041\\n\"}", "b\"A\n"),
        ("{\"a\": \"ä\"}", "ä"),
    ] {
        assert_eq!(json_of(text)["a"], expected, "{text:?}");
    }
}

#[test]
fn a_text_has_as_many_documents_as_it_says_and_empty_ones_are_none() {
    for (text, expected) in [
        ("", 0),
        ("# nothing\n---\n...\n", 0),
        ("---\na: 1\n---\n---\nb: 2\n", 2),
        ("\u{feff}a: 1\n", 1),
        ("\u{feff}{\"a\": 1}\n", 1),
        ("{\"a\": 1}\n---\n{\"a\": 2}\n", 2),
        ("a: 1\r\n---\r\nb: 2\r\n", 2),
        ("[]", 1),
    ] {
        assert_eq!(read(text).expect(text).len(), expected, "{text:?}");
    }
}

#[test]
fn json_is_read_as_the_same_tree_as_the_yaml_that_it_is() {
    let json =
        "\n {\"a\": [1, -2, 1.5, true, null, \"ä\\n\"],\r\n\t\"ö\": {\"b\": {}, \"c\": []}, \"d\": \"e\"}\n";
    // A comment is no JSON.
    let yaml = format!("{json}# YAML\n");
    assert!(super::json::read(json).is_some() && super::json::read(&yaml).is_none());
    let [one, other] = [json, &yaml].map(document);
    assert_eq!(one.root().to_json(str::to_owned), other.root().to_json(str::to_owned));
    for path in ["a", "a[1]", "a[5]", "ö", "ö.b", "d"] {
        let places = [&one, &other].map(|document| {
            let node = document.at(path).expect(path);
            (node.place(), node.place_of_key(), node.place_of_value())
        });
        assert_eq!(places[0], places[1], "{path}");
    }
    for text in
        ["{a: 1}", "{\"a\": 01}", "{\"a\": 1,}", "{\"a\": 'b'}", "[\"a\nb\"]", "{\"a\": yes}", "[1] [2]"]
    {
        assert!(super::json::read(text).is_none(), "{text}");
    }
}

#[test]
fn each_value_knows_its_place() {
    let document = document("# one\na:\n  b: c\n  'é': [1, \"x\"]\n  d: |\n    text\n");
    for (path, line, column, span) in
        [("a", 2, 1, 6..7), ("a.b", 3, 6, 14..15), ("a.é[1]", 4, 12, 28..31), ("a.é", 4, 3, 18..22)]
    {
        let place = document.at(path).expect(path).place();
        assert_eq!((place.line, place.column, place.span), (line, column, span), "{path}");
    }
    assert_eq!(document.place_of("a.b.c.d").to_string(), "a.yaml:3:6");
    assert_eq!(document.place_of("x").to_string(), "a.yaml:2:1");
}

#[test]
fn names_at_a_path_may_be_written_in_snake_case() {
    let document = document("a_b: {cD: [{e: 1}], none: null}\n");
    assert!(document.at("aB.cD[0].e").is_some());
    assert!(
        document.at("aB.c_d").is_none()
            && document.at("aB.none").is_none()
            && document.at("aB.cD[1]").is_none()
    );
}

#[test]
fn aliases_repeat_and_merges_fill_in() {
    let json =
        json_of("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [{z: 4}, *a]}\ne: &k f\n*k : g\n");
    assert_eq!(json["b"], json!({"x": 1, "y": 2}));
    assert_eq!(json["c"], json!({"x": 1, "y": 3}));
    assert_eq!(json["d"], json!({"x": 1, "y": 2, "z": 4}));
    assert_eq!(json["f"], "g");
    let document = document("a: &a [1]\nb: *a\n");
    assert_eq!(document.at("b").expect("there").place_of_value().line, 2);
}

#[test]
fn what_is_not_yaml_is_named_with_its_place() {
    for (text, begins) in [
        ("a: b: c\n", "a.yaml:1:5: not valid YAML: "),
        ("a: 1\nb: [1\n", "a.yaml:2:"),
        ("a:\n\tb: 2\n", "a.yaml:2:"),
        ("a: 1\nb: 2\na: 2\n", "a.yaml:3:1: not valid YAML: the key \"a\" is there twice, first in line 1"),
        (
            "{\"a\": 1,\n \"a\": 2}",
            "a.yaml:2:2: not valid YAML: the key \"a\" is there twice, first in line 1",
        ),
        ("? [a]\n: b\n", "a.yaml:1:3: not valid YAML: a key is a text, not a list or a mapping"),
        ("a: *b\n", "a.yaml:1:4: not valid YAML: "),
        ("a: &b [*b]\n", "a.yaml:1:8: not valid YAML: an alias is part of what it repeats"),
        ("a: {<<: 5}\n", "a.yaml:1:9: not valid YAML: << merges a mapping, or a list of mappings"),
    ] {
        assert!(error(text).starts_with(begins), "{text:?}: {}", error(text));
    }
    let many = (0..40).fold(String::new(), |text, key| format!("{text}k{key}: 1\n"));
    assert!(error(&format!("{many}k7: 2\n")).starts_with("a.yaml:41:1: "), "{}", error(&many.repeat(2)));
}

#[test]
fn what_a_short_text_can_ask_for_is_bounded_and_the_bound_is_named() {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(read(&deep(MAX_DEPTH)).is_ok());
    let deeper = deep(MAX_DEPTH + 1);
    let expected = "a.yaml:1:129: lists and mappings are nested deeper than 128, the most that is read";
    assert_eq!(error(&deeper), expected);

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let of_last = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{of_last}]").expect("memory is there");
    }
    let problem = error(&bomb);
    assert!(problem.ends_with("aliases repeat more than 1000000 values, the most that is read"), "{problem}");

    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1024 * 1024), vec!["*a"; 65].join(", "));
    assert!(error(&long).ends_with("aliases repeat more than 64 MiB of text, the most that is read"));

    let fields = (0..1000).fold(String::new(), |text, key| format!("{text}k{key}: 1, "));
    let merging =
        (0..1001).fold(format!("a: &a {{{fields}}}\n"), |text, key| format!("{text}m{key}: {{<<: *a}}\n"));
    assert!(error(&merging).contains("more than 1000000 values"), "{}", error(&merging));
}

#[test]
fn of_managed_fields_nothing_is_kept() {
    for text in [
        "metadata:\n  managedFields:\n  - {f:spec: {f:a: {}}}\n  name: a\n",
        "{\"metadata\": {\"managedFields\": [{\"f:spec\": {}}], \"name\": \"a\"}}",
    ] {
        assert_eq!(json_of(text), json!({"metadata": {"name": "a"}}), "{text}");
    }
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Sample {
    text: Option<String>,
    is_on: bool,
    port: Option<Within<u16, 1, 9>>,
    small: u8,
    list: Vec<String>,
    labels: BTreeMap<String, String>,
    kind: Option<Kind>,
    inner: Option<Box<Sample>>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Kind {
    One,
    AnotherOne,
}

fn sample(text: &str, dialect: Dialect) -> Result<Sample, Error> {
    document(text).root().read(dialect)
}

#[test]
fn each_type_says_what_it_expected_and_where() {
    for (field, expected) in [
        ("text: 80", "1:7: text: expected a string (put the value in quotes), found 80"),
        ("text: [1]", "1:7: text: expected a string, found a list"),
        ("isOn: 'true'", "1:7: isOn: expected true or false, without quotes, found \"true\""),
        ("port: 1.5", "1:7: port: expected a whole number from 1 to 9, found 1.5"),
        ("port: 10", "1:7: port: expected a whole number from 1 to 9, found 10"),
        ("port: '5'", "1:7: port: expected a whole number from 1 to 9, found \"5\""),
        ("small: 256", "1:8: small: expected a whole number from 0 to 255, found 256"),
        ("list: a", "1:7: list: expected a list, found \"a\""),
        ("list: [a, 5]", "1:11: list[1]: expected a string (put the value in quotes), found 5"),
        ("labels: {a: }", "1:11: labels.a: expected a string, found nothing"),
        ("kind: TWO", "1:7: kind: expected one of ONE, ANOTHER_ONE, found \"TWO\""),
        ("kind: yes", "1:7: kind: expected one of ONE, ANOTHER_ONE, found true"),
        ("inner: a", "1:8: inner: expected a mapping (name: value), found \"a\""),
        (
            "inner: {inner: {small: -1}}",
            "1:24: inner.inner.small: expected a whole number from 0 to 255, found -1",
        ),
    ] {
        let error = sample(field, Dialect::Kubernetes).expect_err(field).to_string();
        assert_eq!(error, format!("a.yaml:{expected}"), "{field}");
    }
}

#[test]
fn a_dialect_decides_how_values_may_be_written() {
    let read = |text: &str, dialect| sample(text, dialect).expect(text);
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(read("text: 0x50", Dialect::Plain).text, text("0x50"));
    assert_eq!(read("port: '5'", Dialect::Plain).port, Some(Within(5)));
    assert_eq!(read("port: '5'", Dialect::Protobuf).port, Some(Within(5)));
    assert_eq!(read("small: null", Dialect::Kubernetes), Sample::default());
    assert!(sample("small: null", Dialect::Plain).is_err());
    assert!(read("is_on: true", Dialect::Protobuf).is_on);
    assert!(!read("is_on: true", Dialect::Kubernetes).is_on);
    let error = sample("is_on: true\nisOn: true", Dialect::Protobuf).expect_err("twice").to_string();
    assert_eq!(error, "a.yaml:1:1: the document: isOn is there twice, in two spellings");
}

#[test]
fn what_no_type_took_is_noted_at_its_name() {
    let document = document("x: 1\nis_on: true\ninner:\n  y_z: {a: 1}\n  d: null\n");
    let mut unread = Vec::new();
    let read: Sample = document.root().read_at("spec", Dialect::Protobuf, Some(&mut unread)).expect("valid");
    assert!(read.is_on);
    let unread: Vec<String> = unread.iter().map(|field| format!("{} {}", field.place, field.path)).collect();
    assert_eq!(unread, ["a.yaml:1:1 spec.x", "a.yaml:4:3 spec.inner.y_z"]);
}

#[test]
fn a_placed_value_knows_its_place_and_its_path() {
    let read: BTreeMap<String, Vec<Placed<u8>>> =
        document("a:\n- 1\n- 2\n").root().read(Dialect::Plain).expect("valid");
    let second = &read["a"][1];
    assert_eq!((second.value, second.line(), second.path.as_str()), (2, Some(3), "a[1]"));
    assert_eq!(second.place.as_ref().expect("read").to_string(), "a.yaml:3:3");
}

#[test]
fn a_variant_has_a_value_behind_it_where_it_needs_one_and_one_alone() {
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Step {
        Stop,
        Wait(u8),
        Repeat { times: u8 },
    }
    let read = |text: &str| document(text).root().read::<Vec<Step>>(Dialect::Plain);
    let steps = read("- stop\n- stop:\n- wait: 5\n- repeat: {times: 2}\n").expect("steps");
    assert_eq!(steps, [Step::Stop, Step::Stop, Step::Wait(5), Step::Repeat { times: 2 }]);
    for (text, expected) in [
        ("- wait\n", "1:3: [0]: wait needs a value, as in `wait: …`"),
        ("- stop: 5\n", "1:9: [0].stop: expected nothing behind this word, found 5"),
        ("- {wait: 5, stop: }\n", "1:3: [0]: expected one of stop, wait, repeat, found a mapping"),
        ("- repeat: {}\n", "1:11: [0].repeat.times: expected a value, found nothing"),
    ] {
        assert_eq!(read(text).expect_err(text).to_string(), format!("a.yaml:{expected}"));
    }
    let pair = document("[1, 2, 3]").root().read::<[u8; 2]>(Dialect::Plain).expect_err("three");
    assert_eq!(pair.to_string(), "a.yaml:1:8: the document: there is one value too many");
}

#[test]
fn a_key_that_is_not_written_has_no_place_in_the_text() {
    // What stands for it is the parser's own text, wherever in memory that is.
    for text in [": x", "? \n: x", "{: x}", "{? : x}", "? &a\n: x"] {
        assert_eq!(json_of(text), json!({"~": "x"}), "{text}");
    }
    assert_eq!(json_of("? !!str\n: x"), json!({"": "x"}));
}
