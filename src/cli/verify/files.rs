//! `websockets-cli verify init` and `verify schema`: what somebody needs who writes a scenario.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::exit;
use crate::escape::Escaped;
use crate::verify::{EXAMPLE, report, scenario_schema};

/// What verify does beside verifying.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write a commented example of a scenario, which runs as it is. Nothing is overwritten.
    Init {
        /// The file to write, for --scenario.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the JSON schema of a format.
    Schema {
        /// Of which.
        #[arg(value_enum, default_value_t = Format::Scenario)]
        format: Format,
    },
}

/// A format with a schema.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Format {
    /// Scenarios, which --scenario takes.
    Scenario,
    /// What --report json writes.
    Report,
}

/// A file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}: {source}", path.display())]
struct WriteError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

pub(super) fn run(command: &Command) -> ExitCode {
    match command {
        Command::Init { file } => match init(file) {
            Ok(()) => ExitCode::from(exit::OK),
            Err(error) => {
                let exists = error.source.kind() == io::ErrorKind::AlreadyExists;
                exit::report(&error, exists.then_some("name a file that does not exist yet"), exit::USAGE)
            }
        },
        Command::Schema { format } => match print_schema(*format) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                exit::report(&exit::unwritten(&error), None, exit::FAILED)
            }
            _ => ExitCode::from(exit::OK),
        },
    }
}

fn init(path: &Path) -> Result<(), WriteError> {
    let named = |source| WriteError { path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(named)?;
    file.write_all(EXAMPLE.as_bytes()).map_err(named)?;
    // Where nobody reads standard error, nobody misses it.
    let file = Escaped(path.display());
    let _ = writeln!(io::stderr(), "run it with: websockets-cli verify --scenario {file}");
    Ok(())
}

fn print_schema(format: Format) -> io::Result<()> {
    let schema = match format {
        Format::Scenario => scenario_schema(),
        Format::Report => report::schema(),
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{:#}", schema.as_value())?;
    out.flush()
}
