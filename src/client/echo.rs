//! The client that sends each message back unchanged, until the server closes. Test suites for
//! clients drive one like this; it reads no input and shows no message.

use std::future::poll_fn;
use std::io;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;

use super::closing::{CLOSE_TIMEOUT, Closed, close_status, fail, try_close};
use super::connect::{Connection, Observer};
use super::keepalive::{Keepalive, KeepaliveConfig};
use super::pipe::{say, say_connected};
use super::{ClientConfig, Outcome, deadline_passes};
use crate::drain::EndSignals;
use crate::websocket::TransportAdapter;
use crate::websocket::close_code::CloseStatus;

/// The longest message that is accepted: as the server's, which echoes too.
pub const MAX_ECHO_BYTES: usize = 64 * 1024 * 1024;

/// Echoes to the end of the connection.
pub(super) async fn run(
    mut connection: Connection,
    config: &ClientConfig,
    deadline: Option<Instant>,
    signals: &mut EndSignals,
) -> io::Result<Outcome> {
    say_connected(config);
    let closed = tokio::select! {
        closed = echo(&mut connection.stream, config.keepalive, &config.connect.observer) => closed,
        signal = signals.next() => {
            try_close(&mut connection.stream);
            return Ok(Outcome::Signal(signal));
        }
        () = deadline_passes(deadline) => {
            try_close(&mut connection.stream);
            return Ok(Outcome::TimedOut);
        }
    };
    say(&closed.told());
    Ok(Outcome::Closed(closed))
}

/// Answers messages until the connection ends. Answers go out together, when nothing more has come;
/// a server that does not read them is not read from.
async fn echo<S>(
    stream: &mut WebSocketStream<TransportAdapter<S>>,
    keepalive: KeepaliveConfig,
    observer: &Observer,
) -> Closed
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let closed = |status, too_long| Closed { status, own: None, wanting: false, too_long };
    let mut keepalive = Keepalive::new(keepalive);
    loop {
        let received = poll_fn(|context| keepalive.poll_next(stream, context)).now_or_never();
        let next = if let Some(next) = received {
            next
        } else {
            // Why a connection takes nothing any more is for the reading side to find out, here and
            // below.
            let _ = stream.flush().await;
            poll_fn(|context| keepalive.poll_next(stream, context)).await
        };
        match next {
            Some(Ok(Message::Close(frame))) => {
                stream.get_mut().answer_as_sent();
                // tungstenite answers it; the TCP connection is the server's to end (RFC 6455
                // section 7.1.1).
                let _ = timeout(CLOSE_TIMEOUT, stream.next()).await;
                return closed(close_status(frame.map(|frame| stream.get_ref().as_sent(frame))), None);
            }
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                let _ = stream.feed(message).await;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let too_long = fail(stream, &error, observer).await;
                return closed(CloseStatus::abnormal(), too_long);
            }
            None => return closed(CloseStatus::abnormal(), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tungstenite::protocol::Role;

    use super::*;

    /// What the echo makes of a server that sends `script`: the frames it sends, unmasked, and how
    /// it ended.
    async fn answers(script: &[u8]) -> (Vec<Message>, CloseStatus) {
        let (near, mut far) = duplex(1 << 16);
        let near = TransportAdapter::new(near, Bytes::new(), Role::Client, None, MAX_ECHO_BYTES);
        let mut stream = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        far.write_all(script).await.unwrap();
        let (mut reading, mut writing) = tokio::io::split(far);
        writing.shutdown().await.unwrap();
        let status = echo(&mut stream, KeepaliveConfig::default(), &Observer::default()).await.status;
        drop(stream);
        let mut bytes = Vec::new();
        reading.read_to_end(&mut bytes).await.unwrap();
        let answered = std::io::Cursor::new(bytes);
        let server = tokio::io::join(answered, tokio::io::sink());
        let messages = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
        (messages.filter_map(|message| std::future::ready(message.ok())).collect().await, status)
    }

    #[tokio::test]
    async fn text_and_binary_go_back_as_they_came_and_the_close_is_answered() {
        let (messages, status) = answers(b"\x81\x05hello\x82\x02\0\xff\x89\x01p\x88\x02\x03\xf4").await;
        assert_eq!(messages[..2], [Message::text("hello"), Message::binary(vec![0, 0xff])]);
        assert!(messages.contains(&Message::Pong("p".into())));
        assert!(
            matches!(messages.last(), Some(Message::Close(Some(frame))) if u16::from(frame.code) == 1012)
        );
        assert_eq!(status.code, 1012);
    }

    #[tokio::test]
    async fn a_server_that_breaks_the_protocol_is_told_so() {
        let (messages, status) = answers(b"\x81\x01a\x81\x01\xff").await;
        assert_eq!(messages[0], Message::text("a"));
        assert!(matches!(&messages[1], Message::Close(Some(frame)) if u16::from(frame.code) == 1007));
        assert_eq!(status, CloseStatus::abnormal());
    }
}
