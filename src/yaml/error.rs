//! What is wrong with a text, and where.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use super::place::{Mark, Place, Text};

/// What is wrong, where in the text, and at which path of its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Details>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Details {
    place: Option<Place>,
    path: String,
    problem: Problem,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The text is not YAML, in the parser's words.
    Syntax(String),
    /// The text asks for more than is read; the words name the bound.
    Bound(String),
    /// A value is of the wrong type or outside of what is allowed.
    Unexpected {
        /// What may be there, and how to write it.
        expected: String,
        /// What stands there instead.
        found: String,
    },
    /// A field is missing.
    Missing,
    /// No field or variant has that name.
    UnknownName {
        /// The name that does not exist.
        name: String,
        /// The names that exist.
        known: &'static [&'static str],
    },
    /// The name of a variant stands without the value that it needs.
    Bare {
        /// The name that stands alone.
        name: String,
    },
    /// What the type says of it that refuses the value.
    Other(String),
}

impl Error {
    /// A problem at a place.
    #[must_use]
    pub fn new(place: Place, problem: Problem) -> Self {
        Self(Box::new(Details { place: Some(place), path: String::new(), problem }))
    }

    /// Whether the text is not YAML at all.
    #[must_use]
    pub fn is_of_syntax(&self) -> bool {
        matches!(self.0.problem, Problem::Syntax(_))
    }

    /// The same error elsewhere, if its place is another one's.
    #[must_use]
    pub fn moved(mut self, to: impl FnOnce(&Place) -> Option<Place>) -> Self {
        let moved = self.0.place.as_ref().and_then(to);
        self.0.place = moved.or_else(|| self.0.place.take());
        self
    }

    pub(super) fn at_beginning(text: &Text, problem: &str) -> Self {
        let beginning = Mark { line: 1, column: 1, ..Mark::default() };
        Self::new(Place::new(text, beginning), Problem::Other(problem.to_owned()))
    }

    /// A problem of a value that is just being read, whose place is added by [`Self::about`].
    pub(super) fn unplaced(problem: Problem) -> Self {
        Self(Box::new(Details { place: None, path: String::new(), problem }))
    }

    /// Says of an error without a place what it is about: the place and the path of a value, and
    /// what stands there.
    pub(super) fn about(mut self, value: impl FnOnce() -> (Place, String, String)) -> Self {
        let inner = &mut *self.0;
        if inner.place.is_none() {
            let (place, path, there) = value();
            inner.place = Some(place);
            // A field that is missing is below the value that lacks it.
            inner.path = match (path.as_str(), inner.path.as_str()) {
                ("", missing) => missing.to_owned(),
                (_, "") => path,
                (path, missing) => format!("{path}.{missing}"),
            };
            if let Problem::Unexpected { found, .. } = &mut inner.problem {
                *found = there;
            }
        }
        self
    }

    /// Says what is expected in other words than serde's name of a primitive.
    pub(super) fn instead(mut self, primitive: &str, words: impl FnOnce() -> String) -> Self {
        if let Problem::Unexpected { expected, .. } = &mut self.0.problem
            && expected == primitive
        {
            *expected = words();
        }
        self
    }

    /// Where the value is; nothing of an error that is about no value of a text.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// The path of the value in its document, `spec.host`; of the document itself it is empty.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// What is wrong with the value.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// The path and what is wrong there, without the place.
    #[must_use]
    pub fn message(&self) -> String {
        let Details { path, problem, .. } = &*self.0;
        match problem {
            Problem::Syntax(_) | Problem::Bound(_) => problem.to_string(),
            _ if path.is_empty() => format!("the document: {problem}"),
            _ => format!("{path}: {problem}"),
        }
    }
}

impl Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(problem) => write!(formatter, "not valid YAML: {problem}"),
            Self::Bound(problem) | Self::Other(problem) => formatter.write_str(problem),
            Self::Unexpected { expected, found } => {
                write!(formatter, "expected {expected}, found {found}")
            }
            Self::Missing => formatter.write_str("expected a value, found nothing"),
            Self::Bare { name } => write!(formatter, "{name} needs a value, as in `{name}: …`"),
            Self::UnknownName { name, known } => {
                write!(formatter, "expected one of {}, found {name:?}", known.join(", "))
            }
        }
    }
}

impl Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(formatter, "{place}: ")?;
        }
        formatter.write_str(&self.message())
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: Display>(problem: T) -> Self {
        Self::unplaced(Problem::Other(problem.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self::unplaced(Problem::Unexpected { expected, found })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Self::unplaced(Problem::UnknownName { name: name.to_owned(), known })
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::unknown_variant(name, known)
    }

    fn missing_field(field: &'static str) -> Self {
        let mut error = Self::unplaced(Problem::Missing);
        field.clone_into(&mut error.0.path);
        error
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::custom(format_args!("{field} is there twice, in two spellings"))
    }
}
