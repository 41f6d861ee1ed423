//! `--allow CODE` and `--deny CODE`, of `lint` and `verify`, with what the working folder's
//! configuration says.

use std::path::Path;

use super::configuration::{self, ConfigurationError};
use crate::mesh::lint::{CodeLevels, Contradiction, Levels};
use crate::mesh::{Rule, rules};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Levels of findings")]
#[group(skip)]
pub(super) struct Args {
    /// Findings with this code are known and meant so: they are counted and not shown, and are no
    /// errors. Repeatable, or several separated by commas.
    ///
    /// The document can say the same: `# websockets-cli: allow CODE[, CODE…]` at the end of the
    /// line or on the line above it, or its annotation `websockets-cli/allow`. For all documents of
    /// a project `.websockets-cli.yaml` in the working folder does, with the lists `allow` and
    /// `deny`. These options count more than the document, and that more than the file. What was
    /// not read or not judged is not said to be right by that: exit status 2 of `lint` and 5 of
    /// `verify` stay.
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = rules::of_code)]
    allow: Vec<&'static Rule>,

    /// Findings with this code are errors, whatever documents allow. Repeatable, or several
    /// separated by commas.
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = rules::of_code)]
    deny: Vec<&'static Rule>,
}

/// The levels cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum LevelsError {
    /// The options say two things of a code.
    #[error("--allow and --deny: {0}")]
    Options(#[from] Contradiction),
    /// The file of the working folder cannot be taken.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
}

impl Args {
    /// What counts of all that is said outside of the documents.
    pub(super) fn levels(&self) -> Result<Levels, LevelsError> {
        let command_line = CodeLevels::new(self.allow.iter().copied(), self.deny.iter().copied())?;
        Ok(Levels { command_line, file: configuration::load(Path::new(""))? })
    }
}
