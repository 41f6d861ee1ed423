//! What is expected of one field of a line, and the plain function that says whether the field
//! meets it.
//!
//! In YAML a bare value means "equal to it", `null` means "has no value", and a map with one key
//! names another kind, as `{at_least: 3}`. A text may name what only the run knows, as
//! `${server_sidecar}`.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::FieldRef;
use crate::access_log::Field;
use crate::verify::played::Joined;
use crate::verify::template::{Facts, Filled, Template};

/// What is expected of one field.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// The key is there and has no value.
    Null,
    /// This number.
    Number(u64),
    /// This text.
    Text(Template),
    /// Anything but what is expected here. A key that the line does not have is never as expected,
    /// here neither.
    Not(Box<Expected>),
    /// What one of these expects.
    OneOf(Vec<Expected>),
    /// A text that this regular expression finds something in.
    Matches(Pattern),
    /// An address, with or without a port, in this network.
    Cidr(Network),
    /// This number or a larger one.
    AtLeast(u64),
    /// This number or a smaller one.
    AtMost(u64),
    /// A number from the first to the second, both included.
    Between(u64, u64),
    /// What another field of the same session says.
    SameAs(FieldRef),
}

/// A regular expression, compiled when the scenario is read so that a wrong one is an error there.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Pattern(regex::Regex);

impl Pattern {
    /// Whether it finds something in `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

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

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/{}/", self.0)
    }
}

/// A network in CIDR notation, as `10.0.0.0/8` (RFC 4632, RFC 4291 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Network(IpNet);

impl Network {
    /// Whether `text` is an address in it, with or without a port. Of an address that is masked,
    /// `127.0.**.**:80`, only what is legible decides.
    fn contains(self, text: &str) -> bool {
        let legible = self.unmasked(text);
        let text = legible.as_deref().unwrap_or(text);
        let with_port = text.parse::<SocketAddr>().map(|address| address.ip());
        with_port.or_else(|_| text.parse::<IpAddr>()).is_ok_and(|address| self.0.contains(&address))
    }

    /// An IPv4 address with this network's own numbers where its are masked.
    fn unmasked(self, text: &str) -> Option<String> {
        let IpNet::V4(network) = self.0 else { return None };
        let address = text.split_once(':').map_or(text, |(address, _)| address);
        if !address.contains('*') {
            return None;
        }
        let own = network.network().octets();
        let number =
            |(part, own): (&str, &u8)| if part.contains('*') { own.to_string() } else { part.to_owned() };
        Some(address.split('.').zip(&own).map(number).collect::<Vec<_>>().join("."))
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|_| format!("{text:?} is no network such as 10.0.0.0/8"))
    }
}

/// Whether an expectation holds, and what it wants, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Comparison {
    /// What is expected.
    pub expected: String,
    /// Whether it was found.
    pub holds: bool,
}

impl Expected {
    /// Whether `field`, read from a line of `session`, is as expected; none where the expectation
    /// speaks of something that is not known of this run.
    #[must_use]
    pub fn holds(&self, field: Field<'_>, session: &Joined, facts: &Facts) -> Option<Comparison> {
        let number = match field {
            Field::Number(number) => Some(number),
            _ => None,
        };
        let text = match field {
            Field::Text(text) => Some(text),
            _ => None,
        };
        let is = |test: &dyn Fn(u64) -> bool| number.is_some_and(test);
        let (holds, expected) = match self {
            Self::Null => (field == Field::Null, "null".to_owned()),
            Self::Number(expected) => (number == Some(*expected), expected.to_string()),
            Self::Text(template) => match template.fill(facts) {
                Filled::Text(expected) => (text == Some(expected.as_str()), expected),
                Filled::Nothing => (field == Field::Null, "null".to_owned()),
                Filled::Unknown => return None,
            },
            Self::Not(other) => {
                let other = other.holds(field, session, facts)?;
                (field != Field::Absent && !other.holds, format!("not {}", other.expected))
            }
            Self::OneOf(others) => {
                let found: Vec<_> =
                    others.iter().filter_map(|other| other.holds(field, session, facts)).collect();
                let holds = found.iter().any(|other| other.holds);
                // What is not known might be what is there.
                if !holds && found.len() < others.len() {
                    return None;
                }
                let wanted: Vec<_> = found.into_iter().map(|other| other.expected).collect();
                (holds, format!("one of {}", wanted.join(", ")))
            }
            Self::Matches(pattern) => {
                (text.is_some_and(|text| pattern.is_match(text)), format!("a match of {pattern}"))
            }
            Self::Cidr(network) => {
                (text.is_some_and(|text| network.contains(text)), format!("an address in {}", network.0))
            }
            Self::AtLeast(min) => (is(&|number| number >= *min), format!("at least {min}")),
            Self::AtMost(max) => (is(&|number| number <= *max), format!("at most {max}")),
            Self::Between(min, max) => {
                (is(&|number| (*min..=*max).contains(&number)), format!("between {min} and {max}"))
            }
            Self::SameAs(other) => {
                let there = other.of(session);
                (field == there && field != Field::Absent, format!("{there} ({other})"))
            }
        };
        Some(Comparison { expected, holds })
    }
}

/// The kinds of expectation that are written as a map with one key.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Named {
    /// Anything but this.
    Not(Box<Expected>),
    /// One of these.
    OneOf(Vec<Expected>),
    /// A text that this regular expression finds something in.
    Matches(Pattern),
    /// An address, with or without a port, in this network.
    Cidr(Network),
    /// This number or a larger one.
    AtLeast(u64),
    /// This number or a smaller one.
    AtMost(u64),
    /// A number from the first to the second, both included.
    Between([u64; 2]),
    /// What another field of the same session says, as `client.request_id`.
    SameAs(FieldRef),
}

impl JsonSchema for Expected {
    fn schema_name() -> Cow<'static, str> {
        "Expected".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What is expected of a field: a bare value means equal to it, null that it has no value.",
            "anyOf": [
                {"type": "null"},
                {"type": "integer", "minimum": 0},
                {"type": "string"},
                generator.subschema_for::<Named>(),
            ],
        })
    }
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
        formatter.write_str(
            "a text, a number, null, or one of not, one_of, matches, cidr, at_least, at_most, between, same_as",
        )
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
            Named::Not(other) => Expected::Not(other),
            Named::OneOf(others) => Expected::OneOf(others),
            Named::Matches(pattern) => Expected::Matches(pattern),
            Named::Cidr(network) => Expected::Cidr(network),
            Named::AtLeast(min) => Expected::AtLeast(min),
            Named::AtMost(max) => Expected::AtMost(max),
            Named::Between([min, max]) if min <= max => Expected::Between(min, max),
            Named::Between([min, max]) => {
                return Err(de::Error::custom(format!("no number is between {min} and {max}")));
            }
            Named::SameAs(other) => Expected::SameAs(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::ParsedLine;
    use crate::verify::template::Fact;

    fn expected(yaml: &str) -> Expected {
        crate::yaml::from_str(yaml).expect("an expectation")
    }

    fn session(client: &str, server: &str) -> Joined {
        Joined { client: ParsedLine::parse(client).ok(), server: ParsedLine::parse(server).ok() }
    }

    /// What `yaml` finds of `json` in the field `client.it`; the server's line says `"there"` in
    /// `it`.
    fn judge(yaml: &str, json: &str, facts: &Facts) -> Option<Comparison> {
        let session = session(&format!(r#"{{"it":{json}}}"#), r#"{"it":"there"}"#);
        let it: FieldRef = "client.it".parse().expect("a field");
        expected(yaml).holds(it.of(&session), &session, facts)
    }

    #[test]
    fn each_kind_of_expectation_accepts_what_it_should_and_names_what_it_wanted() {
        let cases = [
            ("null", "null", "\"x\"", "null"),
            ("101", "101", "\"101\"", "101"),
            ("GET", "\"GET\"", "null", "GET"),
            ("'101'", "\"101\"", "101", "101"),
            ("${route_name}", "null", "\"default\"", "null"),
            ("{not: null}", "\"x\"", "null", "not null"),
            ("{not: {one_of: [UC, DC]}}", "\"UR\"", "\"DC\"", "not one of UC, DC"),
            ("{one_of: [101, 200, null]}", "null", "503", "one of 101, 200, null"),
            ("{matches: '^127[.]'}", "\"127.0.0.6:1\"", "\"10.0.0.1:127\"", "a match of /^127[.]/"),
            ("{cidr: 127.0.0.0/8}", "\"127.0.0.6:1\"", "\"10.0.0.1:127\"", "an address in 127.0.0.0/8"),
            ("{cidr: 127.0.0.0/8}", "\"127.0.**.**:1\"", "\"10.0.**.**:127\"", "an address in 127.0.0.0/8"),
            ("{cidr: 10.1.0.0/16}", "\"10.1.2.3\"", "\"default\"", "an address in 10.1.0.0/16"),
            ("{cidr: 'fd00::/8'}", "\"[fd00::1]:80\"", "\"10.0.0.1:80\"", "an address in fd00::/8"),
            ("{at_least: 3}", "3", "2", "at least 3"),
            ("{at_most: 3}", "3", "4", "at most 3"),
            ("{between: [3, 5]}", "5", "6", "between 3 and 5"),
            ("{same_as: server.it}", "\"there\"", "\"elsewhere\"", "there (server.it)"),
            (
                "${authority}",
                "\"web.default.svc.cluster.local:8080\"",
                "\"web\"",
                "web.default.svc.cluster.local:8080",
            ),
        ];
        for (yaml, met, unmet, wanted) in cases {
            let finding = |holds| Some(Comparison { expected: wanted.to_owned(), holds });
            assert_eq!(judge(yaml, met, &Facts::example()), finding(true), "{yaml} against {met}");
            assert_eq!(judge(yaml, unmet, &Facts::example()), finding(false), "{yaml} against {unmet}");
        }
    }

    #[test]
    fn an_absent_key_is_neither_null_nor_not_null_nor_the_same_as_another_absent_key() {
        let session = session("{}", "{}");
        for yaml in ["null", "{not: null}", "{same_as: server.it}"] {
            let finding = expected(yaml).holds(Field::Absent, &session, &Facts::example());
            assert!(finding.is_some_and(|finding| !finding.holds), "{yaml}");
        }
    }

    #[test]
    fn what_speaks_of_something_unknown_is_not_judged() {
        let facts = Facts { application: Fact::Unknown, ..Facts::example() };
        for yaml in ["${application}", "{not: '${application}'}", "{one_of: [a, '${application}']}"] {
            assert_eq!(judge(yaml, "\"b\"", &facts), None, "{yaml}");
        }
        assert!(judge("{one_of: [a, '${application}']}", "\"a\"", &facts).is_some_and(|it| it.holds));
    }

    #[test]
    fn a_mistake_in_an_expectation_is_refused_when_it_is_read() {
        for yaml in [
            "{same_as: it}",
            "{matches: '('}",
            "{cidr: 10.0.0.0/99}",
            "{at_least: many}",
            "{at_least: 1, at_most: 2}",
            "{between: [1]}",
            "{between: [2, 1]}",
            "{near: 3}",
            "-1",
            "${nowhere}",
            "[1]",
            "true",
        ] {
            assert!(crate::yaml::from_str::<Expected>(yaml).is_err(), "{yaml} was accepted");
        }
    }
}
