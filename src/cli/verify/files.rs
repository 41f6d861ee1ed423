//! `websockets-cli verify init` and `verify schema`: what somebody needs who writes a scenario.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{NoVerdict, exit};
use crate::escape::Escaped;
use crate::verify::{EXAMPLE, report, scenario_schema};

/// What verify does beside verifying.
#[derive(Debug, clap::Subcommand)]
pub(super) enum FilesCommand {
    /// Write a commented example of a scenario, which runs as it is. Nothing is overwritten.
    Init {
        /// The file to write, for --scenario.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the JSON schema of a format.
    Schema {
        /// The format.
        #[arg(value_enum, default_value_t = SchemaFormat::Scenario)]
        format: SchemaFormat,
    },
}

/// A format with a schema.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum SchemaFormat {
    /// Scenarios, which --scenario takes.
    Scenario,
    /// What --report json writes.
    Report,
}

/// A file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}: {source}", path.display())]
pub(super) struct WriteError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl WriteError {
    /// Whether that is because there is such a file already.
    pub(super) fn exists(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }
}

pub(super) fn run(command: &FilesCommand) -> Result<ExitCode, NoVerdict> {
    match command {
        FilesCommand::Init { file } => init(file)?,
        FilesCommand::Schema { format } => match print_schema(*format) {
            // The reader of a closed pipe has read enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(NoVerdict::System(exit::unwritten(&error)));
            }
            _ => {}
        },
    }
    Ok(ExitCode::from(exit::OK))
}

fn init(path: &Path) -> Result<(), WriteError> {
    let named = |source| WriteError { path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(named)?;
    file.write_all(EXAMPLE.as_bytes()).map_err(named)?;
    // A closed standard error is no failure.
    let file = Escaped(path.display());
    let _ = writeln!(io::stderr(), "run it with: websockets-cli verify --scenario {file}");
    Ok(())
}

fn print_schema(format: SchemaFormat) -> io::Result<()> {
    let schema = match format {
        SchemaFormat::Scenario => scenario_schema(),
        SchemaFormat::Report => report::schema(),
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{:#}", schema.as_value())?;
    out.flush()
}
