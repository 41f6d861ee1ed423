//! What a scenario expects of the access-log lines, as data: one expectation a field, and the plain function that says
//! whether a field meets it.
//!
//! In YAML a bare value means "equal to it", `null` means "has no value", and a map with one key names another kind:
//! `matches`, `at_least`, `same_as`. A text may name what only the run knows, as `${server_sidecar}`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::evidence::Joined;
use super::template::{Facts, Template};
use crate::access_log::Field;

/// Whose access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The client's sidecar, the outbound one.
    Client,
    /// The server's sidecar, the inbound one.
    Server,
}

impl Side {
    /// Both, in the order in which a session passes them.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// A key of one side's line, written `client.protocol`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct FieldRef {
    /// Whose line.
    pub side: Side,
    /// Which key.
    pub key: String,
}

impl FromStr for FieldRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('.') {
            Some(("client", key)) => Ok(Self { side: Side::Client, key: key.to_owned() }),
            Some(("server", key)) => Ok(Self { side: Side::Server, key: key.to_owned() }),
            _ => Err(format!("{text:?} does not name a field as client.KEY or server.KEY")),
        }
    }
}

impl TryFrom<String> for FieldRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for FieldRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.side, self.key)
    }
}

/// Everything that a scenario expects of the lines its sessions leave. One line a session on each side is always
/// expected and need not be said.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expectations {
    /// Of every line of the client's sidecar, by key.
    pub client: BTreeMap<String, Expected>,
    /// Of every line of the server's sidecar, by key.
    pub server: BTreeMap<String, Expected>,
    /// Of one field over all sessions.
    pub across: BTreeMap<FieldRef, Across>,
    /// The keys that every line has, and no others.
    pub keys: Vec<String>,
    /// A text that no line contains.
    pub free_of: Option<String>,
}

impl Expectations {
    /// Of the lines of one side, by key.
    #[must_use]
    pub fn of(&self, side: Side) -> &BTreeMap<String, Expected> {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// These expectations with those of `other` added; where both speak of a field, `other` has the word.
    #[must_use]
    pub fn overlaid(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.client.extend(other.client.clone());
        all.server.extend(other.server.clone());
        all.across.extend(other.across.clone());
        if !other.keys.is_empty() {
            all.keys.clone_from(&other.keys);
        }
        if other.free_of.is_some() {
            all.free_of.clone_from(&other.free_of);
        }
        all
    }
}

/// How the values of one field compare over all sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Across {
    /// The same in every line.
    Shared,
    /// Another in every line.
    Distinct,
}

/// What is expected of one field.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// The key is there and has no value.
    Null,
    /// This number.
    Number(u64),
    /// This text.
    Text(Template),
    /// A text that this regular expression finds something in.
    Matches(Pattern),
    /// This number or a larger one.
    AtLeast(u64),
    /// What another field of the same session says.
    SameAs(FieldRef),
}

/// A regular expression, compiled when the scenario is read so that a wrong one is an error there.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(regex::Regex);

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        regex::Regex::new(&text).map(Self)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// Whether an expectation holds, and what it wants, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is expected.
    pub expected: String,
    /// Whether it was found.
    pub holds: bool,
}

impl Expected {
    /// Whether `field`, read from a line of `session`, is as expected.
    #[must_use]
    pub fn holds(&self, field: Field<'_>, session: &Joined, facts: &Facts) -> Finding {
        let number = match field {
            Field::Value(value) => value.as_u64(),
            _ => None,
        };
        let text = match field {
            Field::Value(serde_json::Value::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let (holds, expected) = match self {
            Self::Null => (field == Field::Null, "null".to_owned()),
            Self::Number(expected) => (number == Some(*expected), expected.to_string()),
            Self::Text(template) => match template.fill(facts) {
                Some(expected) => (text == Some(expected.as_str()), expected),
                None => (field == Field::Null, "null".to_owned()),
            },
            Self::Matches(Pattern(regex)) => {
                (text.is_some_and(|text| regex.is_match(text)), format!("a match of /{regex}/"))
            }
            Self::AtLeast(least) => {
                (number.is_some_and(|number| number >= *least), format!("at least {least}"))
            }
            Self::SameAs(other) => {
                let there = session.field(other);
                (field == there && field != Field::Absent, format!("{} ({other})", shown(there)))
            }
        };
        Finding { expected, holds }
    }
}

/// What a line says for a key, in words.
#[must_use]
pub fn shown(field: Field<'_>) -> String {
    match field {
        Field::Absent => "absent".to_owned(),
        Field::Null => "null".to_owned(),
        Field::Value(serde_json::Value::String(text)) => text.clone(),
        Field::Value(value) => value.to_string(),
    }
}

/// The kinds of expectation that are written as a map with one key.
#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    Matches(Pattern),
    AtLeast(u64),
    SameAs(FieldRef),
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExpectedVisitor)
    }
}

struct ExpectedVisitor;

impl<'de> Visitor<'de> for ExpectedVisitor {
    type Value = Expected;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text, a number, null, or one of matches, at_least, same_as")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Expected, E> {
        Ok(Expected::Null)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Expected, E> {
        Ok(Expected::Number(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Expected, E> {
        let unsigned = u64::try_from(number);
        unsigned.map(Expected::Number).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Expected, E> {
        text.parse().map(Expected::Text).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Expected, A::Error> {
        Ok(match Named::deserialize(de::value::MapAccessDeserializer::new(map))? {
            Named::Matches(pattern) => Expected::Matches(pattern),
            Named::AtLeast(least) => Expected::AtLeast(least),
            Named::SameAs(other) => Expected::SameAs(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::ParsedLine;

    fn expected(yaml: &str) -> Expected {
        serde_saphyr::from_str(yaml).expect("an expectation")
    }

    fn session(client: &str, server: &str) -> Joined {
        Joined { client: ParsedLine::parse(client).ok(), server: ParsedLine::parse(server).ok() }
    }

    /// What `yaml` finds of `json` in the field `client.it`; the server's line says `"there"` in `it`.
    fn judge(yaml: &str, json: &str) -> Finding {
        let session = session(&format!(r#"{{"it":{json}}}"#), r#"{"it":"there"}"#);
        let it: FieldRef = "client.it".parse().expect("a field");
        expected(yaml).holds(session.field(&it), &session, &Facts::example())
    }

    #[test]
    fn each_kind_of_expectation_accepts_what_it_should_and_names_what_it_wanted() {
        let cases = [
            ("null", "null", "\"x\"", "null"),
            ("101", "101", "\"101\"", "101"),
            ("GET", "\"GET\"", "null", "GET"),
            ("'101'", "\"101\"", "101", "101"),
            ("${route_name}", "null", "\"default\"", "null"),
            ("{matches: '^127[.]'}", "\"127.0.0.6:1\"", "\"10.0.0.1:127\"", "a match of /^127[.]/"),
            ("{at_least: 3}", "3", "2", "at least 3"),
            ("{same_as: server.it}", "\"there\"", "\"elsewhere\"", "there (server.it)"),
            (
                "${authority}",
                "\"web.default.svc.cluster.local:8080\"",
                "\"web\"",
                "web.default.svc.cluster.local:8080",
            ),
        ];
        for (yaml, met, unmet, wanted) in cases {
            let finding = |holds| Finding { expected: wanted.to_owned(), holds };
            assert_eq!(judge(yaml, met), finding(true), "{yaml} against {met}");
            assert_eq!(judge(yaml, unmet), finding(false), "{yaml} against {unmet}");
        }
    }

    #[test]
    fn an_absent_key_is_neither_null_nor_the_same_as_another_absent_key() {
        let session = session("{}", "{}");
        let facts = Facts::example();
        assert!(!expected("null").holds(Field::Absent, &session, &facts).holds);
        assert!(!expected("{same_as: server.it}").holds(Field::Absent, &session, &facts).holds);
    }

    #[test]
    fn a_mistake_in_an_expectation_is_refused_when_it_is_read() {
        for yaml in [
            "{same_as: it}",
            "{matches: '('}",
            "{at_least: many}",
            "{near: 3}",
            "-1",
            "${nowhere}",
            "[1]",
            "true",
        ] {
            assert!(serde_saphyr::from_str::<Expected>(yaml).is_err(), "{yaml} was accepted");
        }
    }

    #[test]
    fn overlaid_expectations_replace_field_by_field() {
        let base: Expectations =
            serde_saphyr::from_str("{client: {a: 1, b: 2}, across: {client.a: shared}}").expect("valid");
        let over: Expectations =
            serde_saphyr::from_str("{client: {b: 3}, across: {client.a: distinct}}").expect("valid");
        let all = base.overlaid(&over);
        assert_eq!(all.client["a"], Expected::Number(1));
        assert_eq!(all.client["b"], Expected::Number(3));
        assert_eq!(all.across.values().collect::<Vec<_>>(), [&Across::Distinct]);
    }
}
