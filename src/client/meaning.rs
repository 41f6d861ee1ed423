//! What a failed connection means and what to do about it, in words: the two parts of an error below its first line. What
//! a refused handshake means is in [`refusal`](super::refusal).

use std::io::{self, ErrorKind};

use super::connect::{ConnectError, UriProblem};
use crate::websocket::opening::client::AnswerError;
use crate::{net, tls};

/// What a failure means, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// Who says no, and why.
    pub why: &'static str,
    /// What may help.
    pub advice: &'static str,
}

/// A meaning, in short.
pub(super) const fn meaning(why: &'static str, advice: &'static str) -> Meaning {
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

/// Nobody answered a TCP connection's first packet.
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
    use super::*;
    use crate::client::WebSocketUri;

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
}
