//! The doorway: parse the command line, run it, turn the outcome into an exit status. Everything
//! else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    websockets_cli::cli::main()
}
