//! On a terminal: what is asserted is the screen, not the bytes.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use super::{Peer, Server, close, echo, read_text};
use crate::support::{TIMEOUT, eventually, pseudo_terminal, websockets_cli};

/// How high the terminals are, as most are.
const ROWS: NonZero<u16> = NonZero::new(24).expect("not zero");

/// A client on a terminal; killed when dropped.
pub(super) struct Terminal {
    child: Child,
    keyboard: File,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
}

impl Terminal {
    /// Starts the client on a terminal 80 columns wide.
    pub(super) fn start(uri: &str) -> Self {
        Self::with_columns(80, uri)
    }

    fn with_columns(columns: u16, uri: &str) -> Self {
        Self::with(columns, &["--no-history", uri], Path::new("/nowhere"))
    }

    /// Starts the client with these arguments, and this for `XDG_STATE_HOME`.
    pub(super) fn with(columns: u16, args: &[&str], state: &Path) -> Self {
        let width = NonZero::new(columns).expect("not zero");
        let (keyboard, slave) = pseudo_terminal();
        tcsetwinsize(&keyboard, size(columns)).expect("it is a terminal");
        let slave = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let child = websockets_cli()
            .arg("client")
            .args(args)
            .env("TERM", "xterm-256color")
            .env("XDG_STATE_HOME", state)
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .expect("the program starts");
        let mut master = keyboard.try_clone().expect("a descriptor");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails once the client, and with it the last slave, is gone.
            while let Ok(count) = master.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, output, screen: vt100::Parser::new(ROWS, width, 0) }
    }

    pub(super) fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    /// Makes the terminal this wide, as a user does who drags the corner of its window. The editor
    /// knows with the next key.
    fn resize(&mut self, columns: u16) {
        self.screen.screen_mut().set_size(ROWS, NonZero::new(columns).expect("not zero"));
        tcsetwinsize(&self.keyboard, size(columns)).expect("it is a terminal");
        self.signal(Signal::SIGWINCH);
        eventually("the signal is delivered", || (!self.is_pending(Signal::SIGWINCH)).then_some(()));
    }

    fn is_pending(&self, signal: Signal) -> bool {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it is there");
        let mask = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).expect("proc(5)");
        let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask in hex");
        mask & (1 << (signal as i32 - 1)) != 0
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it is there");
    }

    /// The screen's text, without the blanks at the ends of lines and below the last. Blanks that
    /// matter are told by the cursor.
    pub(super) fn text(&self) -> String {
        let screen = self.screen.screen();
        let rows: Vec<_> =
            screen.rows(0, screen.size().1.into()).map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n").trim_end().to_owned()
    }

    /// Takes what comes until the screen shows exactly this, with the cursor at the end of its last
    /// line.
    pub(super) fn shows(&mut self, expected: &str) {
        let row = u16::try_from(expected.lines().count() - 1).expect("a screen");
        let column = expected.lines().last().unwrap_or_default().chars().count();
        let cursor = (row, u16::try_from(column).expect("a screen"));
        self.until(expected, |terminal| {
            terminal.text() == expected.trim_end() && terminal.screen.screen().cursor_position() == cursor
        });
    }

    pub(super) fn until(&mut self, expected: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !holds(self) {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(error) => panic!("{error}: expected\n{expected}\n\nbut the screen is\n{}", self.text()),
            }
        }
    }

    /// Waits for the client's end and returns its exit status.
    pub(super) fn ends(&mut self) -> Option<i32> {
        eventually("the client ends", || self.child.try_wait().expect("it is ours")).code()
    }

    /// Waits for the client's end and returns its exit status; then the screen must show exactly
    /// this, and the terminal must be as it was before.
    pub(super) fn ends_showing(mut self, expected: &str) -> Option<i32> {
        let status = self.ends();
        loop {
            match self.output.recv_timeout(TIMEOUT) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the terminal stays open"),
            }
        }
        assert_eq!(self.text(), expected);
        let modes = tcgetattr(&self.keyboard).expect("the terminal is there").local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16) -> Winsize {
    Winsize { ws_row: ROWS.get(), ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A client on a terminal, and what its screen shows above the prompt, which only grows.
struct Transcript {
    terminal: Terminal,
    above: String,
}

impl Transcript {
    /// Starts the client on a terminal 80 columns wide, and waits for its first prompt.
    fn start(uri: &str) -> Self {
        Self::with_columns(80, uri)
    }

    fn with_columns(columns: u16, uri: &str) -> Self {
        let terminal = Terminal::with(columns, &["--no-history", uri], Path::new("/nowhere"));
        let mut transcript = Self { terminal, above: format!("Connected to {uri}.\n") };
        transcript.prompts("");
        transcript
    }

    /// Types, with no look at what is shown.
    fn type_keys(&mut self, keys: &str) {
        self.terminal.type_keys(keys);
    }

    /// Types into the line at the prompt, which shows it.
    fn types(&mut self, keys: &str) {
        self.type_keys(keys);
        self.prompts(keys);
    }

    /// Waits until these lines have come above the prompt, with this in the line behind it.
    fn grows(&mut self, lines: &str, line: &str) {
        self.above.push_str(lines);
        self.prompts(line);
    }

    /// Waits until the screen shows this in the line at the prompt.
    fn prompts(&mut self, line: &str) {
        self.terminal.shows(&format!("{}> {line}", self.above));
    }

    /// Waits for the client's end, with this at the end of the screen. Returns its exit status.
    fn ends(self, lines: &str) -> Option<i32> {
        self.terminal.ends_showing(&format!("{}{lines}", self.above))
    }
}

/// A server that sends what it is told to, until there is nothing more to be told, and ends the
/// session then.
fn told<T: Send + 'static>(end: impl FnOnce(Peer) -> T + Send + 'static) -> (Sender<String>, Server<T>) {
    let (says, may_say) = channel::<String>();
    let server = Server::start(move |mut peer| {
        for text in may_say {
            peer.send(Message::text(text)).expect("the client reads");
        }
        end(peer)
    });
    (says, server)
}

fn close_normally(mut peer: Peer) {
    close(&mut peer, CloseCode::Normal, "");
}

#[test]
fn the_transcript_of_the_guide_with_ctrl_d() {
    let server = Server::start(echo);
    let mut transcript = Transcript::start(&server.uri);
    transcript.type_keys("hello\r");
    transcript.grows("> hello\n< hello\n", "");
    transcript.type_keys("world\r");
    transcript.grows("> world\n< world\n", "");
    transcript.type_keys("\x04");
    assert_eq!(transcript.ends("Connection closed: 1000 (OK)."), Some(0));
    assert_eq!(server.result(), Some(CloseCode::Normal));
}

#[test]
fn ctrl_c_closes_as_ctrl_d_does_whatever_was_typed() {
    let server = Server::start(echo);
    let mut transcript = Transcript::start(&server.uri);
    transcript.type_keys("hello\r");
    transcript.grows("> hello\n< hello\n", "");
    transcript.types("half a li");
    transcript.type_keys("\x03");
    assert_eq!(transcript.ends("Connection closed: 1000 (OK)."), Some(0));
    assert_eq!(server.result(), Some(CloseCode::Normal));
}

#[test]
fn an_empty_line_is_an_empty_message() {
    let server = Server::start(echo);
    let mut transcript = Transcript::start(&server.uri);
    transcript.type_keys("\r");
    transcript.grows(">\n<\n", "");
    transcript.type_keys("\x04");
    assert_eq!(transcript.ends("Connection closed: 1000 (OK)."), Some(0));
}

#[test]
fn a_server_that_closes_ends_it_while_a_line_is_being_typed() {
    let (closes, may_close) = channel();
    let server = Server::start(move |mut peer| {
        may_close.recv().expect("the test goes on");
        peer.send(Message::text("last words")).expect("the client reads");
        close(&mut peer, CloseCode::Error, "boom");
    });
    let mut transcript = Transcript::start(&server.uri);
    transcript.types("half a li");
    closes.send(()).expect("the server waits");
    let status = transcript.ends("< last words\nConnection closed: 1011 (internal error) boom.");
    assert_eq!(status, Some(3));
}

#[test]
fn a_server_that_closes_at_once_loses_none_of_its_messages() {
    let server = Server::start(|mut peer| {
        for number in 0..10 {
            peer.write(Message::text(format!("message {number}"))).expect("the client reads");
        }
        close(&mut peer, CloseCode::Normal, "");
    });
    let uri = server.uri.clone();
    let messages: Vec<_> = (0..10).map(|number| format!("< message {number}\n")).collect();
    // Not a `Transcript`: there may be no prompt.
    let status = Terminal::start(&uri)
        .ends_showing(&format!("Connected to {uri}.\n{}Connection closed: 1000 (OK).", messages.concat()));
    assert_eq!(status, Some(0));
}

#[test]
fn binary_is_shown_as_hex_and_control_characters_are_escaped() {
    let (says, may_say) = channel();
    let server = Server::start(move |mut peer| {
        for message in may_say {
            peer.send(message).expect("the client reads");
        }
        echo(peer)
    });
    let mut transcript = Transcript::start(&server.uri);
    for (message, shown) in [
        (Message::binary(vec![0x00, 0x1b, 0xff]), "(binary) 001bff"),
        (
            Message::text("tab\there nl\nline2 esc\x1b[31mred nel\u{85} 你好"),
            "tab\\there nl\\nline2 esc\\x1b[31mred nel\\x85 你好",
        ),
        (Message::text("\u{202e}evil\u{2028}\u{2069}"), "\\u202eevil\\u2028\\u2069"),
        (Message::text(""), ""),
    ] {
        says.send(message).expect("the server waits");
        transcript.grows(&format!("{}\n", format!("< {shown}").trim_end()), "");
    }
    drop(says);
    transcript.type_keys("\x04");
    assert_eq!(transcript.ends("Connection closed: 1000 (OK)."), Some(0));
}

#[test]
fn a_message_that_comes_while_typing_leaves_what_was_typed() {
    let (says, server) = told(|mut peer| read_text(&mut peer));
    let mut transcript = Transcript::start(&server.uri);
    transcript.types("abc");
    says.send("tick 0".into()).expect("the server waits");
    transcript.grows("< tick 0\n", "abc");
    transcript.type_keys("def");
    says.send("tick 1".into()).expect("the server waits");
    transcript.grows("< tick 1\n", "abcdef");
    drop(says);
    transcript.type_keys("\r");
    assert_eq!(server.result(), "abcdef");
}

#[test]
fn a_line_longer_than_the_terminal_survives_messages_and_is_erased_whole() {
    let (says, server) = told(close_normally);
    let mut transcript = Transcript::with_columns(40, &server.uri);
    transcript.type_keys(&format!("{}{}", "x".repeat(38), "y".repeat(10)));
    let wrapped = format!("{}\n{}", "x".repeat(38), "y".repeat(10));
    transcript.prompts(&wrapped);
    says.send("tick".into()).expect("the server waits");
    transcript.grows("< tick\n", &wrapped);
    drop(says);
    assert_eq!(transcript.ends("Connection closed: 1000 (OK)."), Some(0));
}

#[test]
fn lines_that_were_typed_ahead_are_all_sent() {
    let server = Server::start(|mut peer| {
        let lines = [(); 3].map(|()| read_text(&mut peer));
        close(&mut peer, CloseCode::Normal, "");
        lines
    });
    let mut transcript = Transcript::start(&server.uri);
    transcript.type_keys("one\rtwo\rthree\r");
    assert_eq!(server.result(), ["one", "two", "three"]);
}

#[test]
fn the_line_before_comes_back_for_editing() {
    let server = Server::start(|mut peer| [(); 2].map(|()| read_text(&mut peer)));
    let mut transcript = Transcript::start(&server.uri);
    transcript.type_keys("helo\r\x1b[A\x1b[Dl\r");
    assert_eq!(server.result(), ["helo", "hello"]);
}

#[test]
fn sigterm_says_goodbye_and_leaves_the_terminal_as_it_was() {
    let server = Server::start(echo);
    let transcript = Transcript::start(&server.uri);
    transcript.terminal.signal(Signal::SIGTERM);
    assert_eq!(transcript.ends(">"), Some(143));
    assert_eq!(server.result(), Some(CloseCode::Normal));
}

#[test]
fn a_message_longer_than_the_terminal_leaves_the_prompt_whole() {
    let (says, server) = told(close_normally);
    let mut transcript = Transcript::with_columns(40, &server.uri);
    transcript.types("abc");
    says.send("x".repeat(100)).expect("the server waits");
    let message = format!("< {}\n{}\n{}\n", "x".repeat(38), "x".repeat(40), "x".repeat(22));
    transcript.grows(&message, "abc");
    drop(says);
    assert_eq!(transcript.ends("Connection closed: 1000 (OK)."), Some(0));
}

#[test]
fn a_line_goes_on_in_a_terminal_that_has_become_narrower() {
    let server = Server::start(echo);
    let mut transcript = Transcript::start(&server.uri);
    transcript.terminal.resize(40);
    transcript.types("x");
    transcript.type_keys(&"x".repeat(49));
    let line = format!("{}\n{}", "x".repeat(38), "x".repeat(12));
    transcript.prompts(&line);
    transcript.type_keys("\r");
    transcript.grows(&format!("> {line}\n< {line}\n"), "");
}
