//! What a failed connection means and what to do about it, in words: the two parts of an error
//! below its first line. Of a refused handshake it is a status, who sent it and what its body says,
//! in the words of a service mesh.

use std::io::{self, ErrorKind};

use http::StatusCode;
use http::header::{PROXY_AUTHENTICATE, SERVER, WWW_AUTHENTICATE};

use super::connect::{ConnectError, Refusal, UriProblem};
use crate::websocket::opening::client::AnswerError;
use crate::{net, tls};

/// What a failure means, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// Which program or machine refuses, and why.
    pub why: &'static str,
    /// What may help.
    pub advice: &'static str,
}

/// A meaning, in short.
const fn meaning(why: &'static str, advice: &'static str) -> Meaning {
    Meaning { why, advice }
}

impl ConnectError {
    /// What it means.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::Refused(refusal) | Self::ProxyRefused { refusal, .. } => refusal.meaning(),
            Self::Uri(error) => uri(&error.problem),
            Self::Proxy(_) => meaning(
                "--proxy, or a variable of the environment, names a proxy in a form that is not understood",
                "--no-proxy connects directly, --proxy http://HOST:PORT asks another one",
            ),
            Self::Credentials(_) => meaning(
                "TLS cannot begin without the certificates and the key that it is to use",
                "--cacert, --cert and --key name files in PEM",
            ),
            Self::Resolve { .. } => meaning(
                "no name server that was asked knows an address of this host",
                "check the name; in a cluster it is SERVICE.NAMESPACE.svc.cluster.local; --connect-to HOST:PORT dials another",
            ),
            Self::Dial(net::ConnectError::Refused { source, .. }) => dial(source),
            Self::Dial(net::ConnectError::TimedOut { .. }) => NO_ANSWER,
            Self::Unix { source, .. } => unix(source),
            Self::ProxyUnreachable { .. } => meaning(
                "the connection was to go through this proxy, which --proxy or a variable of the environment names",
                "is it running, and is this its port? --no-proxy connects without it",
            ),
            Self::ProxySpoke { .. } => meaning(
                "after it agreed, a proxy is to pass on bytes and to say nothing itself",
                "is it an HTTP proxy? --no-proxy connects without it",
            ),
            Self::Tls(tls::client::ConnectError::Name(_)) => meaning(
                "a certificate is checked against a DNS name or an address",
                "give the name that the server's certificate is for: --servername NAME",
            ),
            Self::Tls(tls::client::ConnectError::Handshake(source)) => tls(source).unwrap_or(meaning(
                "the two sides did not come to terms on TLS",
                "does the port speak TLS? ws:// connects without; client -v tells how far it came",
            )),
            Self::Broken { source, .. } => tls(source).unwrap_or(meaning(
                "who answered ended the connection before it had read, or answered, the request",
                "look at the server's log; a proxy in between may have no server behind it",
            )),
            Self::Closed { .. } => meaning(
                "it took the connection and hung up without a word of HTTP",
                "does the port speak TLS (wss://), or no HTTP at all? Look at the server's log",
            ),
            Self::Head(_) => meaning(
                "what listens there speaks another protocol than HTTP/1.1",
                "check the port; wss:// speaks TLS, --http2 speaks HTTP/2",
            ),
            Self::NotHttp2(_) => meaning(
                "what listens there speaks another protocol than HTTP/2",
                "leave out --http2: the server speaks HTTP/1.1",
            ),
            Self::ConnectNotAllowed(_) => meaning(
                "a server allows extended CONNECT in its SETTINGS before a client may send it (RFC 8441)",
                "leave out --http2, or allow it at the server; Envoy: http2_protocol_options.allow_connect (in Istio by an \
                 EnvoyFilter) and an upgrade_configs entry for websocket",
            ),
            Self::Stream(_) => meaning(
                "the server, or a proxy before it, gave up the request instead of answering it",
                "look at its log; does it take WebSockets over HTTP/2 at all? probe tells, without --http2 it is HTTP/1.1",
            ),
            Self::NotExpressible(_) => meaning(
                "HTTP/2 has a narrower idea of targets and fields than HTTP/1.1",
                "leave out --http2, or the header that it names",
            ),
            Self::Answer(error) => answer(error),
            Self::Redirect { .. } => meaning(
                "a redirect must not take credentials elsewhere, nor lead from TLS to none",
                "connect to that URI itself if you trust it",
            ),
            Self::Redirects(_) => meaning(
                "the servers send the client in a circle, or too far",
                "client -v shows each of them; connect to the last one itself",
            ),
            Self::TimedOut(_) => meaning(
                "the connection may be there, but the handshake was not complete in time",
                "client -v tells how far it came; --open-timeout waits longer",
            ),
        }
    }
}

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

/// The first packet of a TCP connection was not answered.
const NO_ANSWER: Meaning = meaning(
    "packets to that address get lost: no machine has it, or a firewall or NetworkPolicy drops them",
    "check host and port, and that this network reaches it; --open-timeout waits longer",
);

fn uri(problem: &UriProblem) -> Meaning {
    match problem {
        UriProblem::Scheme => meaning(
            "a WebSocket is named by ws://, or by wss:// over TLS",
            "write ws:// where you would write http://, wss:// for https://: ws://HOST:PORT/PATH",
        ),
        UriProblem::Host => {
            meaning("there is nobody to connect to", "put a host after the slashes: ws://HOST:PORT/PATH")
        }
        UriProblem::Fragment => meaning(
            "what follows a # is never sent to a server (RFC 6455 section 3)",
            "leave it out, or write %23 if the # belongs to the path",
        ),
        UriProblem::Password => meaning(
            "Basic authentication needs a name and a password",
            "write ws://NAME:PASSWORD@HOST, or give --user NAME:PASSWORD",
        ),
        UriProblem::Grammar(_) => meaning(
            "a character, or the port, is not what RFC 3986 lets stand there",
            "percent-encode what is special; a port is a number up to 65535",
        ),
    }
}

fn dial(error: &io::Error) -> Meaning {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            meaning("nothing listens there", "is the server running, and is this its port?")
        }
        ErrorKind::TimedOut => NO_ANSWER,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => meaning(
            "this machine knows no way to that address",
            "check the address and the network; a VPN, or IPv6, may be missing",
        ),
        ErrorKind::AddrNotAvailable | ErrorKind::InvalidInput => meaning(
            "this is no address that can be connected to from here",
            "check the address and the port; has this machine run out of ports?",
        ),
        _ => meaning(
            "the system, or the network, did not let the connection come about",
            "check the address, and whether a firewall or a policy forbids it",
        ),
    }
}

fn unix(error: &io::Error) -> Meaning {
    match error.kind() {
        ErrorKind::NotFound => {
            meaning("no socket has this path", "is the server running, and is this its path?")
        }
        ErrorKind::ConnectionRefused => {
            meaning("the socket is there, and nobody listens on it any more", "start the server again")
        }
        ErrorKind::PermissionDenied => meaning(
            "this user may not write to the socket",
            "look at the modes of the socket and its folders",
        ),
        _ => meaning(
            "the system did not let the connection come about",
            "is this the path of a listening socket?",
        ),
    }
}

fn tls(error: &io::Error) -> Option<Meaning> {
    let (why, advice) = tls::client::explain(error)?;
    Some(meaning(why, advice))
}

fn answer(error: &AnswerError) -> Meaning {
    match error {
        AnswerError::Extension(_) => meaning(
            "a server may only agree to extensions that the client offered, in the form in which it did",
            "--no-compression offers none; is the server's implementation at fault?",
        ),
        AnswerError::Subprotocol(_) => meaning(
            "a server may only choose among the subprotocols that the client offered",
            "offer it: --subprotocol NAME",
        ),
        AnswerError::Rejected { .. }
        | AnswerError::Version(_)
        | AnswerError::Missing(_)
        | AnswerError::Invalid { .. } => meaning(
            "the answer agrees to an upgrade, and lacks what proves that it is to WebSocket (RFC 6455 section 4.1)",
            "a proxy in between may have dropped or cached headers; client -v shows the whole answer",
        ),
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::client::WebSocketUri;
    use crate::http1::parse_response;

    #[test]
    fn every_wrong_uri_has_a_reason_and_advice_of_its_own() {
        let mut told = Vec::new();
        for text in ["foo", "ws:///path", "ws://h/#frag", "ws://user@h/", "ws://h:99999/"] {
            let error = text.parse::<WebSocketUri>().unwrap_err();
            let meaning = ConnectError::from(error).meaning();
            assert!(!told.contains(&meaning), "{text}");
            told.push(meaning);
        }
    }

    #[test]
    fn what_the_system_says_of_an_address_is_told_apart() {
        let kinds = [
            ErrorKind::ConnectionRefused,
            ErrorKind::TimedOut,
            ErrorKind::HostUnreachable,
            ErrorKind::AddrNotAvailable,
            ErrorKind::PermissionDenied,
        ];
        let told: std::collections::HashSet<_> = kinds.map(|kind| dial(&kind.into()).why).into();
        assert_eq!(told.len(), kinds.len());
    }

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
