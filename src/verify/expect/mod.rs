//! What a scenario expects of the access-log lines, as data: one [`Expected`] a field of one side's
//! line, and what holds for the lines of all sessions.

mod expected;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

pub use expected::{Comparison, Expected, Network, Pattern};

use super::played::Joined;
pub use crate::access_log::Side;
use crate::access_log::{BySide, Field};
use crate::yaml::Placed;

/// A key of one side's line, written `client.protocol`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct FieldRef {
    /// The sidecar that wrote the line.
    pub side: Side,
    /// The key of the line, as Istio names it.
    pub key: String,
}

impl FieldRef {
    /// What the named line of a session says for the named key; absent too where there is no such
    /// line.
    #[must_use]
    pub fn of<'a>(&self, session: &'a Joined) -> Field<'a> {
        session[self.side].as_ref().map_or(Field::Absent, |line| line.field(&self.key))
    }
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

/// Everything that a scenario expects of the lines its sessions leave. One line a request on each
/// side is expected where nothing else is said.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expectations {
    /// Of every line of the client's sidecar, by key.
    pub client: BTreeMap<String, Placed<Expected>>,
    /// Of every line of the server's sidecar, by key.
    pub server: BTreeMap<String, Placed<Expected>>,
    /// Of one field over all sessions.
    pub across: BTreeMap<FieldRef, Placed<Across>>,
    /// The keys that every line has, and no others.
    pub keys: Vec<String>,
    /// A text that no line contains.
    pub free_of: Option<String>,
    /// How many lines each sidecar writes, where that is not one a request.
    pub lines: LineCounts,
}

/// How many lines each sidecar writes: none of a request that its own side answered, more than one
/// of one that was tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LineCounts {
    /// The client's.
    pub client: Option<usize>,
    /// The server's.
    pub server: Option<usize>,
}

impl LineCounts {
    /// What is said of one side.
    #[must_use]
    pub fn of(&self, side: Side) -> Option<usize> {
        BySide { client: self.client, server: self.server }[side]
    }
}

impl Expectations {
    /// Of the lines of one side, by key.
    #[must_use]
    pub fn of(&self, side: Side) -> &BTreeMap<String, Placed<Expected>> {
        BySide { client: &self.client, server: &self.server }[side]
    }

    /// These expectations with those of `other` added; where both speak of a field, `other` has the
    /// word.
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
        all.lines.client = other.lines.client.or(all.lines.client);
        all.lines.server = other.lines.server.or(all.lines.server);
        all
    }
}

/// How the values of one field compare over all sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Across {
    /// The same in every line.
    Shared,
    /// Another in every line.
    Distinct,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaid_expectations_replace_field_by_field() {
        let base: Expectations =
            crate::yaml::from_str("{client: {a: 1, b: 2}, across: {client.a: shared}}").expect("valid");
        let over: Expectations =
            crate::yaml::from_str("{client: {b: 3}, across: {client.a: distinct}}").expect("valid");
        let all = base.overlaid(&over);
        assert_eq!(all.client["a"].value, Expected::Number(1));
        assert_eq!(all.client["b"].value, Expected::Number(3));
        assert_eq!(all.across.values().map(|across| across.value).collect::<Vec<_>>(), [Across::Distinct]);
    }
}
