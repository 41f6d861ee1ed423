//! Lines on a terminal that are commands, and what is kept of lines.

use std::path::Path;

use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use super::terminal::Terminal;
use super::{Server, close, echo, read_text};

/// A client with commands on a terminal 80 columns wide, connected.
fn start(uri: &str) -> (Terminal, String) {
    let mut terminal = Terminal::start(uri);
    let shown = format!("Connected to {uri}.\n");
    terminal.shows(&format!("{shown}> "));
    (terminal, shown)
}

#[test]
fn what_is_typed_as_hex_or_base64_is_sent_as_binary() {
    let server = Server::start(echo);
    let (mut terminal, mut shown) = start(&server.uri);
    terminal.type_keys("/binary 00ff 0a\r");
    shown += "> /binary 00ff 0a\n< (binary) 00ff0a\n";
    terminal.shows(&format!("{shown}> "));
    terminal.type_keys("/base64 AP8=\r");
    shown += "> /base64 AP8=\n< (binary) 00ff\n";
    terminal.shows(&format!("{shown}> "));
    terminal.type_keys("//not a command\r");
    shown += "> //not a command\n< /not a command\n";
    terminal.shows(&format!("{shown}> "));
}

#[test]
fn a_command_that_there_is_not_sends_nothing() {
    let server = Server::start(|mut peer| read_text(&mut peer));
    let (mut terminal, _) = start(&server.uri);
    terminal.type_keys("/nothing\r");
    terminal.until("an answer", |terminal| terminal.text().contains("no command is called /nothing"));
    terminal.type_keys("something\r");
    assert_eq!(server.result(), "something");
}

#[test]
fn a_ping_is_answered_with_its_time_and_a_pong_that_nobody_asked_for_is_not_shown() {
    let server = Server::start(|mut peer| {
        peer.send(Message::Pong("unasked".into())).expect("the client reads");
        echo(peer)
    });
    let (mut terminal, _) = start(&server.uri);
    terminal.type_keys("/ping abc\r");
    terminal.until("the time", |terminal| {
        let text = terminal.text();
        text.lines().any(|line| line.starts_with("pong abc in ") && line.ends_with(" ms"))
    });
    assert!(!terminal.text().contains("unasked"));
}

#[test]
fn a_close_goes_out_with_its_code_and_reason() {
    let server = Server::start(|mut peer| match peer.read() {
        Ok(Message::Close(Some(frame))) => {
            while peer.read().is_ok() {}
            (frame.code, frame.reason.as_str().to_owned())
        }
        other => panic!("{other:?}"),
    });
    let (mut terminal, shown) = start(&server.uri);
    terminal.type_keys("/close 4000 so long\r");
    let status = terminal.ends_showing(&format!(
        "{shown}> /close 4000 so long\nConnection closed: 4000 (private use) so long."
    ));
    assert_eq!(status, Some(0));
    assert_eq!(server.result(), (CloseCode::from(4000), "so long".to_owned()));
}

#[test]
fn a_file_is_sent_and_tab_completes_commands_and_paths() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("greeting");
    std::fs::write(&path, "from a file").expect("it can be written");
    let server = Server::start(|mut peer| read_text(&mut peer));
    let (mut terminal, _) = start(&server.uri);
    let beginning = path.display().to_string().replace("greeting", "gre");
    terminal.type_keys(&format!("/fi\t{beginning}\t\r"));
    assert_eq!(server.result(), "from a file");
}

#[test]
fn with_raw_no_line_is_a_command() {
    let server = Server::start(|mut peer| [(); 2].map(|()| read_text(&mut peer)));
    let mut terminal = Terminal::with(80, &["--raw", "--no-history", &server.uri], Path::new("/nowhere"));
    terminal.shows(&format!("Connected to {}.\n> ", server.uri));
    terminal.type_keys("/help\r//x\r");
    assert_eq!(server.result(), ["/help", "//x"]);
}

#[test]
fn both_heads_of_the_handshake_can_be_seen() {
    let server = Server::start(echo);
    let (mut terminal, _) = start(&server.uri);
    terminal.type_keys("/headers\r");
    terminal.until("both heads", |terminal| {
        let text = terminal.text();
        text.contains("GET / HTTP/1.1") && text.contains("HTTP/1.1 101 Switching Protocols")
    });
}

#[test]
fn another_connection_takes_the_place_of_this_one() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let uri = format!("ws://{}/", listener.local_addr().expect("it is bound"));
    let server = std::thread::spawn(move || {
        [(); 2].map(|()| {
            let (stream, _) = listener.accept().expect("a client comes");
            echo(tungstenite::accept(stream).expect("a WebSocket is opened"))
        })
    });
    let (mut terminal, mut shown) = start(&uri);
    terminal.type_keys("/reconnect\r");
    let reconnected = format!("> /reconnect\nConnection closed: 1000 (OK).\nConnected to {uri}.\n");
    shown += &reconnected;
    terminal.shows(&format!("{shown}> "));
    terminal.type_keys("again\r");
    shown += "> again\n< again\n";
    terminal.shows(&format!("{shown}> "));
    terminal.type_keys("\x04");
    assert_eq!(terminal.ends_showing(&format!("{shown}Connection closed: 1000 (OK).")), Some(0));
    assert_eq!(server.join().expect("both sessions end"), [Some(CloseCode::Normal); 2]);
}

#[test]
fn a_line_of_the_history_is_shown_and_not_obeyed() {
    let state = tempfile::tempdir().expect("a folder");
    let folder = state.path().join("websockets-cli");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("history"), "a\x1b[2Jb\n").expect("a file");
    let server = Server::start(|mut peer| {
        let line = read_text(&mut peer);
        close(&mut peer, CloseCode::Normal, "");
        line
    });
    let mut terminal = Terminal::with(80, &[&server.uri], state.path());
    let connected = format!("Connected to {}.\n> ", server.uri);
    terminal.shows(&connected);
    terminal.type_keys("\x1b[A");
    // rustyline takes the sequence for one of no width, and so the cursor stands to the left of the
    // line's end.
    let shown = format!("{connected}a␛[2Jb");
    terminal.until(&shown, |terminal| terminal.text() == shown);
    terminal.type_keys("\r");
    assert_eq!(server.result(), "a\x1b[2Jb");
    terminal.ends();
}

#[test]
fn the_next_session_knows_the_lines_of_the_one_before() {
    let state = tempfile::tempdir().expect("a folder");
    for (keys, expected) in [("remembered\r", "remembered"), ("\x1b[A\r", "remembered")] {
        let server = Server::start(|mut peer| {
            let line = read_text(&mut peer);
            close(&mut peer, CloseCode::Normal, "");
            line
        });
        let mut terminal = Terminal::with(80, &[&server.uri], state.path());
        terminal.shows(&format!("Connected to {}.\n> ", server.uri));
        terminal.type_keys(keys);
        assert_eq!(server.result(), expected);
        terminal.ends();
    }
    let kept = std::fs::read_to_string(state.path().join("websockets-cli/history")).expect("it is there");
    assert!(kept.contains("remembered"), "{kept}");
}
