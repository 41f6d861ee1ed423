//! `/info`: what the server saw of a request, as JSON, and where it runs. What proxies made of the
//! request shows here.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::Version;
use serde::Serialize;

use super::config::PodIdentity;
use crate::escape::to_json_pretty;
use crate::http1::RequestHead;
use crate::tls::server::ServerFacts;

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<ServerFacts>,
}

#[derive(Debug, Serialize)]
struct Info<'a> {
    method: &'a str,
    target: &'a str,
    version: String,
    /// Fields that came more than once are one list, as RFC 9110 section 5.3 has it.
    headers: BTreeMap<&'a str, String>,
    peer: SocketAddr,
    tls: Option<&'a ServerFacts>,
    pod: &'a PodIdentity,
}

/// The text of `/info`.
pub(super) fn render(head: &RequestHead, peer: &Peer, pod: &PodIdentity) -> String {
    let mut headers = BTreeMap::<&str, String>::new();
    for (name, value) in head.fields.iter() {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str())
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    let info = Info {
        method: head.method.as_str(),
        target: head.target_str(),
        version: match head.version {
            Version::HTTP_2 => "HTTP/2".to_owned(),
            version => format!("{version:?}"),
        },
        headers,
        peer: peer.address,
        tls: peer.tls.as_ref(),
        pod,
    };
    let mut text = to_json_pretty(&info).unwrap_or_else(|_| unreachable!("its keys are text"));
    text.push('\n');
    text
}
