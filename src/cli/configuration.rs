//! `.websockets-cli.yaml` in the working folder: what a project says once of the findings in its
//! documents.

use std::io;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::mesh::lint::{CodeLevels, Contradiction};
use crate::mesh::{CONFIGURATION_FILE as FILE, Rule, rules};
use crate::yaml::{self, Text};

/// The file cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigurationError {
    /// It cannot be read.
    #[error("read {FILE}: {0}")]
    Read(#[source] io::Error),
    /// It is not as it has to be.
    #[error(transparent)]
    Malformed(#[from] yaml::Error),
    /// It says two things of a code.
    #[error("{FILE}: {0}")]
    Contradiction(#[from] Contradiction),
}

/// What a project says once of the findings of websockets-cli in its documents.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "The configuration of websockets-cli, .websockets-cli.yaml")]
struct ConfigurationFile {
    /// The codes of findings that are known and meant so.
    #[schemars(with = "Vec<String>")]
    allow: Vec<Code>,
    /// The codes of findings that are errors.
    #[schemars(with = "Vec<String>")]
    deny: Vec<Code>,
}

/// The code of a finding.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Code(&'static Rule);

impl TryFrom<String> for Code {
    type Error = rules::UnknownCode;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        rules::of_code(&code).map(Self)
    }
}

/// The levels that the folder's file gives, if there is one.
pub(super) fn load(folder: &Path) -> Result<CodeLevels, ConfigurationError> {
    match std::fs::read_to_string(folder.join(FILE)) {
        Ok(text) => parse(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(CodeLevels::default()),
        Err(error) => Err(ConfigurationError::Read(error)),
    }
}

fn parse(text: String) -> Result<CodeLevels, ConfigurationError> {
    let text = Text::new(FILE, text);
    if yaml::documents(&text)?.is_empty() {
        return Ok(CodeLevels::default());
    }
    let ConfigurationFile { allow, deny } = yaml::from_text(&text)?;
    let rules = |codes: Vec<Code>| codes.into_iter().map(|Code(rule)| rule);
    Ok(CodeLevels::new(rules(allow), rules(deny))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_that_of_the_file() {
        let schema = schemars::schema_for!(ConfigurationFile);
        let made = serde_json::to_string_pretty(&schema).expect("JSON");
        let published = include_str!("../../schemas/configuration.schema.json");
        assert_eq!(published.trim_end(), made, "schemas/configuration.schema.json");
    }

    fn refused(text: &str) -> String {
        parse(text.to_owned()).expect_err(text).to_string()
    }

    #[test]
    fn a_file_allows_and_denies_by_code() {
        let rule = |code| rules::of_code(code).expect(code);
        let read = parse("allow: [tcp-port]\ndeny:\n- unseen-host\n- unknown-host\n".to_owned());
        let levels = CodeLevels::new([rule("tcp-port")], [rule("unseen-host"), rule("unknown-host")]);
        assert_eq!(read.expect("levels"), levels.expect("no contradiction"));
        for nothing in ["", "# nothing\n", "---\n", "{}\n", "allow: []\n"] {
            assert_eq!(parse(nothing.to_owned()).expect(nothing), CodeLevels::default());
        }
    }

    #[test]
    fn a_file_that_is_not_as_it_has_to_be_is_refused_with_its_place_and_what_was_expected() {
        for (text, expected) in [
            (
                "deny: []\nalow: [tcp-port]\n",
                ".websockets-cli.yaml:2:1: the document: expected one of allow, deny, found \"alow\"",
            ),
            (
                "allow:\n- tcp-prot\n",
                ".websockets-cli.yaml:2:3: allow[0]: no finding has the code \"tcp-prot\": the nearest is tcp-port",
            ),
            ("allow: tcp-port\n", ".websockets-cli.yaml:1:8: allow: expected a list, found \"tcp-port\""),
            ("allow: [a\n", ".websockets-cli.yaml:1:8: not valid YAML"),
            ("{}\n---\n{}\n", ".websockets-cli.yaml:3:1: the document: expected one document"),
            ("- tcp-port\n", ".websockets-cli.yaml:1:1: the document: expected"),
            (
                "{allow: [tcp-port], deny: [tcp-port]}",
                ".websockets-cli.yaml: tcp-port is both allowed and denied: leave out one of the two",
            ),
        ] {
            let error = refused(text);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
