//! The session against a scripted peer, on a paused clock.

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::DuplexStream;
use tokio::time::Interval;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::coding::CloseCode;

use super::*;
use crate::websocket::close_code;

/// Keeps what is shown.
#[derive(Default)]
struct ShownOutput(Vec<String>);

impl Output for ShownOutput {
    fn sent(&mut self, _: &Message) {}

    fn received(&mut self, message: &Message) {
        if message.is_text() {
            self.0.push(message.to_string());
        }
    }

    fn is_full(&self) -> bool {
        false
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type TestServer = WebSocketStream<DuplexStream>;

/// The client's end.
async fn client(stream: DuplexStream) -> WebSocketStream<TransportAdapter<DuplexStream>> {
    let frames = TransportAdapter::new(stream, Bytes::new(), Role::Client, None, 1024);
    WebSocketStream::from_raw_socket(frames, Role::Client, None).await
}

/// Runs a session that sends `lines` against a peer that follows a script, and that stays connected
/// if the script returns it. Returns the end of the session, what it showed, and how long it took
/// on the paused clock.
async fn session<F: Future>(
    lines: &[&str],
    until: Until,
    script: impl FnOnce(TestServer) -> F,
) -> (Closed, Vec<String>, Duration) {
    let (near, far) = tokio::io::duplex(1024);
    let near = client(near).await;
    let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    let (batches, mut input) = mpsc::channel(1);
    let batch = lines.iter().map(|line| Message::text(*line)).collect();
    batches.send(batch).await.unwrap();
    drop(batches);
    let mut shown = ShownOutput::default();
    let start = Instant::now();
    let run = async {
        let closed = Session::new(near, KeepaliveConfig::default(), Observer::default(), until)
            .run(&mut input, &mut shown)
            .await
            .unwrap();
        (closed, start.elapsed())
    };
    let ((closed, took), _) = tokio::join!(run, script(far));
    (closed, shown.0, took)
}

fn closed(code: u16, by_us: bool) -> Closed {
    let own = by_us.then_some(close_code::NORMAL);
    Closed { status: CloseStatus { code, reason: String::new() }, own, wanting: false, too_long: None }
}

const WAIT: Until = Until::Answered(Duration::from_secs(2));

#[tokio::test(start_paused = true)]
async fn it_closes_as_soon_as_there_is_a_reply_to_every_message() {
    let (end, shown, took) = session(&["one", "two"], WAIT, |mut peer| async move {
        while let Some(Ok(message)) = peer.next().await {
            if message.is_text() {
                peer.send(message).await.unwrap();
            }
        }
    })
    .await;
    assert_eq!((end, took), (closed(1000, true), Duration::ZERO));
    assert_eq!(shown, ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn each_reply_starts_the_wait_for_the_next_anew_and_a_ping_does_not() {
    let (end, shown, took) = session(&["one", "two", "three"], WAIT, |mut peer| async move {
        let mut clock = ticks(Duration::from_millis(1500));
        clock.tick().await;
        peer.send(Message::text("late")).await.unwrap();
        clock.tick().await;
        peer.send(Message::Ping("alive".into())).await.unwrap();
        while peer.next().await.is_some_and(|message| message.is_ok()) {}
    })
    .await;
    assert_eq!((end, took), (closed(1000, true), Duration::from_millis(3500)));
    assert_eq!(shown, ["late"]);
}

#[tokio::test(start_paused = true)]
async fn messages_that_come_before_the_answer_to_our_close_are_shown() {
    let (end, shown, _) = session(&[], Until::InputEnds, |mut peer| async move {
        peer.send(Message::text("crossing")).await.unwrap();
        while peer.next().await.is_some_and(|message| message.is_ok()) {}
    })
    .await;
    assert_eq!((end, shown), (closed(1000, true), vec!["crossing".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_close_that_nobody_answers_is_abnormal_after_ten_seconds() {
    let (end, _, took) = session(&[], Until::InputEnds, std::future::ready).await;
    assert_eq!((end.clone(), took), (closed(1006, true), CLOSE_TIMEOUT));
    assert!(!end.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closed_may_take_a_moment_to_end_the_connection() {
    let (end, _, took) = session(&["unheard"], WAIT, |mut peer| async move {
        peer.send(Message::Close(Some(close_frame(CloseCode::Away)))).await.unwrap();
        peer
    })
    .await;
    assert_eq!((end.clone(), took), (closed(1001, false), LINGER));
    assert!(end.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_close_in_the_input_is_sent_with_its_code_and_reason() {
    let (near, far) = tokio::io::duplex(1024);
    let near = client(near).await;
    let mut far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    let (batches, mut input) = mpsc::channel(1);
    let frame = CloseFrame { code: 4000.into(), reason: "enough".into() };
    batches.send(vec![Message::Close(Some(frame.clone())), Message::text("unsent")]).await.unwrap();
    let mut shown = ShownOutput::default();
    let mut near = Session::new(near, KeepaliveConfig::default(), Observer::default(), Until::InputEnds);
    let (end, seen) = tokio::join!(near.run(&mut input, &mut shown), async move {
        let seen = far.next().await.unwrap().unwrap();
        while far.next().await.is_some_and(|message| message.is_ok()) {}
        seen
    });
    assert_eq!(seen, Message::Close(Some(frame)));
    let end = end.unwrap();
    assert_eq!((end.status.code, end.own, end.is_clean()), (4000, Some(4000), true));
}

fn goal(replies: Option<u64>, expect: Option<&str>, quiet: Option<Duration>) -> Until {
    Until::Reached(Goal { replies, expect: expect.map(|pattern| Regex::new(pattern).unwrap()), quiet })
}

/// The first tick is a period from now.
fn ticks(period: Duration) -> Interval {
    tokio::time::interval_at(Instant::now() + period, period)
}

/// Sends a number every second.
async fn count(mut peer: TestServer) {
    let mut clock = ticks(Duration::from_secs(1));
    for number in 1..100 {
        clock.tick().await;
        if peer.send(Message::text(number.to_string())).await.is_err() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_replies_asked_for_the_end_of_the_input_closes_nothing() {
    let (end, shown, _) = session(&[], goal(Some(3), None, None), count).await;
    assert_eq!(end.own, Some(1000));
    assert_eq!(shown[..3], ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn an_expected_message_closes_when_it_comes_and_is_wanting_when_it_does_not() {
    let quiet = Some(Duration::from_secs(2));
    let (end, shown, _) = session(&["x"], goal(None, Some("^[34]$"), quiet), count).await;
    assert!(!end.wanting);
    assert_eq!(shown[..3], ["1", "2", "3"]);
    let (end, shown, _) = session(&["x"], goal(None, Some("."), quiet), std::future::ready).await;
    assert!(end.wanting && shown.is_empty(), "{end:?} {shown:?}");
}

#[tokio::test(start_paused = true)]
async fn close_codes_are_the_peers_own_whatever_tungstenite_knows_of_them() {
    for (code, shown) in [(1014, 1014), (1013, 1013), (999, 1006), (1005, 1006), (2999, 1006)] {
        let (end, _, _) = session(&["x"], WAIT, |mut peer| async move {
            let frame = CloseFrame { code: CloseCode::from(code), reason: "why".into() };
            peer.send(Message::Close(Some(frame))).await.unwrap();
            while peer.next().await.is_some_and(|message| message.is_ok()) {}
        })
        .await;
        let reason = if shown == code { "why" } else { "" };
        assert_eq!(end.status, CloseStatus { code: shown, reason: reason.to_owned() });
    }
}
