//! What both sidecars wrote of one session, taken together: the line nearer to the cause has the word, and what
//! only the two of them show is said.

use super::cause::ALLOW_CONNECT;
use super::seen::Seen;
use super::{Explanation, Health, Origin, Sidecar, explain};
use crate::access_log::ParsedLine;

/// Explains a session by the lines of the client's and of the server's sidecar.
#[must_use]
pub fn explain_session(client: &ParsedLine, server: &ParsedLine) -> Explanation {
    let (at_client, at_server) = (Seen::of(client), Seen::of(server));
    let (of_client, of_server) = (explain(client), explain(server));
    let asked = of_client.asked.clone();
    let mut particulars = vec![hop(&at_server)];
    particulars.extend(labelled("the client's sidecar", &of_client));
    particulars.extend(labelled("the server's sidecar", &of_server));
    let whole = |root: &Explanation| Explanation { asked, particulars, ..root.clone() };

    if at_server.details == "http2.invalid.header.field" && at_server.text("method").is_none() {
        let root = Explanation {
            sidecar: Sidecar::Server,
            ended: "the server's sidecar does not allow extended CONNECT, gave the connection up without an answer, and \
                    the client's sidecar made a 503 of it"
                .to_owned(),
            change: Some(ALLOW_CONNECT.to_owned()),
            health: Health::Failed,
            ..of_server
        };
        return whole(&root);
    }
    if connection_lost(&at_client, &at_server) {
        let root = Explanation {
            ended: "the connection between the sidecars was lost with the session open; over HTTP/2 a proper end shows UR at \
                    the client's sidecar, not UC"
                .to_owned(),
            change: Some("look whether the server's sidecar or its pod ended".to_owned()),
            health: Health::Look,
            ..of_client
        };
        return whole(&root);
    }
    let root = match (of_client.origin, of_server.origin) {
        // The client's sidecar points to the server's, and that one knows more.
        (Origin::Upstream, Origin::Here | Origin::Upstream) => &of_server,
        _ => &of_client,
    };
    whole(root)
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

fn labelled(who: &str, explanation: &Explanation) -> Vec<String> {
    explanation.particulars.iter().map(|particular| format!("at {who}, {particular}")).collect()
}
