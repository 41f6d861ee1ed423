//! What both sidecars wrote of one session, taken together: the line nearer to the cause has the
//! word, and what only the two of them show is said.

use super::cause::ALLOW_CONNECT;
use super::seen::Seen;
use super::{Explanation, Health, Origin, Proxy, explain};
use crate::access_log::ParsedLine;

/// Explains a session by the lines of the client's and of the server's sidecar.
#[must_use]
pub fn explain_session(client: &ParsedLine, server: &ParsedLine) -> Explanation {
    let (at_client, at_server) = (Seen::of(client), Seen::of(server));
    let (of_client, of_server) = (explain(client), explain(server));
    let asked = of_client.asked.clone();
    if at_server.details == "http2.invalid.header.field" && at_server.text("method").is_none() {
        return Explanation {
            sidecar: Proxy::Server,
            asked,
            ended: "the server's sidecar does not allow extended CONNECT, gave the connection up without an answer, and \
                    the client's sidecar made a 503 of it"
                .into(),
            change: Some(ALLOW_CONNECT.into()),
            health: Health::Failed,
            ..of_server
        };
    }
    if connection_lost(&at_client, &at_server) {
        return Explanation {
            ended: "the connection between the sidecars was lost with the session open; over HTTP/2 a proper end shows UR at \
                    the client's sidecar, not UC"
                .into(),
            change: Some("look whether the server's sidecar or its pod ended".into()),
            health: Health::Look,
            ..of_client
        };
    }
    match (of_client.origin, of_server.origin) {
        // The client's line points to the server's sidecar, whose own line has more.
        (Origin::Upstream, Origin::Here | Origin::Upstream) => Explanation { asked, ..of_server },
        _ => of_client,
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

/// Over HTTP/2 the client's sidecar sees the whole connection end, not this session.
fn connection_lost(client: &Seen<'_>, server: &Seen<'_>) -> bool {
    client.code == Some(101)
        && client.flags == ["UC"]
        && server.is_http2()
        && server.detail() != "downstream_local_disconnect"
}

/// What the sidecars spoke with each other.
fn hop(server: &Seen<'_>) -> String {
    let protocol = server.text("protocol").unwrap_or("a protocol that the line does not name");
    format!("between the sidecars it was {protocol}")
}

fn labelled(who: &str, seen: &Seen<'_>) -> impl Iterator<Item = String> {
    seen.particulars().into_iter().map(move |particular| format!("at {who}, {particular}"))
}
