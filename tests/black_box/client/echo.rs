//! `client --echo`.

use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use super::Server;
use crate::support::{run, text};

#[test]
fn messages_go_back_unchanged_until_the_server_closes() {
    let server = Server::start(|mut peer| {
        for message in [Message::text("a\nb"), Message::binary(vec![0, 0xff]), Message::text("")] {
            peer.send(message.clone()).expect("the client reads");
            assert_eq!(peer.read().expect("an echo"), message);
        }
        let frame = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
        peer.close(Some(frame.clone())).expect("the client reads");
        assert_eq!(peer.read().expect("an answer"), Message::Close(Some(frame)));
    });
    let output = run(&["client", "--echo", &server.uri], "input that nobody reads\n");
    server.result();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    assert!(
        text(&output.stderr).ends_with("Connection closed: 1000 (OK) done.\n"),
        "{}",
        text(&output.stderr)
    );
}
