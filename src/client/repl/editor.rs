//! The line editor (rustyline) on a thread of its own, and its printer, which puts messages above
//! the prompt so that what is being typed stays.
//!
//! Three threads touch the terminal, one at a time: the *editor*, the *printer* through the editor
//! while a line is being edited, and the session's, before the first prompt and after the last.
//! [`PromptStage`] keeps them apart.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, raise};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{ColorMode, CompletionType, Config, ExternalPrinter};
use tokio::sync::{mpsc, oneshot};
use tungstenite::Message;
use unicode_width::UnicodeWidthChar;

use super::callbacks::Callbacks;
use super::command::{self, PromptCommand};
use crate::client::config::TerminalConfig;
use crate::client::session::Batch;
use crate::escape::escape_line;

/// The guide's prompt, Python websockets'.
const PROMPT: &str = "> ";

/// How many lines are kept from one session to the next, as in bash.
const HISTORY_LINES: usize = 500;

/// Moves the cursor up and down a line, which shows nothing. Once the editor's printer has taken
/// it, everything before it is on the screen.
const NOTHING_TO_SEE: &str = "\x1b[A\n";

/// How long Enter may wait for a message that is just being handed to the editor, which takes
/// microseconds. Bounded, because the handover can wait for the editor in turn; then it is past the
/// point that matters.
const HANDOVER: Duration = Duration::from_millis(10);

/// How often the editor is asked to end until it has; see [`RunningThreads::interrupt`].
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(10);

/// How many times the editor is asked: a terminal that takes no output for a second is left as it
/// is.
const INTERRUPTS: u32 = 100;

/// What the threads know of one another.
#[derive(Debug, Default)]
struct PromptStage {
    /// A line is being edited: the prompt is there or about to be painted, and the printer may
    /// print.
    editing: bool,
    /// The printer is about to hand a message to the editor.
    printing: bool,
    /// The last line was edited.
    over: bool,
    /// What has been typed of the line.
    typed: String,
}

/// What the editor and the session tell each other beside messages.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedConnection(Arc<Mutex<PromptState>>);

#[derive(Debug, Default)]
struct PromptState {
    /// Another connection was asked for, after the end of this one.
    reconnecting: bool,
    /// Both heads of the opening handshake, a line each.
    heads: String,
}

impl SharedConnection {
    fn lock(&self) -> MutexGuard<'_, PromptState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another connection was asked for, which is then forgotten.
    pub(super) fn take_reconnecting(&self) -> bool {
        std::mem::take(&mut self.lock().reconnecting)
    }

    /// Keeps what `/headers` shows.
    pub(super) fn set_heads(&self, heads: String) {
        self.lock().heads = heads;
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct SharedStage(Arc<(Mutex<PromptStage>, Condvar)>);

impl SharedStage {
    fn lock(&self) -> MutexGuard<'_, PromptStage> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut PromptStage)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    /// A line is being edited, of which this has been typed.
    pub(super) fn edit_line(&self, typed: &str) {
        self.change(|stage| {
            stage.editing = true;
            typed.clone_into(&mut stage.typed);
        });
    }

    /// Waits until a line is edited and marks the handover; false when there will be no more.
    fn begin_printing(&self) -> bool {
        let waiting = self.0.1.wait_while(self.lock(), |stage| !stage.editing && !stage.over);
        let mut stage = waiting.unwrap_or_else(PoisonError::into_inner);
        stage.printing = !stage.over;
        stage.printing
    }

    /// Leaves the line that was being edited, but not while a message is handed over: the printer
    /// would then write into the line.
    pub(super) fn leave_line(&self) {
        let mut stage = self.lock();
        stage.editing = false;
        drop(self.0.1.wait_timeout_while(stage, HANDOVER, |stage| stage.printing));
    }
}

type LineEditor = rustyline::Editor<Callbacks, DefaultHistory>;

/// A line editor on the process's terminal, and its printer.
pub(in crate::client) struct Editor {
    lines: TypedLines,
    printer: Box<dyn ExternalPrinter + Send>,
}

impl Editor {
    /// `None` where standard input or standard output is not a terminal, or one that cannot edit
    /// (`TERM=dumb`).
    pub(in crate::client) fn open(config: &TerminalConfig) -> Option<Self> {
        let editing = Config::builder()
            .completion_type(CompletionType::List)
            // What is highlighted here has no colour, and has to be whatever `NO_COLOR` says.
            .color_mode(ColorMode::Forced)
            .max_history_size(HISTORY_LINES)
            .ok()?
            .build();
        let mut editor = LineEditor::with_config(editing).ok()?;
        let printer = Box::new(editor.create_external_printer().ok()?);
        let stage = SharedStage::default();
        let commands = !config.raw;
        editor.set_helper(Some(Callbacks::new(stage.clone(), commands)));
        let history = config.history.clone().filter(|path| remember(&mut editor, path));
        Some(Self {
            lines: TypedLines { editor, stage, connection: SharedConnection::default(), history, commands },
            printer,
        })
    }

    /// Starts to edit lines and to print `pieces` above them. Each message that is typed goes to
    /// `typed`.
    pub(super) fn start(
        self,
        heads: String,
        typed: mpsc::Sender<Batch>,
        pieces: mpsc::Receiver<String>,
    ) -> io::Result<RunningThreads> {
        let Self { lines, printer } = self;
        let (stage, connection) = (lines.stage.clone(), lines.connection.clone());
        connection.set_heads(heads);
        // The editor's thread alone takes what Ctrl-Z sends: it stops when the terminal was given
        // back, and not later.
        let suspension = SigSet::from(Signal::SIGTSTP);
        suspension.thread_block()?;
        let printed = spawn("printer", move || print(printer, pieces, &stage))?;
        let edited = spawn("editor", move || {
            let _ = suspension.thread_unblock();
            lines.edit(&typed)
        })?;
        Ok(RunningThreads { connection, edited, printed })
    }
}

/// The threads of an editor.
pub(super) struct RunningThreads {
    pub(super) connection: SharedConnection,
    edited: oneshot::Receiver<usize>,
    printed: oneshot::Receiver<()>,
}

impl RunningThreads {
    /// Waits until every piece is on the screen; the sender of pieces must have been dropped.
    pub(super) async fn printed(&mut self) {
        // Fails where the printer ended because there is no line to print above.
        let _ = (&mut self.printed).await;
    }

    /// Makes the editor leave the line that it is editing, with the terminal as it was before, and
    /// waits for it. Returns how many rows the last prompt and what was typed after it take; the
    /// cursor is in the row below.
    ///
    /// While a line is edited, rustyline takes SIGINT as Ctrl-C; at other times the signal goes to
    /// this program's own handler and does nothing. So it is raised again until the editor has
    /// ended.
    pub(super) async fn interrupt(mut self) -> Option<usize> {
        for _ in 0..INTERRUPTS {
            if let Ok(rows) = self.edited.try_recv() {
                return Some(rows);
            }
            raise(Signal::SIGINT).ok()?;
            if let Ok(rows) = tokio::time::timeout(INTERRUPT_INTERVAL, &mut self.edited).await {
                return rows.ok();
            }
        }
        None
    }
}

/// Reads the lines of earlier sessions; whether those of this one can be kept there.
fn remember(editor: &mut LineEditor, path: &Path) -> bool {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    match folder.map_err(ReadlineError::from).and_then(|()| editor.load_history(path)) {
        Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::warn!("no history: {}: {error}", path.display());
            false
        }
        Ok(()) => true,
    }
}

/// The editor's thread.
struct TypedLines {
    editor: LineEditor,
    stage: SharedStage,
    connection: SharedConnection,
    /// Where lines are kept for later sessions.
    history: Option<PathBuf>,
    /// Whether lines may be commands.
    commands: bool,
}

impl TypedLines {
    /// Takes line after line until Ctrl-D, Ctrl-C or the end of the terminal. Returns how many rows
    /// the last one takes.
    fn edit(mut self, typed: &mpsc::Sender<Batch>) -> usize {
        loop {
            let line = match self.editor.readline(PROMPT) {
                Ok(line) => line,
                // A byte that is not UTF-8 costs the line, not the session.
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => continue,
                Err(_) => break,
            };
            self.keep(&line);
            if let Some(message) = self.interpret(line) {
                // When the session is over, the next line is begun nevertheless: the printer may
                // have handed over a message that this editor has not shown yet. It ends by
                // `interrupt`.
                let _ = typed.blocking_send(vec![message]);
            }
        }
        let columns = self.editor.dimensions().map_or(usize::MAX, |(columns, _)| usize::from(columns));
        let mut rows = 0;
        self.stage.change(|stage| {
            stage.over = true;
            rows = rows_of(&stage.typed, columns);
        });
        rows
    }

    fn keep(&mut self, line: &str) {
        let added = self.editor.add_history_entry(line).unwrap_or(false);
        if added && let Some(path) = &self.history {
            // A full disk costs the history, not the session.
            let _ = self.editor.append_history(path);
        }
    }

    /// The message that a line stands for; a line that stands for none is answered on the terminal.
    fn interpret(&self, line: String) -> Option<Message> {
        if !self.commands {
            return Some(Message::text(line));
        }
        let answer = match command::parse(line) {
            Ok(PromptCommand::Send(message)) => return Some(message),
            Ok(PromptCommand::Reconnect) => {
                self.connection.lock().reconnecting = true;
                return Some(command::close(1000, ""));
            }
            Ok(PromptCommand::Help) => command::help(),
            Ok(PromptCommand::Headers) => self.connection.lock().heads.clone(),
            Err(error) => format!("{}\n", escape_line(&error.to_string())),
        };
        // Between two lines this thread alone writes to the terminal. If that is gone, the session
        // ends soon.
        let _ = io::stdout().write_all(answer.as_bytes());
        None
    }
}

/// How many rows the prompt and a text take on a terminal this wide.
fn rows_of(typed: &str, columns: usize) -> usize {
    let (mut row, mut column) = (1, 0);
    for character in PROMPT.chars().chain(typed.chars()) {
        let width = character.width().unwrap_or_default();
        if character == '\n' {
            (row, column) = (row + 1, 0);
        } else if column + width > columns {
            (row, column) = (row + 1, width);
        } else {
            column += width;
        }
    }
    // Behind a full row, the editor puts the cursor into the next one.
    if column >= columns { row + 1 } else { row }
}

/// The printer's thread: hands each piece to the editor, which prints it above the line being
/// edited.
fn print(
    mut printer: Box<dyn ExternalPrinter + Send>,
    mut pieces: mpsc::Receiver<String>,
    stage: &SharedStage,
) {
    let mut hand_over = |piece: String| {
        let shown = stage.begin_printing() && printer.print(piece).is_ok();
        stage.change(|stage| stage.printing = false);
        shown
    };
    while let Some(piece) = pieces.blocking_recv() {
        if !hand_over(piece) {
            return;
        }
    }
    hand_over(NOTHING_TO_SEE.to_owned());
}

/// Runs `work` on a named thread; what it returns is to be awaited.
fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || done.send(work()))?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_as_many_rows_as_the_editor_gives_it() {
        assert_eq!(rows_of("", 80), 1);
        assert_eq!(rows_of(&"x".repeat(77), 80), 1);
        assert_eq!(rows_of(&"x".repeat(78), 80), 2);
        assert_eq!(rows_of(&"x".repeat(79), 80), 2);
        // A wide character is not split: one column stays empty.
        assert_eq!(rows_of("xxx你", 6), 2);
        assert_eq!(rows_of("xxx你a你", 6), 2);
        assert_eq!(rows_of("pasted\nlines", 80), 2);
    }
}
