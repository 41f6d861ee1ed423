//! What a run of the client is told.

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;

use super::connect::ConnectConfig;
use super::keepalive::KeepaliveConfig;
use super::session::{Goal, Until};
use super::verbose::VerboseObserver;

/// How long replies are awaited after the end of the input, when none comes.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(2);

/// A run of the client between the standard streams.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// What to connect to.
    pub connect: ConnectConfig,
    /// Keeps the lines of `-v` and `-vv` above the prompt while there is one, if the observer of
    /// `connect` is its own.
    pub verbose: VerboseObserver,
    /// Send each message back, and read no input.
    pub echo: bool,
    /// How the connection is kept alive.
    pub keepalive: KeepaliveConfig,
    /// How long the whole run may take.
    pub timeout: Option<Duration>,
    /// How to talk to a person; `None`: to a script, even on a terminal.
    pub terminal: Option<TerminalConfig>,
    /// How to talk to a script.
    pub script: ScriptConfig,
}

/// How the client talks to a person.
#[derive(Debug, Clone, Default)]
pub struct TerminalConfig {
    /// Whether every line is a message, also one that begins with a slash.
    pub raw: bool,
    /// Where lines are kept from one session to the next.
    pub history: Option<PathBuf>,
}

/// How the client talks to a script.
#[derive(Debug, Clone)]
pub struct ScriptConfig {
    /// What is sent.
    pub input: Input,
    /// How messages are written.
    pub format: OutputFormat,
    /// How long replies are awaited after the end of the input, when none comes.
    pub wait: Duration,
    /// Close after so many messages.
    pub replies: Option<u64>,
    /// Close when a message that this matches has come.
    pub expect: Option<Regex>,
}

impl Default for ScriptConfig {
    fn default() -> Self {
        Self {
            input: Input::Lines,
            format: OutputFormat::Lines,
            wait: DEFAULT_WAIT,
            replies: None,
            expect: None,
        }
    }
}

impl ScriptConfig {
    /// When the session is closed from this side; `bounded` says whether a timeout ends it, too.
    pub(super) fn until(&self, bounded: bool) -> Until {
        if self.replies.is_none() && self.expect.is_none() {
            return Until::Answered(self.wait);
        }
        let quiet = (self.replies.is_none() && !bounded).then_some(self.wait);
        Until::Reached(Goal { replies: self.replies, expect: self.expect.clone(), quiet })
    }
}

/// What a script sends.
#[derive(Debug, Clone)]
pub enum Input {
    /// Each line of standard input as a text message.
    Lines,
    /// These text messages, and nothing of standard input.
    Texts(Vec<String>),
    /// Standard input as binary messages.
    Binary {
        /// How large each is; `None`: one message has everything.
        message_bytes: Option<u64>,
    },
}

/// How messages are written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// One a line, without control characters, binary as `(binary) HEX`.
    Lines,
    /// Their bytes, and nothing between them.
    Raw,
    /// A line of JSON each, as `schemas/client-messages.schema.json` says.
    Jsonl,
}
