//! Fields read from documents, and what is said of those that are wrong.

use super::*;

fn document(text: &str) -> Fields {
    let file = Arc::from("a.yaml");
    let mut documents = yaml::documents(&file, text).expect("valid YAML");
    Field::document(&file, documents.remove(0)).fields().expect("a mapping")
}

#[test]
fn each_type_says_what_it_expected_and_where() {
    type Read = fn(Field) -> Result<(), MeshError>;
    let cases: [(&str, Read, &str); 9] = [
        ("x: 80", |field| field.text().map(drop), "a string (put the value in quotes), found 80"),
        ("x: [1]", |field| field.text().map(drop), "a string, found a list"),
        ("x: \"true\"", |field| field.boolean().map(drop), "true or false, without quotes, found \"true\""),
        ("x: 1.5", |field| field.number(1..=9_u32).map(drop), "a whole number from 1 to 9, found 1.5"),
        ("x: 10", |field| field.number(1..=9_u32).map(drop), "a whole number from 1 to 9, found 10"),
        ("x: 0", |field| field.port().map(drop), "a whole number from 1 to 65535, found 0"),
        ("x: 5", |field| field.duration().map(drop), "a duration such as 1s, 0.3s or 1h30m, found 5"),
        ("x: a", |field| field.items().map(drop), "a list, found \"a\""),
        ("x: a", |field| field.fields().map(drop), "a mapping (name: value), found \"a\""),
    ];
    for (text, read, expected) in cases {
        let field = document(text).take("x").expect("present");
        let error = read(field).expect_err(text).to_string();
        assert_eq!(error, format!("a.yaml:1:4: x: expected {expected}"), "{text}");
    }
}

#[test]
fn names_may_be_in_snake_case_only_where_protobuf_reads_them() {
    let text = "x:\n  allow_connect: true";
    let mut fields = document(text).take("x").expect("present").fields().expect("a mapping");
    assert!(fields.take("allowConnect").is_none());
    let x = document(text).take("x").expect("present").into_protobuf();
    let field = x.fields().expect("a mapping").take("allowConnect").expect("present");
    assert_eq!((field.path.as_str(), field.place.line), ("x.allow_connect", 2));
}

#[test]
fn what_nobody_took_is_warned_of_at_the_line_of_its_name() {
    let mut fields = document("a: 1\nb:\n  c: 1\nd: null\n");
    fields.take("a");
    let mut warnings = Vec::new();
    fields.warn_of_rest(&mut warnings);
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["a.yaml:2: b is not implemented here and has no effect"]);
}

#[test]
fn broken_yaml_is_named_with_its_line() {
    let file = Arc::from("a.yaml");
    for (text, line) in [("a: b: c\n", 1), ("a: 1\nb: [1\n", 2), ("a: 1\na: 2\n", 2), ("a:\n\tb: 2\n", 2)] {
        match yaml::documents(&file, text) {
            Err(MeshError::Syntax { place, .. }) => assert_eq!(place.line, line, "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        }
    }
}
