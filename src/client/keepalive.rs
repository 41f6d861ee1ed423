//! Keepalive as Python websockets has it: a Ping at regular intervals, whose Pong has to come in
//! time. A peer that stays silent is told so with 1011, and counts as gone.
//!
//! A session does not see these Pings and their Pongs.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tungstenite::{Error, Message};

/// Python websockets' `ping_interval`.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Python websockets' `ping_timeout`.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How a connection is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepaliveConfig {
    /// From one Ping to the next; `None`: none is sent.
    pub interval: Option<Duration>,
    /// How long a Pong is awaited; `None`: for ever.
    pub timeout: Option<Duration>,
}

impl Default for KeepaliveConfig {
    fn default() -> Self {
        Self { interval: Some(PING_INTERVAL), timeout: Some(PING_TIMEOUT) }
    }
}

/// No Pong came in time. In the words that Python websockets gives to the peer.
#[derive(Debug)]
pub(super) struct PingTimeout;

impl Display for PingTimeout {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("keepalive ping timeout")
    }
}

impl std::error::Error for PingTimeout {}

impl PingTimeout {
    /// Whether this is what went wrong.
    pub(super) fn is_in(error: &Error) -> bool {
        let Error::Io(error) = error else { return false };
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

/// How far the keepalive of one connection has come.
#[derive(Debug)]
pub(super) struct Keepalive {
    config: KeepaliveConfig,
    next: PingStep,
    /// How many Pings were sent.
    count: u64,
    /// What the last one said.
    payload: Option<Bytes>,
    unflushed: bool,
}

#[derive(Debug)]
enum PingStep {
    /// A Ping is to be sent.
    Ping(Pin<Box<Sleep>>),
    /// The Pong to the Ping of that time, which has to come before the timer ends.
    Pong { sent: Instant, overdue: Option<Pin<Box<Sleep>>> },
    /// No more: pings are off.
    Nothing,
}

impl Keepalive {
    pub(super) fn new(config: KeepaliveConfig) -> Self {
        let start = Instant::now();
        Self { config, next: PingStep::ping(config, start), count: 0, payload: None, unflushed: false }
    }

    /// The next message of the stream that is not an answer to a Ping of this keepalive; sends the
    /// Pings that are due.
    pub(super) fn poll_next<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut WebSocketStream<S>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        loop {
            match stream.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(Message::Pong(payload)))) if self.takes(&payload) => {}
                Poll::Pending => break,
                other @ Poll::Ready(_) => return other,
            }
        }
        // Only when nothing is to be read: a peer that sends is there, and a Pong may have waited
        // to be read. A failed write is ignored: reading returns the reason.
        let _ = self.poll_ping(stream, context);
        match &mut self.next {
            PingStep::Pong { overdue: Some(timer), .. } => {
                ready!(timer.poll_unpin(context));
                self.next = PingStep::Nothing;
                Poll::Ready(Some(Err(Error::Io(io::Error::new(io::ErrorKind::TimedOut, PingTimeout)))))
            }
            _ => Poll::Pending,
        }
    }

    /// Extends the deadline of the Pong by the time in which this side did not read.
    pub(super) fn excuse(&mut self, time: Duration) {
        if let PingStep::Pong { overdue: Some(timer), .. } = &mut self.next {
            let deadline = timer.deadline() + time;
            timer.as_mut().reset(deadline);
        }
    }

    fn poll_ping<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut WebSocketStream<S>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        if let PingStep::Ping(timer) = &mut self.next {
            ready!(timer.poll_unpin(context));
            ready!(stream.poll_ready_unpin(context))?;
            self.count += 1;
            let payload = Bytes::from(format!("keepalive {}", self.count));
            self.payload = Some(payload.clone());
            let sent = Instant::now();
            let overdue = self.config.timeout.map(|timeout| Box::pin(sleep_until(sent + timeout)));
            self.next = PingStep::Pong { sent, overdue };
            self.unflushed = true;
            if let Err(error) = stream.start_send_unpin(Message::Ping(payload)) {
                // After a Close: there is nothing to keep alive.
                self.next = PingStep::Nothing;
                return Poll::Ready(Err(error));
            }
        }
        if self.unflushed {
            ready!(stream.poll_flush_unpin(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes a Pong into account; whether it answers the last Ping of this keepalive. Any other
    /// Pong answers a later Ping of the user's, and with it this one (RFC 6455 section 5.5.3), or
    /// shows that the peer is there. The next Ping follows at its interval from the last one, at
    /// once if that is over.
    fn takes(&mut self, answer: &Bytes) -> bool {
        if let PingStep::Pong { sent, .. } = self.next {
            self.next = PingStep::ping(self.config, sent);
        }
        self.payload.as_ref() == Some(answer)
    }
}

impl PingStep {
    fn ping(config: KeepaliveConfig, since: Instant) -> Self {
        config.interval.map_or(Self::Nothing, |interval| Self::Ping(Box::pin(sleep_until(since + interval))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::DuplexStream;
    use tungstenite::protocol::Role;

    use super::*;

    type Peer = WebSocketStream<DuplexStream>;

    fn config(interval: u64, timeout: Option<u64>) -> KeepaliveConfig {
        let timeout = timeout.map(Duration::from_secs);
        KeepaliveConfig { interval: Some(Duration::from_secs(interval)), timeout }
    }

    /// Both ends of a connection.
    async fn pair() -> (Peer, Peer) {
        let (near, far) = tokio::io::duplex(1024);
        let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        (near, WebSocketStream::from_raw_socket(far, Role::Server, None).await)
    }

    /// What the client's side is told of next, and when.
    async fn told(config: KeepaliveConfig, mut near: Peer) -> (Option<Result<Message, Error>>, u64) {
        let started = Instant::now();
        let mut keepalive = Keepalive::new(config);
        let next = poll_fn(|context| keepalive.poll_next(&mut near, context)).await;
        (next, started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn pings_follow_one_another_at_the_interval_and_their_pongs_are_nobody_else_s() {
        let (near, mut far) = pair().await;
        let started = Instant::now();
        let script = async {
            for round in 1..=3 {
                let ping = far.next().await.unwrap().unwrap();
                assert!(ping.is_ping(), "{ping}");
                assert_eq!(started.elapsed().as_secs(), 20 * round);
            }
            // The stream answers a ping while it is asked for what follows.
            far.send(Message::text("seen")).await.unwrap();
        };
        let ((next, _), ()) = tokio::join!(told(config(20, Some(20)), near), script);
        assert_eq!(next.unwrap().unwrap(), Message::text("seen"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pong_that_does_not_come_is_overdue_after_the_timeout() {
        let (near, far) = pair().await;
        let (next, seconds) = told(config(20, Some(7)), near).await;
        assert!(PingTimeout::is_in(&next.unwrap().unwrap_err()));
        assert_eq!(seconds, 27);
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn another_pong_is_told_of_and_is_an_answer_only_if_it_comes_after_the_ping() {
        let (mut near, mut far) = pair().await;
        let mut keepalive = Keepalive::new(config(20, Some(7)));
        let started = Instant::now();
        let mut next = async || poll_fn(|context| keepalive.poll_next(&mut near, context)).await.unwrap();
        let script = async {
            far.send(Message::Pong("early".into())).await.unwrap();
            // Five seconds after the first Ping.
            tokio::time::interval_at(started + Duration::from_secs(25), Duration::from_secs(1)).tick().await;
            far.send(Message::Pong("late".into())).await.unwrap();
        };
        let told = async { (next().await.unwrap(), next().await.unwrap(), next().await.unwrap_err()) };
        let ((first, second, end), ()) = tokio::join!(told, script);
        assert_eq!([first, second], ["early", "late"].map(|payload| Message::Pong(payload.into())));
        // Nobody answers the second Ping, of 40 seconds.
        assert!(PingTimeout::is_in(&end));
        assert_eq!(started.elapsed().as_secs(), 47);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_interval_or_a_timeout_silence_is_no_end() {
        let none = KeepaliveConfig { interval: None, timeout: None };
        for patient in [none, config(1, None)] {
            let (near, _far) = pair().await;
            let day = Duration::from_secs(86400);
            assert!(tokio::time::timeout(day, told(patient, near)).await.is_err());
        }
    }
}
