//! GitHub's workflow commands: a line of a step's output that its runner obeys. They are written
//! here alone.

use std::fmt::{self, Display};

use super::{escape, escape_line};

/// A command with its properties and its message, which is one line when it is displayed.
#[derive(Debug, Clone)]
pub struct WorkflowCommand {
    name: &'static str,
    properties: Vec<(&'static str, String)>,
    message: String,
}

impl WorkflowCommand {
    /// `error`, `warning` or `notice`, about nothing yet.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, properties: Vec::new(), message: String::new() }
    }

    /// With a property, such as `file`, `line` or `title`.
    #[must_use]
    pub fn property(mut self, name: &'static str, value: impl Display) -> Self {
        let value = data(&escape(&value.to_string())).replace(':', "%3A").replace(',', "%2C");
        self.properties.push((name, value));
        self
    }

    /// With a line of its message, below those before.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        if !self.message.is_empty() {
            self.message.push('\n');
        }
        self.message.push_str(&escape_line(line));
        self
    }
}

impl Display for WorkflowCommand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<_> =
            self.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
        write!(formatter, "::{} {}::{}", self.name, properties.join(","), data(&self.message))
    }
}

/// Escapes what would end a command (`escapeData` in GitHub's toolkit; a property needs `:` and `,`
/// too).
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_told_ends_a_command_or_makes_another() {
        let command = WorkflowCommand::new("error")
            .property("file", "a,b:c%\n\x1b.yaml")
            .property("line", 7)
            .line("100% of\n::error::x")
            .line("::error::y");
        assert_eq!(
            command.to_string(),
            "::error file=a%2Cb%3Ac%25\\n\\x1b.yaml,line=7::100%25 of\\n::error::x%0A\\x3a:error::y"
        );
    }
}
