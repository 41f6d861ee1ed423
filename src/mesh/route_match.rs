//! Envoy's `RouteMatch`: whether a route is for a request.

use std::borrow::Cow;
use std::fmt;

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

/// What conditions look at in a request.
pub trait RequestHead {
    /// The path with its query.
    fn path(&self) -> &[u8];

    /// The value of a field, or of one of the pseudo-header fields `:authority`, `:method` and
    /// `:scheme`; several fields of one name are one with commas. Names are in lower case.
    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>>;
}

/// All of it has to be true of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMatch {
    /// Of the path without its query.
    pub path: PathMatch,
    /// Whether letter case matters in the path. Not to a regular expression.
    pub case_sensitive: bool,
    /// Of fields and pseudo-header fields.
    pub fields: Vec<FieldMatch>,
    /// Of the parameters in the query.
    pub query_parameters: Vec<QueryParameterMatch>,
}

/// What the path has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// It begins with this text, which need not end where an element of the path does.
    Prefix(String),
    /// It is this.
    Exact(String),
    /// The whole of it matches.
    Regex(Pattern),
}

/// Envoy's `HeaderMatcher`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldMatch {
    /// In lower case.
    pub name: String,
    /// What the value has to be.
    pub value: ValueMatch,
    /// `invert_match`: it has not to be so. A field that is missing is empty then
    /// (`treat_missing_header_as_empty`).
    pub invert: bool,
}

/// Envoy's `QueryParameterMatcher`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryParameterMatch {
    /// As it is written in the query.
    pub name: String,
    /// What the first value of that name has to be, as it is written in the query.
    pub value: ValueMatch,
}

/// What a value has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueMatch {
    /// Anything, but there.
    Present,
    /// This text.
    Exact(String),
    /// It begins with this text.
    Prefix(String),
    /// The whole of it matches.
    Regex(Pattern),
}

/// A regular expression that the whole of a text has to match (Envoy's `safe_regex`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    written: String,
    /// For all of a text.
    whole: Regex,
}

impl TryFrom<String> for Pattern {
    type Error = String;

    /// # Errors
    /// What is wrong with the expression, in a line.
    fn try_from(written: String) -> Result<Self, String> {
        let compile = |expression: &str| {
            Regex::new(expression).map_err(|error| {
                let words = error.to_string();
                let reason = words.lines().last().unwrap_or_default().trim_start_matches("error: ");
                format!("expected a regular expression, found {written:?} ({reason})")
            })
        };
        // Alone first: a bracket too many would close the group around it.
        compile(&written)?;
        Ok(Self { whole: compile(&format!("^(?:{written})$"))?, written })
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.written
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    fn is_match(&self, text: &[u8]) -> bool {
        self.whole.is_match(text)
    }
}

impl RouteMatch {
    /// Of every request that has a path.
    #[must_use]
    pub fn every_path() -> Self {
        Self {
            path: PathMatch::Prefix("/".to_owned()),
            case_sensitive: true,
            fields: Vec::new(),
            query_parameters: Vec::new(),
        }
    }

    /// Whether it is of every request that has a path.
    #[must_use]
    pub fn is_every_path(&self) -> bool {
        let any = match &self.path {
            PathMatch::Prefix(prefix) => prefix == "/",
            PathMatch::Exact(_) => false,
            PathMatch::Regex(pattern) => pattern.as_str() == ".*",
        };
        any && self.fields.is_empty() && self.query_parameters.is_empty()
    }

    /// Whether it is true of a request.
    pub fn matches(&self, request: &impl RequestHead) -> bool {
        let (path, query) = split_query(request.path());
        let has_path = match &self.path {
            PathMatch::Prefix(prefix) => {
                path.get(..prefix.len()).is_some_and(|begin| self.is_same(begin, prefix.as_bytes()))
            }
            PathMatch::Exact(exact) => self.is_same(path, exact.as_bytes()),
            PathMatch::Regex(pattern) => pattern.is_match(path),
        };
        has_path
            && self.fields.iter().all(|field| field.matches(request))
            && self.query_parameters.iter().all(|parameter| parameter.matches(query))
    }

    fn is_same(&self, one: &[u8], other: &[u8]) -> bool {
        if self.case_sensitive { one == other } else { one.eq_ignore_ascii_case(other) }
    }

    /// How much of a path it is about, for what replaces that: the prefix, or all of the path. The
    /// path is one that it matches, without a query.
    #[must_use]
    pub fn matched_length(&self, path: &[u8]) -> usize {
        match &self.path {
            PathMatch::Prefix(prefix) => prefix.len(),
            PathMatch::Exact(_) | PathMatch::Regex(_) => path.len(),
        }
    }
}

/// In words, for people.
impl fmt::Display for RouteMatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            PathMatch::Prefix(prefix) if prefix == "/" => write!(formatter, "every path")?,
            PathMatch::Prefix(prefix) => write!(formatter, "paths that begin with {prefix}")?,
            PathMatch::Exact(path) => write!(formatter, "the path {path}")?,
            PathMatch::Regex(pattern) => write!(formatter, "paths that match {}", pattern.as_str())?,
        }
        if !self.fields.is_empty() || !self.query_parameters.is_empty() {
            let fields = self.fields.iter().map(|field| field.name.as_str());
            let names = fields.chain(self.query_parameters.iter().map(|parameter| parameter.name.as_str()));
            write!(formatter, ", with conditions on {}", names.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

/// A path and its query, which begins with `?` if there is one.
#[must_use]
pub fn split_query(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(memchr::memchr(b'?', path).unwrap_or(path.len()))
}

impl FieldMatch {
    fn matches(&self, request: &impl RequestHead) -> bool {
        let found = request.field(&self.name);
        let is_so = match (&self.value, found) {
            (ValueMatch::Present, found) => found.is_some(),
            (_, None) if !self.invert => false,
            (value, found) => value.matches(&found.unwrap_or_default()),
        };
        is_so != self.invert
    }
}

impl QueryParameterMatch {
    fn matches(&self, query: &[u8]) -> bool {
        let mut parameters = query.get(1..).unwrap_or_default().split(|byte| *byte == b'&');
        let value = parameters.find_map(|parameter| match memchr::memchr(b'=', parameter) {
            Some(equals) => (&parameter[..equals] == self.name.as_bytes()).then(|| &parameter[equals + 1..]),
            None => (parameter == self.name.as_bytes()).then_some(&b""[..]),
        });
        value.is_some_and(|value| self.value.matches(value))
    }
}

impl ValueMatch {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Regex(pattern) => pattern.is_match(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Request(&'static str, &'static [(&'static str, &'static str)]);

    impl RequestHead for Request {
        fn path(&self) -> &[u8] {
            self.0.as_bytes()
        }

        fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
            self.1.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::Borrowed(value.as_bytes()))
        }
    }

    fn pattern(written: &str) -> Pattern {
        written.to_owned().try_into().expect("a regular expression")
    }

    fn of_path(path: PathMatch, case_sensitive: bool) -> RouteMatch {
        RouteMatch { path, case_sensitive, ..RouteMatch::every_path() }
    }

    #[test]
    fn a_path_is_compared_without_its_query_and_a_prefix_is_plain_text() {
        let prefix = |text: &str| PathMatch::Prefix(text.to_owned());
        let exact = |text: &str| PathMatch::Exact(text.to_owned());
        let regex = |text: &str| PathMatch::Regex(pattern(text));
        for (condition, path, expected) in [
            (of_path(prefix("/ws"), true), "/ws", true),
            (of_path(prefix("/ws"), true), "/wsx", true),
            (of_path(prefix("/ws"), true), "/ws/a?b", true),
            (of_path(prefix("/ws"), true), "/WS", false),
            (of_path(prefix("/ws"), false), "/WS/a", true),
            (of_path(prefix("/ws"), true), "/w", false),
            (of_path(prefix("/a?b"), true), "/a?b", false),
            (of_path(exact("/ws"), true), "/ws?a=b", true),
            (of_path(exact("/ws"), true), "/ws/", false),
            (of_path(exact("/ws"), false), "/Ws", true),
            (of_path(regex("/ws/[0-9]+"), true), "/ws/12?x", true),
            (of_path(regex("/ws/[0-9]+"), true), "/ws/12a", false),
            (of_path(regex("/a|/b"), true), "/bc", false),
            (of_path(regex("/ws"), false), "/WS", false),
        ] {
            assert_eq!(condition.matches(&Request(path, &[])), expected, "{condition:?} {path}");
        }
    }

    #[test]
    fn a_field_that_is_missing_is_empty_only_where_the_condition_is_inverted() {
        let values = [
            ValueMatch::Present,
            ValueMatch::Exact("a".to_owned()),
            ValueMatch::Prefix("a".to_owned()),
            ValueMatch::Regex(pattern("a*")),
            ValueMatch::Exact(String::new()),
        ];
        // For each value: the field is missing, is `a`, is `ab`.
        let expected = [
            [false, true, true],
            [false, true, false],
            [false, true, true],
            [false, true, false],
            [false, false, false],
        ];
        let inverted = [
            [true, false, false],
            [true, false, true],
            [true, false, false],
            [false, false, true],
            [false, true, true],
        ];
        let requests = [Request("/", &[]), Request("/", &[("x", "a")]), Request("/", &[("x", "ab")])];
        for (index, value) in values.into_iter().enumerate() {
            for (invert, expected) in [(false, &expected), (true, &inverted)] {
                let field = FieldMatch { name: "x".to_owned(), value: value.clone(), invert };
                let condition = RouteMatch { fields: vec![field], ..RouteMatch::every_path() };
                let found: Vec<bool> = requests.iter().map(|request| condition.matches(request)).collect();
                assert_eq!(found, expected[index], "{value:?} {invert}");
            }
        }
    }

    #[test]
    fn a_query_parameter_is_compared_as_it_is_written_and_the_first_counts() {
        let parameter = |name: &str, value| {
            let parameter = QueryParameterMatch { name: name.to_owned(), value };
            RouteMatch { query_parameters: vec![parameter], ..RouteMatch::every_path() }
        };
        for (path, present, exact) in [
            ("/", false, false),
            ("/?room", true, false),
            ("/?room=1", true, true),
            ("/?a=b&room=1&room=2", true, true),
            ("/?room=2&room=1", true, false),
            ("/?room=%31", true, false),
            ("/?rooms=1", false, false),
        ] {
            let request = Request(path, &[]);
            assert_eq!(parameter("room", ValueMatch::Present).matches(&request), present, "{path}");
            assert_eq!(
                parameter("room", ValueMatch::Exact("1".to_owned())).matches(&request),
                exact,
                "{path}"
            );
        }
    }

    #[test]
    fn a_regular_expression_is_refused_by_itself() {
        for written in ["(", "a)(b", "*"] {
            assert!(Pattern::try_from(written.to_owned()).is_err(), "{written}");
        }
        assert_eq!(serde_json::to_string(&pattern("/a.*")).expect("JSON"), "\"/a.*\"");
    }
}
