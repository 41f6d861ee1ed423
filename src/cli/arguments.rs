//! The command line, taken apart by clap. What is wrong with it is said in clap's words, in which
//! what was typed is escaped: a URI or a file's name that somebody pasted, or that a script found,
//! is a stranger's.

use std::borrow::Cow;
use std::error::Error as _;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ContextValue;

use crate::escape::escape;

/// What goes before each further line of a reason that has several.
const FURTHER: &str = "\n  | ";

/// Parses the process's arguments; otherwise shows the help or says what is wrong, and returns the
/// exit status.
pub(super) fn parse<A: Parser>() -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        // Nothing is lost with these lines but the lines.
        let _ = if error.use_stderr() {
            anstream::stderr().write_all(said(&error).as_bytes())
        } else {
            error.print()
        };
        ExitCode::from(if error.use_stderr() { super::exit::USAGE } else { super::exit::OK })
    })
}

/// What clap says, with its colours.
fn said(error: &clap::Error) -> String {
    let mut text = error.render().ansi().to_string();
    if let Some(reason) = error.source().map(ToString::to_string)
        && let Cow::Owned(_) = escape(&reason)
    {
        let lines: Vec<_> = reason.lines().map(escape).collect();
        text = text.replace(&reason, &lines.join(FURTHER));
    }
    let typed = error.context().flat_map(|(_, value)| match value {
        ContextValue::String(text) => std::slice::from_ref(text),
        ContextValue::Strings(texts) => texts,
        _ => &[],
    });
    for typed in typed {
        if let Cow::Owned(escaped) = escape(typed) {
            text = text.replace(typed, &escaped);
        }
    }
    text
}
