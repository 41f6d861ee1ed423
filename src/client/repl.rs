//! The client on a terminal: a line editor (rustyline) on a thread of its own, and messages printed above its prompt
//! through its external printer, so that what is being typed stays.
//!
//! The only module that knows rustyline. Every line is sent as it was typed; history is kept in memory.
//!
//! Three threads touch the terminal, one at a time: the *editor* while a line is being edited, the *printer* through
//! the editor, and the session's, before the first prompt and after the last. [`Stage`] keeps them apart.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, ExternalPrinter, Helper};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tungstenite::Message;
use unicode_width::UnicodeWidthChar;

use super::connect::Connection;
use super::session::{AfterInput, Batch, Output, Session};
use super::{Outcome, render};
use crate::drain::{EndSignal, EndSignals};

/// The guide's prompt, Python websockets'.
const PROMPT: &str = "> ";

/// What goes before a received message: Python websockets' mark.
const RECEIVED: &str = "< ";

/// As many lines as one types ahead. Unbounded in effect: an editor that waited for a session that waits for the editor
/// would be a deadlock.
const TYPED_AHEAD: usize = Semaphore::MAX_PERMITS;

/// How many pieces of output may wait for the printer. Each is all that could be read at once, so two keep it busy.
const PRINTED_AHEAD: usize = 2;

/// How much is gathered before it is printed as one piece: a screen redraw a piece is what costs.
const PIECE_BYTES: usize = 16 * 1024;

/// Up and down a line: nothing to see. When the editor's printer has taken it, everything before it is on the screen.
const NOTHING_TO_SEE: &str = "\x1b[A\n";

/// How long Enter may wait for a message that is just being handed to the editor, which takes microseconds. Bounded,
/// because the handover can wait for the editor in turn; then it is past the point that matters.
const HANDOVER: Duration = Duration::from_millis(10);

/// How often the editor is asked to end until it has; see [`interrupt`].
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(10);

/// How many times at most: a terminal that takes no output for a second is left as it is.
const INTERRUPTS: u32 = 100;

/// What the threads know of one another.
#[derive(Debug, Default)]
struct Stage {
    /// A line is being edited: the prompt is there or about to be painted, and the printer may print.
    editing: bool,
    /// The printer is about to hand a message to the editor.
    printing: bool,
    /// The last line was edited.
    over: bool,
    /// What has been typed of the line.
    typed: String,
}

#[derive(Debug, Clone, Default)]
struct SharedStage(Arc<(Mutex<Stage>, Condvar)>);

impl SharedStage {
    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Stage)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    /// Waits until a line is edited and marks the handover; false when there will be no more.
    fn begin_printing(&self) -> bool {
        let waiting = self.0.1.wait_while(self.lock(), |stage| !stage.editing && !stage.over);
        let mut stage = waiting.unwrap_or_else(PoisonError::into_inner);
        stage.printing = !stage.over;
        stage.printing
    }

    /// Leaves the line that was being edited, but not while a message is handed over: the printer would take the
    /// terminal for free and write into the line.
    fn leave_line(&self) {
        let mut stage = self.lock();
        stage.editing = false;
        drop(self.0.1.wait_timeout_while(stage, HANDOVER, |stage| stage.printing));
    }
}

/// rustyline's callbacks, which run on the editor's thread.
#[derive(Debug)]
struct Callbacks(SharedStage);

impl Hinter for Callbacks {
    type Hint = String;

    /// Called before the prompt is painted and whenever the text changes.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.0.change(|stage| {
            stage.editing = true;
            line.clone_into(&mut stage.typed);
        });
        None
    }
}

impl Validator for Callbacks {
    /// Called on Enter, while the terminal is still the editor's.
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.0.leave_line();
        Ok(ValidationResult::Valid(None))
    }
}

impl Completer for Callbacks {
    type Candidate = String;
}

impl Highlighter for Callbacks {}

impl Helper for Callbacks {}

type LineEditor = rustyline::Editor<Callbacks, DefaultHistory>;

/// A line editor on the process's terminal, and its printer.
pub(super) struct Editor {
    lines: LineEditor,
    printer: Box<dyn ExternalPrinter + Send>,
    stage: SharedStage,
}

impl Editor {
    /// `None` where standard input or standard output is not a terminal, or one that cannot edit (`TERM=dumb`).
    pub(super) fn open() -> Option<Self> {
        let stage = SharedStage::default();
        let mut editor = LineEditor::new().ok()?;
        let printer = Box::new(editor.create_external_printer().ok()?);
        editor.set_helper(Some(Callbacks(stage.clone())));
        Some(Self { lines: editor, printer, stage })
    }
}

/// Runs the session of a connection on the terminal.
pub(super) async fn run(
    editor: Editor,
    connection: Connection,
    uri: &str,
    signals: &mut EndSignals,
) -> io::Result<Outcome> {
    writeln!(io::stdout(), "Connected to {uri}.")?;
    let Editor { lines, printer, stage } = editor;
    let (typed, mut input) = mpsc::channel(TYPED_AHEAD);
    let edited = spawn("editor", {
        let stage = stage.clone();
        move || edit(lines, &typed, &stage)
    })?;
    let (pieces, to_print) = mpsc::channel(PRINTED_AHEAD);
    let printed = spawn("printer", {
        let stage = stage.clone();
        move || print(printer, to_print, &stage)
    })?;
    let mut output = Screen { pieces, gathered: String::new() };
    let mut session = Session::new(connection.stream, AfterInput::Close);
    let ended = loop {
        tokio::select! {
            ended = session.run(&mut input, &mut output) => break Ok(ended?),
            signal = signals.next() => match signal {
                EndSignal::Interrupt if !session.is_closing() => session.close(),
                _ => {
                    session.say_goodbye();
                    break Err(signal);
                }
            },
        }
    };
    drop(output);
    if ended.is_ok() {
        // Fails where the printer ended because there is no line to print above.
        let _ = printed.await;
    }
    // A line that is just being sent finds out that nobody takes it any more.
    drop(input);
    let rows = interrupt(edited).await;
    match ended {
        Err(signal) => Ok(Outcome::Signal(signal)),
        Ok(closed) => {
            let status = closed.status.to_string();
            // Over the last prompt: up to its first row, then everything below is erased.
            let erase = rows.map_or_else(String::new, |rows| format!("\x1b[{rows}A\r\x1b[J"));
            writeln!(io::stdout(), "{erase}Connection closed: {}.", render::escape(&status))?;
            Ok(Outcome::Closed(closed))
        }
    }
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

/// The editor's thread: line after line until Ctrl-D, Ctrl-C or the end of the terminal. Returns how many rows the last
/// prompt and what was typed after it take; the cursor is in the row below.
fn edit(mut editor: LineEditor, typed: &mpsc::Sender<Batch>, stage: &SharedStage) -> usize {
    loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            // A byte that is not UTF-8 costs the line, not the session.
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => continue,
            Err(_) => break,
        };
        let _ = editor.add_history_entry(&line);
        // When the session is over, the next line is begun nevertheless: the printer may have handed over a message
        // that this editor has not shown yet. It ends by `interrupt`.
        let _ = typed.blocking_send(vec![Message::text(line)]);
    }
    let columns = editor.dimensions().map_or(usize::MAX, |(columns, _)| usize::from(columns));
    let mut rows = 0;
    stage.change(|stage| {
        stage.over = true;
        rows = rows_of(&stage.typed, columns);
    });
    rows
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

/// The printer's thread: hands each piece to the editor, which prints it above the line being edited.
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

/// Makes the editor leave the line that it is editing, with the terminal as it was before, and waits for it.
///
/// While a line is edited, rustyline takes SIGINT as Ctrl-C; at other times the signal goes to this program's own
/// handler and does nothing. So it is raised again until the editor has ended.
async fn interrupt(mut edited: oneshot::Receiver<usize>) -> Option<usize> {
    for _ in 0..INTERRUPTS {
        if let Ok(rows) = edited.try_recv() {
            return Some(rows);
        }
        raise(Signal::SIGINT).ok()?;
        if let Ok(rows) = tokio::time::timeout(INTERRUPT_INTERVAL, &mut edited).await {
            return rows.ok();
        }
    }
    None
}

/// Where the session shows messages.
struct Screen {
    pieces: mpsc::Sender<String>,
    gathered: String,
}

impl Output for Screen {
    async fn show(&mut self, message: &Message) -> io::Result<()> {
        self.gathered.push_str(RECEIVED);
        render::line(message, &mut self.gathered);
        if self.gathered.len() < PIECE_BYTES { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        // Fails after the last line, with Ctrl-D: what comes then is shown to nobody, as in Python's client.
        if let Ok(permit) = self.pieces.reserve().await {
            permit.send(std::mem::take(&mut self.gathered));
        }
        self.gathered.clear();
        Ok(())
    }
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
