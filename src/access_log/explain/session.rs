//! What both sidecars wrote of one session, taken together: the line nearer to the cause has the
//! word, and what only the two of them show is said.

use super::cause::ALLOW_CONNECT;
use super::seen::Seen;
use super::{Explanation, Health, Origin, Proxy, explain};
use crate::access_log::ParsedLine;

/// What one line of a session says to the question which of the two has the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Testimony {
    /// Whose line it is.
    pub sidecar: Proxy,
    origin: Origin,
    /// Extended CONNECT was refused here, without a word to the peer.
    refused_extended_connect: bool,
    /// It was established, and the upstream connection ended.
    upstream_connection_ended: bool,
    /// It came over HTTP/2, and its end is not that of the proxy that says so.
    outlived_its_connection: bool,
}

impl Testimony {
    pub(super) fn of(seen: &Seen<'_>, origin: Origin) -> Self {
        Self {
            sidecar: seen.sidecar,
            origin,
            refused_extended_connect: seen.details == "http2.invalid.header.field"
                && seen.text("method").is_none(),
            upstream_connection_ended: seen.code == Some(101) && seen.flags == ["UC"],
            outlived_its_connection: seen.is_http2() && seen.detail() != "downstream_local_disconnect",
        }
    }
}

/// Who tells how a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Teller {
    /// The client's line.
    Client,
    /// The server's line, which is nearer to the cause.
    Server,
    /// Both: the server's sidecar refused extended CONNECT.
    Refusal,
    /// Both: the connection between the sidecars was lost. Over HTTP/2 the client's sidecar sees
    /// the whole connection end, not this session.
    LostConnection,
}

impl Teller {
    /// Who it is, by what the client's and the server's line say.
    #[must_use]
    pub fn of(client: Testimony, server: Testimony) -> Self {
        if server.refused_extended_connect {
            return Self::Refusal;
        }
        if client.upstream_connection_ended && server.outlived_its_connection {
            return Self::LostConnection;
        }
        match (client.origin, server.origin) {
            // The client's line points to the server's sidecar, whose own line has more.
            (Origin::Upstream, Origin::Here | Origin::Upstream) => Self::Server,
            _ => Self::Client,
        }
    }
}

/// Explains a session by the lines of the client's and of the server's sidecar.
#[must_use]
pub fn explain_session(client: &ParsedLine, server: &ParsedLine) -> Explanation {
    let (of_client, of_server) = (explain(client), explain(server));
    let testimony = |line, told: &Explanation| Testimony::of(&Seen::of(line), told.origin);
    let teller = Teller::of(testimony(client, &of_client), testimony(server, &of_server));
    let asked = of_client.asked.clone();
    match teller {
        Teller::Client => of_client,
        Teller::Server => Explanation { asked, ..of_server },
        Teller::Refusal => Explanation {
            sidecar: Proxy::Server,
            asked,
            ended: "the server's sidecar does not allow extended CONNECT, gave the connection up without an answer, and \
                    the client's sidecar made a 503 of it"
                .into(),
            change: Some(ALLOW_CONNECT.into()),
            health: Health::Failed,
            ..of_server
        },
        Teller::LostConnection => Explanation {
            ended: "the connection between the sidecars was lost with the session open; over HTTP/2 a proper end shows UR at \
                    the client's sidecar, not UC"
                .into(),
            change: Some("look whether the server's sidecar or its pod ended".into()),
            health: Health::Look,
            ..of_client
        },
    }
}

/// What both lines say beside how the session ended, each in words.
#[must_use]
pub fn session_particulars(client: &ParsedLine, server: &ParsedLine) -> Vec<String> {
    let (client, server) = (Seen::of(client), Seen::of(server));
    let at_client = labelled("the client's sidecar", &client);
    let at_server = labelled("the server's sidecar", &server);
    std::iter::once(hop(&server)).chain(at_client).chain(at_server).collect()
}

/// What the sidecars spoke with each other.
fn hop(server: &Seen<'_>) -> String {
    let protocol = server.text("protocol").unwrap_or("a protocol that the line does not name");
    format!("between the sidecars it was {protocol}")
}

fn labelled(who: &str, seen: &Seen<'_>) -> impl Iterator<Item = String> {
    seen.particulars().into_iter().map(move |particular| format!("at {who}, {particular}"))
}
