//! What steps are told with a word of their own: lengths of time, header fields, methods. Each is
//! checked as it is read, so that a wrong one is an error at its place in the file.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http1::Fields;

/// A length of time, as `300ms`, `5s` or `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Length(pub Duration);

impl TryFrom<String> for Length {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let length = text.parse::<jiff::SignedDuration>().ok().and_then(|length| length.try_into().ok());
        length.map(Self).ok_or_else(|| format!("{text:?} is no length of time such as 300ms, 5s or 1m30s"))
    }
}

/// Header fields, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "BTreeMap<String, String>")]
#[schemars(with = "BTreeMap<String, String>")]
pub struct Headers(pub Fields);

impl TryFrom<BTreeMap<String, String>> for Headers {
    type Error = String;

    fn try_from(written: BTreeMap<String, String>) -> Result<Self, String> {
        let mut fields = Fields::new();
        for (name, value) in written {
            let field = HeaderName::try_from(&name).map_err(|_| format!("{name:?} is no name of a field"))?;
            let value = HeaderValue::try_from(value).map_err(|_| format!("the value of {name} is none"))?;
            fields.append(field, value);
        }
        Ok(Self(fields))
    }
}

/// A method of HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct MethodName(pub Method);

impl TryFrom<String> for MethodName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Method::try_from(text.as_str()).map(Self).map_err(|_| format!("{text:?} is no method"))
    }
}
