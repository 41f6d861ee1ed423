//! The session against a scripted peer, on a paused clock.

use tokio::io::DuplexStream;
use tungstenite::protocol::Role;

use super::*;

/// Keeps what is shown.
#[derive(Default)]
struct Shown(Vec<String>);

impl Output for Shown {
    async fn show(&mut self, message: &Message) -> io::Result<()> {
        self.0.push(message.to_string());
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Peer = WebSocketStream<DuplexStream>;

/// Runs a session that sends `lines` against a peer that follows a script. Returns the end of the session, what it
/// showed, and how long it took on the paused clock.
async fn session<F: Future>(
    lines: &[&str],
    after_input: AfterInput,
    script: impl FnOnce(Peer) -> F,
) -> (Closed, Vec<String>, Duration) {
    let (near, far) = tokio::io::duplex(1024);
    let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    let (batches, mut input) = mpsc::channel(1);
    let batch = lines.iter().map(|line| Message::text(*line)).collect();
    batches.send(batch).await.unwrap();
    drop(batches);
    let mut shown = Shown::default();
    let start = Instant::now();
    let run = async {
        let closed = Session::new(near, after_input).run(&mut input, &mut shown).await.unwrap();
        (closed, start.elapsed())
    };
    let ((closed, took), _) = tokio::join!(run, script(far));
    (closed, shown.0, took)
}

fn closed(code: u16, by_us: bool) -> Closed {
    Closed { status: CloseStatus { code, reason: String::new() }, by_us }
}

const WAIT: AfterInput = AfterInput::AwaitReplies(Duration::from_secs(2));

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
        tokio::time::sleep(Duration::from_millis(1500)).await;
        peer.send(Message::text("late")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        peer.send(Message::Ping("alive".into())).await.unwrap();
        while peer.next().await.is_some_and(|message| message.is_ok()) {}
    })
    .await;
    assert_eq!((end, took), (closed(1000, true), Duration::from_millis(3500)));
    assert_eq!(shown, ["late"]);
}

#[tokio::test(start_paused = true)]
async fn messages_that_come_before_the_answer_to_our_close_are_shown() {
    let (end, shown, _) = session(&[], AfterInput::Close, |mut peer| async move {
        peer.send(Message::text("crossing")).await.unwrap();
        while peer.next().await.is_some_and(|message| message.is_ok()) {}
    })
    .await;
    assert_eq!((end, shown), (closed(1000, true), vec!["crossing".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_close_that_nobody_answers_is_abnormal_after_ten_seconds() {
    let (end, _, took) = session(&[], AfterInput::Close, |peer| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(peer);
    })
    .await;
    assert_eq!((end.clone(), took), (closed(1006, true), CLOSE_TIMEOUT));
    assert!(!end.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closed_may_take_ten_seconds_to_end_the_connection() {
    let (end, _, took) = session(&["unheard"], WAIT, |mut peer| async move {
        peer.send(Message::Close(Some(close_frame(CloseCode::Away)))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(peer);
    })
    .await;
    assert_eq!((end.clone(), took), (closed(1001, false), CLOSE_TIMEOUT));
    assert!(end.is_clean());
}

#[test]
fn an_answer_without_a_code_is_clean_only_if_we_asked_for_the_end() {
    assert!(closed(1005, true).is_clean());
    assert!(!closed(1005, false).is_clean());
    assert!(!closed(1011, true).is_clean());
    assert!(!closed(4000, false).is_clean());
}
