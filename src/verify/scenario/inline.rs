//! Mesh documents inside a scenario's file: what is wrong with them is said with the line and the
//! column of that file.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer};

use crate::mesh::{Documents, MeshError};
use crate::yaml::{Placed, Text};

/// A text with mesh documents, and where in its file it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inline {
    text: String,
    /// How many lines are before its first.
    lines: usize,
    /// How far its lines are indented.
    columns: usize,
}

impl Inline {
    /// Reads the documents of a text in the file `name`.
    ///
    /// # Errors
    /// They are malformed.
    pub fn read(&self, name: &str) -> Result<Documents, MeshError> {
        let mut documents = Documents::default();
        for text in self.in_place() {
            documents.merge(Documents::parse(name, &text)?)?;
        }
        Ok(documents)
    }

    /// Each document as a text by itself, with the places that it has in the file `name`.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<Arc<Text>> {
        self.in_place().into_iter().map(|text| Text::new(name, text)).collect()
    }

    /// Each document by itself, at the line and the column that it has in the file. A marker
    /// between documents is one only at the left, so they would be none if they were indented
    /// together.
    fn in_place(&self) -> Vec<String> {
        let mut documents = vec!["\n".repeat(self.lines)];
        for (number, line) in self.text.lines().enumerate() {
            let line: Cow<'_, str> = match line.strip_prefix("---") {
                Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t']) => {
                    documents.push("\n".repeat(self.lines + number));
                    format!("   {rest}").into()
                }
                _ => line.into(),
            };
            if let Some(document) = documents.last_mut() {
                document.extend([&" ".repeat(self.columns), &*line, "\n"]);
            }
        }
        documents
    }
}

impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Placed { value: text, place, .. } = Placed::<String>::deserialize(deserializer)?;
        let before = |count: u64| usize::try_from(count).unwrap_or_default().saturating_sub(1);
        let (lines, columns) = place.map_or((0, 0), |place| (before(place.line), before(place.column)));
        // The place is that of the first letter; lines before it may be empty.
        let empty = text.lines().take_while(|line| line.trim().is_empty()).count();
        Ok(Self { lines: lines.saturating_sub(empty), columns, text })
    }
}

impl JsonSchema for Inline {
    fn inline_schema() -> bool {
        String::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct File {
        documents: Inline,
    }

    fn error(text: &str) -> String {
        let File { documents } = crate::yaml::from_str(text).expect("a file");
        documents.read("it.yaml").expect_err("malformed").to_string()
    }

    const SERVICE: &str =
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: http}]}\n";

    #[test]
    fn a_mistake_has_the_line_and_the_column_of_the_file() {
        let indented = |by: &str| SERVICE.replace('\n', &format!("\n{by}"));
        let first = format!("documents: |\n\n  # A comment.\n  {}", indented("  "));
        assert!(error(&first).starts_with("it.yaml:7:25: spec.ports[0].port: "), "{}", error(&first));
        let second = format!(
            "documents: |\n    {}---\n    {}",
            indented("    ").replace("http", "80"),
            indented("    ")
        );
        assert!(error(&second).starts_with("it.yaml:10:27: spec.ports[0].port: "), "{}", error(&second));
        let syntax = "documents: |\n  # one\n  --- # here\n  a: [b\n";
        assert!(
            error(syntax).starts_with("it.yaml:4:") || error(syntax).starts_with("it.yaml:5:"),
            "{}",
            error(syntax)
        );
    }
}
