//! `websockets-cli verify --list`: the scenarios, a line each.

use std::io::{self, Write};
use std::process::ExitCode;

use super::{NoVerdict, ScenarioArgs, exit};
use crate::escape::escape_line;
use crate::verify::Scenario;

pub(super) fn run(args: &ScenarioArgs) -> Result<ExitCode, NoVerdict> {
    let scenarios = args.select()?;
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or_default();
    let line = |scenario: &Scenario| {
        escape_line(&format!("{:width$}  {}", scenario.name, scenario.description)).into_owned() + "\n"
    };
    let text: String = scenarios.iter().map(line).collect();
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| NoVerdict::System(exit::unwritten(&error)))?;
    Ok(ExitCode::from(exit::OK))
}
