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
use crate::support::{PATIENCE, eventually, pseudo_terminal, websockets_cli};

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

    /// Makes the terminal this wide, as a user does who drags the corner of its window. The editor knows with the next
    /// key.
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

    /// The screen's text, without the blanks at the ends of lines and below the last. Blanks that matter are told by
    /// the cursor.
    pub(super) fn text(&self) -> String {
        let screen = self.screen.screen();
        let rows: Vec<_> =
            screen.rows(0, screen.size().1.into()).map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n").trim_end().to_owned()
    }

    /// Takes what comes until the screen shows exactly this, with the cursor at the end of its last line.
    pub(super) fn shows(&mut self, expected: &str) {
        let row = u16::try_from(expected.lines().count() - 1).expect("a screen");
        let column = expected.lines().last().unwrap_or_default().chars().count();
        let cursor = (row, u16::try_from(column).expect("a screen"));
        self.until(expected, |terminal| {
            terminal.text() == expected.trim_end() && terminal.screen.screen().cursor_position() == cursor
        });
    }

    pub(super) fn until(&mut self, expected: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
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

    /// Waits for the client's end and returns its exit status; then the screen must show exactly this, and the
    /// terminal must be as it was before.
    pub(super) fn ends_showing(mut self, expected: &str) -> Option<i32> {
        let status = self.ends();
        loop {
            match self.output.recv_timeout(PATIENCE) {
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

/// A server that sends what it is told to, until there is nothing more to be told, and ends the session then.
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
    let uri = server.uri.clone();
    let mut terminal = Terminal::start(&uri);
    terminal.shows(&format!("Connected to {uri}.\n> "));
    terminal.type_keys("hello\r");
    terminal.shows(&format!("Connected to {uri}.\n> hello\n< hello\n> "));
    terminal.type_keys("world\r");
    terminal.shows(&format!("Connected to {uri}.\n> hello\n< hello\n> world\n< world\n> "));
    terminal.type_keys("\x04");
    let status = terminal.ends_showing(&format!(
        "Connected to {uri}.\n> hello\n< hello\n> world\n< world\nConnection closed: 1000 (OK)."
    ));
    assert_eq!(status, Some(0));
    assert_eq!(server.result(), Some(CloseCode::Normal));
}

#[test]
fn ctrl_c_closes_as_ctrl_d_does_whatever_was_typed() {
    let server = Server::start(echo);
    let uri = server.uri.clone();
    let mut terminal = Terminal::start(&uri);
    terminal.shows(&format!("Connected to {uri}.\n> "));
    terminal.type_keys("hello\r");
    terminal.shows(&format!("Connected to {uri}.\n> hello\n< hello\n> "));
    terminal.type_keys("half a li");
    terminal.shows(&format!("Connected to {uri}.\n> hello\n< hello\n> half a li"));
    terminal.type_keys("\x03");
    let status = terminal
        .ends_showing(&format!("Connected to {uri}.\n> hello\n< hello\nConnection closed: 1000 (OK)."));
    assert_eq!(status, Some(0));
    assert_eq!(server.result(), Some(CloseCode::Normal));
}

#[test]
fn an_empty_line_is_an_empty_message() {
    let server = Server::start(echo);
    let uri = server.uri.clone();
    let mut terminal = Terminal::start(&uri);
    terminal.shows(&format!("Connected to {uri}.\n> "));
    terminal.type_keys("\r");
    terminal.shows(&format!("Connected to {uri}.\n>\n<\n> "));
    terminal.type_keys("\x04");
    assert_eq!(
        terminal.ends_showing(&format!("Connected to {uri}.\n>\n<\nConnection closed: 1000 (OK).")),
        Some(0)
    );
}

#[test]
fn a_server_that_closes_ends_it_while_a_line_is_being_typed() {
    let (closes, may_close) = channel();
    let server = Server::start(move |mut peer| {
        may_close.recv().expect("the test goes on");
        peer.send(Message::text("last words")).expect("the client reads");
        close(&mut peer, CloseCode::Error, "boom");
    });
    let uri = server.uri.clone();
    let mut terminal = Terminal::start(&uri);
    terminal.shows(&format!("Connected to {uri}.\n> "));
    terminal.type_keys("half a li");
    terminal.shows(&format!("Connected to {uri}.\n> half a li"));
    closes.send(()).expect("the server waits");
    let status = terminal.ends_showing(&format!(
        "Connected to {uri}.\n< last words\nConnection closed: 1011 (internal error) boom."
    ));
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
    let status = Terminal::start(&uri)
        .ends_showing(&format!("Connected to {uri}.\n{}Connection closed: 1000 (OK).", messages.concat()));
    assert_eq!(status, Some(0));
}

#[test]
fn binary_is_shown_as_hex_and_control_characters_are_escaped() {
    let server = Server::start(|mut peer| {
        peer.send(Message::binary(vec![0x00, 0x1b, 0xff])).expect("the client reads");
        peer.send(Message::text("tab\there nl\nline2 esc\x1b[31mred nel\u{85} 你好"))
            .expect("the client reads");
        peer.send(Message::text("\u{202e}evil\u{2028}\u{2069}")).expect("the client reads");
        peer.send(Message::text("")).expect("the client reads");
        echo(peer)
    });
    let uri = server.uri.clone();
    let mut terminal = Terminal::start(&uri);
    let shown = format!(
        "Connected to {uri}.\n< (binary) 001bff\n< tab\\there nl\\nline2 esc\\x1b[31mred nel\\x85 你好\n\
         < \\u202eevil\\u2028\\u2069\n<\n"
    );
    terminal.shows(&format!("{shown}> "));
    terminal.type_keys("\x04");
    assert_eq!(terminal.ends_showing(&format!("{shown}Connection closed: 1000 (OK).")), Some(0));
}

#[test]
fn a_message_that_comes_while_typing_leaves_what_was_typed() {
    let (says, server) = told(|mut peer| read_text(&mut peer));
    let uri = server.uri.clone();
    let mut terminal = Terminal::start(&uri);
    terminal.shows(&format!("Connected to {uri}.\n> "));
    terminal.type_keys("abc");
    terminal.shows(&format!("Connected to {uri}.\n> abc"));
    says.send("tick 0".into()).expect("the server waits");
    terminal.shows(&format!("Connected to {uri}.\n< tick 0\n> abc"));
    terminal.type_keys("def");
    says.send("tick 1".into()).expect("the server waits");
    terminal.shows(&format!("Connected to {uri}.\n< tick 0\n< tick 1\n> abcdef"));
    drop(says);
    terminal.type_keys("\r");
    assert_eq!(server.result(), "abcdef");
}

#[test]
fn a_line_longer_than_the_terminal_survives_messages_and_is_erased_whole() {
    let (says, server) = told(close_normally);
    let uri = server.uri.clone();
    let mut terminal = Terminal::with_columns(40, &uri);
    terminal.shows(&format!("Connected to {uri}.\n> "));
    terminal.type_keys(&format!("{}{}", "x".repeat(38), "y".repeat(10)));
    let wrapped = format!("> {}\n{}", "x".repeat(38), "y".repeat(10));
    terminal.shows(&format!("Connected to {uri}.\n{wrapped}"));
    says.send("tick".into()).expect("the server waits");
    terminal.shows(&format!("Connected to {uri}.\n< tick\n{wrapped}"));
    drop(says);
    let status =
        terminal.ends_showing(&format!("Connected to {uri}.\n< tick\nConnection closed: 1000 (OK)."));
    assert_eq!(status, Some(0));
}

#[test]
fn lines_that_were_typed_ahead_are_all_sent() {
    let server = Server::start(|mut peer| {
        let lines = [(); 3].map(|()| read_text(&mut peer));
        close(&mut peer, CloseCode::Normal, "");
        lines
    });
    let mut terminal = Terminal::start(&server.uri);
    terminal.shows(&format!("Connected to {}.\n> ", server.uri));
    terminal.type_keys("one\rtwo\rthree\r");
    assert_eq!(server.result(), ["one", "two", "three"]);
}

#[test]
fn the_line_before_comes_back_for_editing() {
    let server = Server::start(|mut peer| [(); 2].map(|()| read_text(&mut peer)));
    let mut terminal = Terminal::start(&server.uri);
    terminal.shows(&format!("Connected to {}.\n> ", server.uri));
    terminal.type_keys("helo\r\x1b[A\x1b[Dl\r");
    assert_eq!(server.result(), ["helo", "hello"]);
}

#[test]
fn sigterm_says_goodbye_and_leaves_the_terminal_as_it_was() {
    let server = Server::start(echo);
    let uri = server.uri.clone();
    let mut terminal = Terminal::start(&uri);
    terminal.shows(&format!("Connected to {uri}.\n> "));
    terminal.signal(Signal::SIGTERM);
    assert_eq!(terminal.ends_showing(&format!("Connected to {uri}.\n>")), Some(143));
    assert_eq!(server.result(), Some(CloseCode::Normal));
}

#[test]
fn a_message_longer_than_the_terminal_leaves_the_prompt_whole() {
    let (says, server) = told(close_normally);
    let uri = server.uri.clone();
    let mut terminal = Terminal::with_columns(40, &uri);
    terminal.shows(&format!("Connected to {uri}.\n> "));
    terminal.type_keys("abc");
    terminal.shows(&format!("Connected to {uri}.\n> abc"));
    says.send("x".repeat(100)).expect("the server waits");
    let message = format!("< {}\n{}\n{}", "x".repeat(38), "x".repeat(40), "x".repeat(22));
    terminal.shows(&format!("Connected to {uri}.\n{message}\n> abc"));
    drop(says);
    let status =
        terminal.ends_showing(&format!("Connected to {uri}.\n{message}\nConnection closed: 1000 (OK)."));
    assert_eq!(status, Some(0));
}

#[test]
fn a_line_goes_on_in_a_terminal_that_has_become_narrower() {
    let server = Server::start(echo);
    let uri = server.uri.clone();
    let mut terminal = Terminal::start(&uri);
    terminal.shows(&format!("Connected to {uri}.\n> "));
    terminal.resize(40);
    terminal.type_keys("x");
    terminal.shows(&format!("Connected to {uri}.\n> x"));
    terminal.type_keys(&"x".repeat(49));
    let typed = format!("> {}\n{}", "x".repeat(38), "x".repeat(12));
    terminal.shows(&format!("Connected to {uri}.\n{typed}"));
    terminal.type_keys("\r");
    let shown = format!("Connected to {uri}.\n{typed}\n{}", typed.replace('>', "<"));
    terminal.shows(&format!("{shown}\n> "));
}
