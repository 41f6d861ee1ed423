//! What an access-log line means, in words: which sidecar wrote it, what was asked, who ended it
//! and how, whether that is normal, and what to change.
//!
//! [`explain`] is for one line, [`explain_session`] for what both sidecars wrote of the same
//! session: of the two lines the one nearer to the cause decides. Both are plain functions of
//! what the lines say; nothing is looked up anywhere.

mod cause;
mod details;
mod flags;
mod seen;
mod session;
mod timer;

use std::borrow::Cow;
use std::fmt;

pub use flags::{FlagMeaning, flag_meaning};
pub use session::{Teller, Testimony, explain_session, session_particulars};
pub use timer::{TIMEOUT_STEP, is_usual, timeout_met, timer_advice};

use super::ParsedLine;
use cause::cause;
use seen::Seen;
use timer::{by_a_timer, session_length};

/// Which proxy wrote a line, as far as the line shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proxy {
    /// The client's sidecar, the outbound one.
    Client,
    /// The server's sidecar, the inbound one.
    Server,
    /// A gateway, which takes requests on an address of its own and sends them on.
    Gateway,
    /// A waypoint of an ambient mesh.
    Waypoint,
    /// The line does not show it.
    Unknown,
}

impl Proxy {
    /// Whose line it is.
    #[must_use]
    pub fn of(line: &ParsedLine) -> Self {
        seen::proxy(line)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Client => "client's sidecar",
            Self::Server => "server's sidecar",
            Self::Gateway => "gateway",
            Self::Waypoint => "waypoint",
            Self::Unknown => "proxy",
        })
    }
}

/// Where, seen from the proxy that wrote the line, the cause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Towards the client.
    Downstream,
    /// In this proxy, or its configuration.
    Here,
    /// Towards the application.
    Upstream,
}

/// Whether what happened is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing is wrong.
    Normal,
    /// It worked, and ended in a way that is worth a look.
    Look,
    /// What was asked for did not happen.
    Failed,
}

impl fmt::Display for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Normal => "normal",
            Self::Look => "worth a look",
            Self::Failed => "failed",
        })
    }
}

/// A line, or the lines of both sides, in words. What they say beside that is in [`particulars`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    /// Who wrote the line that this is read from.
    pub sidecar: Proxy,
    /// What was asked for.
    pub asked: String,
    /// Who ended it and how.
    pub ended: Cow<'static, str>,
    /// Towards whom the cause is to be looked for.
    pub origin: Origin,
    /// Whether that is normal.
    pub health: Health,
    /// What to change, if anything.
    pub change: Option<Cow<'static, str>>,
}

impl Explanation {
    /// What was asked, how it ended, whether that is normal, and what to change: all but who says
    /// so.
    #[must_use]
    pub fn brief(&self) -> String {
        let change = self.change.as_ref().map(|change| format!("; {change}")).unwrap_or_default();
        format!("{}: {} ({}){change}", self.asked, self.ended, self.health)
    }

    /// Everything in a paragraph, the particulars at its end.
    #[must_use]
    pub fn paragraph(&self, particulars: &[String]) -> String {
        let mut text = format!("The {}: {}. {}.", self.sidecar, self.asked, capitalised(&self.ended));
        text.push_str(match self.health {
            Health::Normal => " This is normal.",
            Health::Look => " This is worth a look.",
            Health::Failed => " This is a failure.",
        });
        if let Some(change) = &self.change {
            text.extend([" What to do: ", change, "."]);
        }
        for particular in particulars {
            text.extend([" ", &capitalised(particular), "."]);
        }
        text
    }
}

/// One line: who, what, how it ended, whether that is normal, what to change.
impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.sidecar, self.brief())
    }
}

/// Explains one line.
#[must_use]
pub fn explain(line: &ParsedLine) -> Explanation {
    let seen = Seen::of(line);
    let cause = by_a_timer(&seen, cause(&seen));
    Explanation {
        sidecar: seen.sidecar,
        asked: seen.asked(),
        ended: cause.ended,
        origin: cause.origin,
        health: cause.health,
        change: cause.change,
    }
}

/// How the stream of one line ended, without what was asked for: what is counted of very many
/// lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// As in the line's [`Explanation`].
    pub ended: Cow<'static, str>,
    /// As in the line's [`Explanation`].
    pub health: Health,
    /// Who says so, and what it is to a session of two lines.
    pub testimony: Testimony,
    /// Where the cause is.
    pub origin: Origin,
    /// How long the session lasted, in milliseconds, if it was one that another than this proxy ended.
    pub lasted: Option<u64>,
}

impl Ending {
    /// That of a line.
    #[must_use]
    pub fn of(line: &ParsedLine) -> Self {
        let seen = Seen::of(line);
        let cause = cause(&seen);
        let testimony = Testimony::of(&seen, cause.origin);
        let lasted = session_length(&seen, &cause);
        Self { ended: cause.ended, health: cause.health, testimony, origin: cause.origin, lasted }
    }
}

/// What a line says beside how it ended: flags, details and counts, each in words.
#[must_use]
pub fn particulars(line: &ParsedLine) -> Vec<String> {
    Seen::of(line).particulars()
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
