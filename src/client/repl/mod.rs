//! The client on a terminal: what is typed is sent, or is a command; messages are shown above the
//! prompt.

mod callbacks;
mod command;
mod editor;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tungstenite::Message;

pub(super) use editor::Editor;

use super::closing::Closed;
use super::connect::{ConnectError, Connection, connect, response_lines};
use super::session::{Batch, Output, Session, Until};
use super::verbose::VerboseObserver;
use super::{ClientConfig, Outcome, RunError, deadline_passes, render};
use crate::drain::{EndSignal, EndSignals};
use crate::escape::{Escaped, escape, escape_line};
use crate::net::Transport;

/// What goes before a received message: Python websockets' mark.
const RECEIVED: &str = "< ";

/// As many lines as one types ahead. Unbounded in effect: an editor that waited for a session that
/// waits for the editor would be a deadlock.
const TYPED_AHEAD: usize = Semaphore::MAX_PERMITS;

/// How many pieces of output may wait for the printer. Each is all that could be read at once, so
/// two keep it busy.
const PRINTED_AHEAD: usize = 2;

/// How much is gathered before it is printed as one piece: a screen redraw a piece is what costs.
const PIECE_BYTES: usize = 16 * 1024;

/// How the last session ended.
enum PromptEnd {
    Closed(Closed),
    Signal(EndSignal),
    TimedOut,
    /// There is no connection after `/reconnect`.
    Unconnected(ConnectError),
}

/// Runs the session of a connection on the terminal, and those of the connections that are asked
/// for after it.
pub(super) async fn run(
    editor: Editor,
    connection: Connection,
    config: &ClientConfig,
    deadline: Option<Instant>,
    signals: &mut EndSignals,
) -> Result<Outcome, RunError> {
    let connected = format!("Connected to {}.\n", Escaped(&config.connect.uri));
    io::stdout().write_all(connected.as_bytes())?;
    let (typed, mut input) = mpsc::channel(TYPED_AHEAD);
    let (pieces, to_print) = mpsc::channel(PRINTED_AHEAD);
    let last_line = typed.downgrade();
    let mut running = editor.start(heads(&connection), typed, to_print)?;
    if io::stderr().is_terminal() {
        config.verbose.gather();
    }
    let verbose = config.verbose.clone();
    let mut screen = Screen { pieces, gathered: String::new(), verbose, last_line, pings: VecDeque::new() };
    let mut connection = Some(connection);
    let end = loop {
        let end = if let Some(connection) = connection.take() {
            let observer = config.connect.observer.clone();
            let session = Session::new(connection.stream, config.keepalive, observer, Until::InputEnds);
            drive(session, &mut input, &mut screen, deadline, signals).await?
        } else {
            tokio::select! {
                opened = connect(&config.connect) => match opened {
                    Ok(opened) => {
                        running.connection.set_heads(heads(&opened));
                        screen.say(&connected);
                        connection = Some(opened);
                        continue;
                    }
                    Err(error) => PromptEnd::Unconnected(error),
                },
                signal = signals.next() => PromptEnd::Signal(signal),
                () = deadline_passes(deadline) => PromptEnd::TimedOut,
            }
        };
        match end {
            PromptEnd::Closed(closed) if running.connection.take_reconnecting() => {
                screen.say(&format!("{}\n", closed.told()));
            }
            end => break end,
        }
    };
    let _ = screen.flush().await;
    drop(screen);
    if matches!(end, PromptEnd::Closed(_) | PromptEnd::Unconnected(_)) {
        running.printed().await;
    }
    // A line that is just being sent fails: its receiver is gone.
    drop(input);
    let rows = running.interrupt().await;
    // Over the last prompt: up to its first row, then everything below is erased.
    let erase = rows.map_or_else(String::new, |rows| format!("\x1b[{rows}A\r\x1b[J"));
    match end {
        PromptEnd::Signal(signal) => Ok(Outcome::Signal(signal)),
        PromptEnd::TimedOut => Ok(Outcome::TimedOut),
        PromptEnd::Unconnected(error) => {
            io::stdout().write_all(erase.as_bytes())?;
            io::stdout().flush()?;
            Err(error.into())
        }
        PromptEnd::Closed(closed) => {
            writeln!(io::stdout(), "{erase}{}{}", config.verbose.take(), closed.told())?;
            Ok(Outcome::Closed(closed))
        }
    }
}

/// One session to its end.
async fn drive(
    mut session: Session<Transport>,
    input: &mut mpsc::Receiver<Batch>,
    screen: &mut Screen,
    deadline: Option<Instant>,
    signals: &mut EndSignals,
) -> io::Result<PromptEnd> {
    loop {
        tokio::select! {
            ended = session.run(input, screen) => return Ok(PromptEnd::Closed(ended?)),
            signal = signals.next() => match signal {
                EndSignal::Interrupt if !session.is_closing() => session.close(),
                _ => {
                    session.give_up(screen);
                    return Ok(PromptEnd::Signal(signal));
                }
            },
            () = deadline_passes(deadline) => {
                session.give_up(screen);
                return Ok(PromptEnd::TimedOut);
            }
        }
    }
}

/// Both heads of the opening handshake, as lines.
fn heads(connection: &Connection) -> String {
    let response = response_lines(&connection.response);
    let mut heads = String::new();
    for line in connection.request.iter().chain([&String::new()]).chain(&response) {
        heads.push_str(&escape_line(line));
        heads.push('\n');
    }
    heads
}

/// Where the session shows messages.
struct Screen {
    pieces: mpsc::Sender<String>,
    gathered: String,
    /// Whose lines are shown between the messages.
    verbose: VerboseObserver,
    /// Is gone after the last line: then there is no prompt to print above.
    last_line: mpsc::WeakSender<Batch>,
    /// The pings that have no answer yet, and when they were sent.
    pings: VecDeque<(Bytes, Instant)>,
}

impl Screen {
    fn say(&mut self, line: &str) {
        self.gathered.push_str(&self.verbose.take());
        self.gathered.push_str(line);
    }

    fn pong(&mut self, payload: &Bytes) {
        // A pong answers the pings before, too (RFC 6455 section 5.5.3). Others were not asked for
        // and are not shown.
        let Some(at) = self.pings.iter().position(|(ping, _)| ping == payload) else { return };
        let Some((_, sent)) = self.pings.drain(..=at).next_back() else { return };
        let text = String::from_utf8_lossy(payload);
        let space = if text.is_empty() { "" } else { " " };
        let milliseconds = sent.elapsed().as_secs_f64() * 1000.0;
        self.say(&format!("pong{space}{} in {milliseconds:.1} ms\n", escape(&text)));
    }
}

impl Output for Screen {
    fn sent(&mut self, message: &Message) {
        if let Message::Ping(payload) = message {
            self.pings.push_back((payload.clone(), Instant::now()));
        }
    }

    fn received(&mut self, message: &Message) {
        if let Message::Pong(payload) = message {
            self.pong(payload);
        } else if let Some(text) = render::data(message, escape) {
            self.gathered.push_str(&self.verbose.take());
            self.gathered.push_str(RECEIVED);
            self.gathered.push_str(&text);
            self.gathered.push('\n');
        }
    }

    fn is_full(&self) -> bool {
        self.gathered.len() >= PIECE_BYTES
    }

    fn has_news(&self) -> bool {
        self.last_line.strong_count() > 0 && self.verbose.has_gathered()
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.last_line.strong_count() > 0 {
            self.gathered.push_str(&self.verbose.take());
        }
        if self.gathered.is_empty() {
            return Ok(());
        }
        // Fails after the last line, with Ctrl-D: what comes then is not shown, as in Python's
        // client.
        if let Ok(permit) = self.pieces.reserve().await {
            permit.send(std::mem::take(&mut self.gathered));
        }
        self.gathered.clear();
        Ok(())
    }
}
