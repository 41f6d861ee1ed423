//! What a server is told before it starts. Plain values: the command line fills them in `cli`,
//! tests and `verify` in code.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::tls;

/// The configuration of a [`Server`](super::Server).
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// How many workers there are: threads that accept and serve on their own.
    pub workers: NonZeroUsize,
    /// Its TLS; without it, it speaks cleartext.
    pub tls: Option<tls::server::Server>,
    /// How long it waits before each answer.
    pub delay: Option<Duration>,
    /// How many sessions may be open at the same time; one more is refused with 503.
    pub max_connections: Option<usize>,
    /// The longest message that it takes, in bytes; a longer one is closed with 1009.
    pub max_message_size: usize,
    /// The longest frame that it takes, in bytes; the same. None: whatever such a message comes in.
    pub max_frame_size: Option<usize>,
    /// How many bytes of messages all sessions may hold together, those that have come in part and
    /// those whose answers wait for their peers. Beyond it new sessions are refused with 503, and
    /// no more is read of messages; one that is longer by itself is closed with 1009.
    pub max_buffered_bytes: usize,
    /// How long a client may take for the head of its first request.
    pub handshake_timeout: Duration,
    /// How long a session may go without a message before it is closed with 1001.
    pub idle_timeout: Option<Duration>,
    /// How it looks whether clients are still there.
    pub ping: Option<Ping>,
    /// The subprotocols that it agrees to.
    pub subprotocols: Vec<HeaderValue>,
    /// The origins from which it takes sessions; none: from all.
    pub origins: Vec<HeaderValue>,
    /// The status that every opening handshake is refused with.
    pub reject: Option<StatusCode>,
    /// When it closes each session by itself.
    pub close_after: Option<CloseAfter>,
    /// Whether there are routes that do harm.
    pub test_routes: bool,
    /// Where it runs.
    pub pod: PodIdentity,
}

/// Pings to clients that may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// How often one is sent.
    pub interval: Duration,
    /// How long its pong may take before the session is closed with 1011.
    pub timeout: Duration,
}

/// The end of each session after so many messages were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseAfter {
    /// How many messages.
    pub messages: u64,
    /// The code of the Close frame; 1005 is one without a code, 1006 no Close frame at all (RFC
    /// 6455 section 7.4.1).
    pub code: u16,
}

/// What the downward API of Kubernetes says of the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct PodIdentity {
    /// `metadata.name`.
    pub name: Option<String>,
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// `spec.nodeName`.
    pub node: Option<String>,
}

impl Config {
    /// The limit of a message where nothing else is said: tungstenite's default too.
    pub const MAX_MESSAGE_SIZE: usize = 64 << 20;

    /// What sessions may hold where nothing else is said: sixteen of the longest messages. Few
    /// servers see as many at once, and the smallest of the usual nodes (2 GiB) still has room for
    /// it.
    pub const MAX_BUFFERED_BYTES: usize = 16 * Self::MAX_MESSAGE_SIZE;

    /// One worker that answers at once.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            workers: NonZeroUsize::MIN,
            tls: None,
            delay: None,
            max_connections: None,
            max_message_size: Self::MAX_MESSAGE_SIZE,
            max_frame_size: None,
            max_buffered_bytes: Self::MAX_BUFFERED_BYTES,
            // Long enough for every client that asks for something, short for one that only holds
            // connections.
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: None,
            ping: None,
            subprotocols: Vec::new(),
            origins: Vec::new(),
            reject: None,
            close_after: None,
            test_routes: false,
            pod: PodIdentity::default(),
        }
    }

    /// The longest message that can be taken: one alone must not be more than all may be together.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_size.min(self.max_buffered_bytes)
    }
}
