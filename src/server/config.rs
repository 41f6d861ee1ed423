//! What a server is told before it starts. Plain values: the command line fills them in `cli`, tests and `verify` in code.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

/// The configuration of a [`Server`](super::Server).
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// How many workers there are: threads that accept and serve on their own.
    pub workers: NonZeroUsize,
    /// How long it waits before each answer.
    pub delay: Option<Duration>,
    /// The longest message that it takes, in bytes; a longer one is closed with 1009.
    pub max_message_size: usize,
    /// How long a client may take for the head of its first request.
    pub handshake_timeout: Duration,
}

impl Config {
    /// One worker that answers at once.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            workers: NonZeroUsize::MIN,
            delay: None,
            // tungstenite's default too.
            max_message_size: 64 << 20,
            // Long for a client that means it, short for one that holds connections open.
            handshake_timeout: Duration::from_secs(5),
        }
    }
}
