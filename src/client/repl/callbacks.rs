//! What the line editor (rustyline) asks back while a line is edited: what Tab completes, and how
//! the line is shown so that the terminal obeys nothing in it. All of it runs on the editor's
//! thread.

use std::borrow::Cow;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::command;
use super::editor::SharedStage;
use crate::escape::{escape, pictured};

/// rustyline's callbacks, which run on the editor's thread.
pub(super) struct Callbacks {
    stage: SharedStage,
    /// Whether lines may be commands.
    commands: bool,
    files: FilenameCompleter,
}

impl Hinter for Callbacks {
    type Hint = String;

    /// Called before the prompt is painted and whenever the text changes.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.stage.edit_line(line);
        None
    }
}

impl Validator for Callbacks {
    /// Called on Enter, while the terminal is still the editor's.
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.stage.leave_line();
        Ok(ValidationResult::Valid(None))
    }
}

impl Callbacks {
    pub(super) fn new(stage: SharedStage, commands: bool) -> Self {
        Self { stage, commands, files: FilenameCompleter::new() }
    }

    fn complete_path(&self, line: &str, at: usize) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, mut files) = self.files.complete_path(line, at)?;
        for Pair { display, .. } in &mut files {
            *display = escape(display).into_owned();
        }
        Ok((start, files))
    }
}

impl Completer for Callbacks {
    type Candidate = Pair;

    /// Commands, and the path after one that takes a path.
    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..at];
        if !self.commands || !before.starts_with('/') {
            Ok((at, Vec::new()))
        } else if before.contains(' ') {
            let takes_path = before.starts_with(command::FILE);
            if takes_path { self.complete_path(line, at) } else { Ok((at, Vec::new())) }
        } else {
            let pair = |name: &&str| Pair { display: (*name).to_owned(), replacement: format!("{name} ") };
            Ok((
                0,
                command::names().filter(|name| name.starts_with(before)).map(|name| pair(&name)).collect(),
            ))
        }
    }
}

/// What is edited, typed, pasted or out of the history, is shown, not obeyed. Of a line with an
/// escape sequence the cursor stands too far left: the editor counts columns as if a terminal
/// obeyed it.
impl Highlighter for Callbacks {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        pictured(line)
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        // That of a search in the history has what is searched for.
        pictured(prompt)
    }

    /// Whether the line has to be painted anew, because one of its characters is shown as another.
    fn highlight_char(&self, line: &str, _: usize, _: CmdKind) -> bool {
        matches!(pictured(line), Cow::Owned(_))
    }
}

impl Helper for Callbacks {}
