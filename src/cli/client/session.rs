//! Options of the client about the session: how it talks to a person and to a script, and how it
//! ends.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use regex::Regex;

use crate::cli::duration;
use crate::client::{Input, KeepaliveConfig, OutputFormat, ScriptConfig, TerminalConfig};

/// What keeps the session going.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Session")]
pub(super) struct SessionArgs {
    /// Send a ping this often; 0 or none: never.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = Limit::parse)]
    ping_interval: Limit,

    /// Take the server for gone, and close with 1011, when its pong takes longer; 0 or none: never.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = Limit::parse)]
    ping_timeout: Limit,

    /// The longest message that is accepted, once it is decompressed; a longer one closes the
    /// session with 1009 [default: 1 MiB; with --echo 64 MiB].
    #[arg(long, value_name = "BYTES")]
    pub(super) max_message_size: Option<NonZero<usize>>,
}

impl SessionArgs {
    pub(super) fn keepalive(&self) -> KeepaliveConfig {
        KeepaliveConfig { interval: self.ping_interval.0, timeout: self.ping_timeout.0 }
    }
}

/// A length of time, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit(Option<Duration>);

impl Limit {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "0" | "none" => Ok(Self(None)),
            text => {
                duration::parse(text).map(|duration| Self(Some(duration).filter(|limit| !limit.is_zero())))
            }
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "On a terminal")]
pub(super) struct TerminalArgs {
    /// Send every line as it is: no line is a command.
    #[arg(long)]
    raw: bool,

    /// Neither read nor keep the lines of other sessions ($XDG_STATE_HOME/websockets-cli/history).
    #[arg(long)]
    no_history: bool,
}

impl TerminalArgs {
    pub(super) fn config(&self) -> TerminalConfig {
        let history = if self.no_history { None } else { history_file() };
        TerminalConfig { raw: self.raw, history }
    }
}

/// Where the XDG base directory specification wants it; it has relative paths ignored.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
    Some(state.join("websockets-cli/history"))
}

/// Any of them but `--wait` and `--timeout` makes the client a filter, even on a terminal.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For scripts")]
pub(super) struct ScriptArgs {
    /// Send this text message, and nothing of standard input (repeatable).
    #[arg(long = "send", value_name = "TEXT", allow_hyphen_values = true)]
    texts: Vec<String>,

    /// Send standard input as one binary message.
    #[arg(long, conflicts_with = "texts")]
    binary: bool,

    /// Send standard input as binary messages of this many bytes each.
    #[arg(long, value_name = "BYTES", conflicts_with = "texts")]
    frame_size: Option<NonZero<u32>>,

    /// Close after this many messages; until then the end of the input closes nothing.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    replies: Option<u64>,

    /// Close when a message comes that this regular expression matches.
    ///
    /// The exit status is 4 if none comes before `--timeout`, or, without one, in `--wait` after
    /// the end of the input and after each message; 3 if the server closes before.
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    expect: Option<Regex>,

    /// How long to wait at the end of the input for the next reply, as long as fewer came than were
    /// sent.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    wait: Duration,

    /// End with status 4 if it takes longer than this in all.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// How messages are written to standard output.
    #[arg(long, value_name = "FORM")]
    output: Option<ClientFormat>,

    /// Write the bytes of messages and nothing between them; not to a terminal.
    #[arg(long, conflicts_with = "output")]
    raw_output: bool,

    /// What the exit status tells.
    #[arg(long, value_name = "KIND", default_value = "full")]
    pub(super) exit_status: ExitStatusKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClientFormat {
    /// Each as it is with a newline behind it, on a terminal escaped; binary as `(binary) HEX`.
    Text,
    /// A JSON object a line, of messages and control frames in both directions:
    /// schemas/client-messages.schema.json.
    Jsonl,
}

/// What the exit status tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExitStatusKind {
    /// All of the table below.
    Full,
    /// As `python3 -m websockets` does: 0 however the connection closed, 1 without a connection.
    Compat,
}

impl ScriptArgs {
    /// Whether this can only be meant for a script.
    pub(super) fn is_given(&self) -> bool {
        let Self { texts, binary, frame_size, replies, expect, output, raw_output, .. } = self;
        !texts.is_empty()
            || *binary
            || frame_size.is_some()
            || replies.is_some()
            || expect.is_some()
            || output.is_some()
            || *raw_output
    }

    pub(super) fn writes_bytes(&self) -> bool {
        self.raw_output
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(super) fn config(self) -> ScriptConfig {
        let input = match self.frame_size {
            Some(size) => Input::Binary { message_bytes: Some(size.get().into()) },
            None if self.binary => Input::Binary { message_bytes: None },
            None if self.texts.is_empty() => Input::Lines,
            None => Input::Texts(self.texts),
        };
        let format = match self.output {
            _ if self.raw_output => OutputFormat::Raw,
            Some(ClientFormat::Jsonl) => OutputFormat::Jsonl,
            Some(ClientFormat::Text) | None => OutputFormat::Lines,
        };
        ScriptConfig { input, format, wait: self.wait, replies: self.replies, expect: self.expect }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_can_be_switched_off() {
        for text in ["0", "0s", "none"] {
            assert_eq!(Limit::parse(text), Ok(Limit(None)), "{text}");
        }
        assert_eq!(Limit::parse("1s"), Ok(Limit(Some(Duration::from_secs(1)))));
        assert!(Limit::parse("never").is_err());
    }
}
