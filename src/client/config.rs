//! What a run of the client is told.

use std::time::Duration;

use super::connect::ConnectConfig;

/// How long replies are awaited after the end of the input, when none comes.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(2);

/// A run of the client between the standard streams.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// What to connect to.
    pub connect: ConnectConfig,
    /// Send each message back, and read no input.
    pub echo: bool,
    /// In a pipe: how long replies are awaited after the end of the input, when none comes.
    pub wait: Duration,
}
