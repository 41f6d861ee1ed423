//! What a refused handshake means: a status, who sent it and what its body says, in the words of a service mesh.

use http::StatusCode;
use http::header::{PROXY_AUTHENTICATE, SERVER, WWW_AUTHENTICATE};

use super::connect::Refusal;
use super::meaning::{Meaning, meaning};

impl Refusal {
    /// What it means.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        let fields = &self.head.fields;
        // Istio's sidecars call themselves istio-envoy.
        let server = fields.get(&SERVER).map_or(&b""[..], |value| value.as_bytes());
        let envoy = server.ends_with(b"envoy");
        let body = String::from_utf8_lossy(&self.body);
        let says = |part: &str| body.contains(part);
        match self.head.status {
            status if status.is_success() => meaning(
                "it answered as to a plain page: nothing there speaks WebSocket at this path",
                "check the path; a proxy in between may have dropped the Upgrade header",
            ),
            StatusCode::BAD_REQUEST => meaning(
                "it does not take this for a valid opening handshake",
                "a proxy may have dropped or changed a header; behind HTTP/2, Sec-WebSocket-Key may be missing: --send-key",
            ),
            StatusCode::UNAUTHORIZED if fields.contains(&WWW_AUTHENTICATE) => meaning(
                "it wants to know who asks",
                "give --user NAME:PASSWORD, or -H 'Authorization: Bearer TOKEN'",
            ),
            StatusCode::UNAUTHORIZED => meaning(
                "it wants to know who asks",
                "give a token it accepts: -H 'Authorization: Bearer TOKEN'",
            ),
            StatusCode::FORBIDDEN if says("RBAC: access denied") => meaning(
                "an Istio AuthorizationPolicy denies this client",
                "look at the AuthorizationPolicies of the server's namespace and at the client's identity",
            ),
            StatusCode::FORBIDDEN if envoy && self.body.is_empty() => meaning(
                "Envoy knows the route and does not allow the upgrade",
                "enable it: upgrade_configs with upgrade_type websocket on the connection manager or the route",
            ),
            StatusCode::FORBIDDEN => meaning(
                "it does not let this client in",
                "it may check the Origin header (--origin) or credentials (--user, -H)",
            ),
            StatusCode::NOT_FOUND if envoy && self.body.is_empty() => meaning(
                "Envoy has no route for this host and path",
                "check host, port and path against the Service or VirtualService; -H 'Host: NAME' asks for another host",
            ),
            StatusCode::NOT_FOUND => meaning("nothing is at this path", "check the path of the URI"),
            StatusCode::METHOD_NOT_ALLOWED => meaning(
                "nothing at this path takes a GET, which every handshake is",
                "check the path of the URI",
            ),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED if fields.contains(&PROXY_AUTHENTICATE) || !envoy => {
                meaning(
                    "the proxy wants to know who asks",
                    "put name and password into the proxy's URL: --proxy http://NAME:PASSWORD@HOST:PORT",
                )
            }
            StatusCode::TOO_MANY_REQUESTS => meaning(
                "it, or a rate limit before it, takes no more from this client for now",
                "try again later; in a mesh, look at the EnvoyFilters that limit the rate",
            ),
            StatusCode::UPGRADE_REQUIRED => meaning(
                "it did not see a WebSocket handshake of a version that it knows",
                "a proxy in between speaks HTTP/1.0 or drops the Upgrade header",
            ),
            StatusCode::INTERNAL_SERVER_ERROR => {
                meaning("the application failed while it answered", "look at the server's log")
            }
            StatusCode::BAD_GATEWAY if envoy || says("protocol error") => meaning(
                "the proxy's upstream broke the protocol",
                "does the upstream speak the version of HTTP that the proxy speaks to it (h2UpgradePolicy, port name)?",
            ),
            StatusCode::BAD_GATEWAY => meaning(
                "a proxy cannot talk to the server behind it",
                "look at the proxy's log, and whether the server runs",
            ),
            StatusCode::SERVICE_UNAVAILABLE if says("no healthy upstream") => meaning(
                "the proxy has no healthy endpoint to send this to",
                "are the server's pods ready, and does the Service select them?",
            ),
            StatusCode::SERVICE_UNAVAILABLE if says("upstream connect error") => meaning(
                "the proxy reached no upstream, or lost it before it answered",
                "is the server running on the port that the Service names? Over HTTP/2 between sidecars, a server's sidecar \
                 without allow_connect drops the connection: see the access logs, or set h2UpgradePolicy: DO_NOT_UPGRADE",
            ),
            StatusCode::SERVICE_UNAVAILABLE => meaning(
                "the server, or a proxy before it, cannot take this now",
                "try again; look at the server's log",
            ),
            StatusCode::GATEWAY_TIMEOUT => meaning(
                "a proxy waited in vain for the server",
                "does the server answer at all? A route's timeout counts until the handshake is answered",
            ),
            status if status.is_redirection() => {
                meaning("it sends elsewhere", "connect to the URI that its Location header names")
            }
            status if status.is_server_error() => {
                meaning("the server, or a proxy before it, failed", "look at its log, and at the proxy's")
            }
            status if status.is_client_error() => meaning(
                "it refuses this client or this request, for a reason of its own",
                "its log, and the body if there is one, may say why; client -v shows what was asked",
            ),
            _ => meaning(
                "no handshake is answered with this status",
                "what listens there may not be a WebSocket server: check host, port and path",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::http1::parse_response;

    fn why(status: u16, fields: &str, body: &'static str) -> &'static str {
        let head = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
        let head = parse_response(&mut BytesMut::from(head.as_str())).unwrap().unwrap();
        Refusal { head, body: Bytes::from_static(body.as_bytes()) }.meaning().why
    }

    #[test]
    fn envoys_refusals_are_told_from_an_applications() {
        for (status, fields, body, part) in [
            (
                503,
                "server: envoy\r\n",
                "upstream connect error or disconnect/reset before headers",
                "reached no upstream",
            ),
            (503, "server: istio-envoy\r\n", "no healthy upstream", "no healthy endpoint"),
            (503, "", "later", "cannot take this now"),
            (404, "server: envoy\r\n", "", "no route"),
            (404, "server: Python\r\n", "nope\n", "nothing is at this path"),
            (403, "server: istio-envoy\r\n", "", "does not allow the upgrade"),
            (403, "server: istio-envoy\r\n", "RBAC: access denied", "AuthorizationPolicy"),
            (403, "", "no", "does not let this client in"),
        ] {
            let found = why(status, fields, body);
            assert!(found.contains(part), "{status} {fields:?} {body:?}: {found}");
        }
    }

    #[test]
    fn a_status_without_a_meaning_of_its_own_has_that_of_its_class() {
        for (status, part) in [
            (204, "a plain page"),
            (308, "elsewhere"),
            (418, "a reason of its own"),
            (507, "failed"),
            (199, "no handshake"),
            (999, "no handshake"),
        ] {
            assert!(why(status, "", "").contains(part), "{status}: {}", why(status, "", ""));
        }
    }
}
