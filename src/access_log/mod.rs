//! The access log of a sidecar, as Istio configures Envoy to write it.

mod parse;

pub use parse::{Field, ParseError, ParsedLine};
