//! What an explanation needs to know of a line, read once.

use super::Proxy;
use super::details::{detail_meaning, reason_meaning};
use super::flags::flag_meaning;
use crate::access_log::{Field, ParsedLine};

/// What a status can be: 0 is that there was none (RFC 9110 section 15 has three digits).
const CODES: std::ops::RangeInclusive<u64> = 0..=999;

/// What the names of the files of web pages end with, in lower case.
const OF_PAGES: [&str; 17] = [
    "css", "gif", "htm", "html", "ico", "jpeg", "jpg", "js", "map", "mjs", "png", "svg", "ttf", "txt",
    "webp", "woff", "woff2",
];

/// The line, by the fields that tell how it ended.
#[derive(Debug)]
pub(super) struct Seen<'line> {
    line: &'line ParsedLine,
    pub(super) sidecar: Proxy,
    pub(super) code: Option<u64>,
    /// Short names, `-` left out.
    pub(super) flags: Vec<&'line str>,
    /// Empty if the line has none.
    pub(super) details: &'line str,
    pub(super) duration: Option<u64>,
}

impl<'line> Seen<'line> {
    pub(super) fn of(line: &'line ParsedLine) -> Self {
        let flags = line.text_of("response_flags").unwrap_or_default().split(',');
        let flags = flags.map(str::trim).filter(|flag| !flag.is_empty() && *flag != "-");
        let details = line.text_of("response_code_details").unwrap_or_default();
        Self {
            line,
            sidecar: proxy(line),
            code: line.number_of("response_code").filter(|code| CODES.contains(code)),
            flags: flags.map(|flag| flag_meaning(flag).map_or(flag, |known| known.short)).collect(),
            details,
            duration: line.number_of("duration"),
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&'line str> {
        self.line.text_of(key)
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.line.number_of(key)
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// The details without what follows them in braces or parentheses.
    pub(super) fn detail(&self) -> &'line str {
        self.details.split(['{', '(', '[']).next().unwrap_or_default()
    }

    /// The words in braces or parentheses.
    pub(super) fn reason(&self) -> &'line str {
        let inner = self.details.split_once(['{', '(', '[']).map_or("", |(_, inner)| inner);
        inner.trim_end_matches(['}', ')', ']'])
    }

    /// Whether the hop that this proxy was spoken to over is HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.text("protocol") == Some("HTTP/2")
    }

    /// Whether this was a request to upgrade: it was taken as one, or refused as one. That it came
    /// without an upstream service time shows it only where it was refused ([`Self::may_be_upgrade`]).
    pub(super) fn is_upgrade(&self) -> bool {
        self.code == Some(101)
            || ["upgrade_failed", "websocket_handshake_unsuccessful"].contains(&self.detail())
            || (self.code >= Some(400) && self.may_be_upgrade())
    }

    /// Whether this may have been a request to upgrade. An answered plain request mostly has an
    /// upstream service time (not where Envoy's own fields are suppressed), an upgrade request, which
    /// does not end before its answer, never has one.
    pub(super) fn may_be_upgrade(&self) -> bool {
        ["via_upstream", "upstream_reset_after_response_started"].contains(&self.detail())
            && self.line.field("upstream_service_time") == Field::Null
            && !self.is_no_handshake()
    }

    /// Whether a request cannot have been the handshake of a WebSocket, which is a GET (RFC 6455
    /// section 4.1; Envoy logs an extended CONNECT as one, too) and not for a file of a web page.
    pub(super) fn is_no_handshake(&self) -> bool {
        let path = self.text("path").unwrap_or_default();
        let file = path.split(['?', '#']).next().and_then(|path| path.rsplit('/').next());
        let ending =
            file.and_then(|file| file.rsplit_once('.')).map(|(_, ending)| ending.to_ascii_lowercase());
        self.code != Some(101)
            && (self.text("method").is_some_and(|method| !["GET", "CONNECT"].contains(&method))
                || ending.is_some_and(|ending| OF_PAGES.contains(&&*ending)))
    }

    /// What the line has where its status should be, if that is none.
    pub(super) fn misread_code(&self) -> Option<Field<'line>> {
        let written =
            || Some(self.line.field("response_code")).filter(|it| !matches!(it, Field::Absent | Field::Null));
        self.code.is_none().then(written)?
    }

    /// What the line has where other numbers should be, with their keys.
    fn misread(&self) -> impl Iterator<Item = (&'static str, Field<'line>)> {
        let keys = ["duration", "bytes_received", "bytes_sent"].into_iter();
        let written = keys.map(|key| (key, self.line.field(key)));
        written.filter(|(key, field)| {
            !matches!(field, Field::Absent | Field::Null) && self.number(key).is_none()
        })
    }

    /// Whether no host had been chosen for the request: the line says so, and is not of a format
    /// without the host.
    pub(super) fn never_left(&self) -> bool {
        self.line.field("upstream_host") == Field::Null
    }

    /// Whether a line says nothing of how a stream went: neither bytes nor a time nor a host.
    pub(super) fn says_nothing(&self) -> bool {
        let keys = ["bytes_received", "bytes_sent", "duration"];
        self.flags.is_empty()
            && self.details.is_empty()
            && self.text("upstream_host").is_none()
            && keys.iter().all(|key| self.number(key).is_none())
    }

    /// Whether this is a connection of which the proxy saw bytes alone (`tcp_proxy`): no method, no
    /// protocol, no code.
    pub(super) fn is_tcp(&self) -> bool {
        let none = |key| matches!(self.line.field(key), Field::Null);
        let has = |key| self.line.field(key) != Field::Absent;
        // Kuma has a format of its own for TCP, without any of these.
        let of_kuma = has("KUMA_MESH") && !has("method") && !has("response_code");
        of_kuma || none("method") && none("protocol") && none("path") && matches!(self.code, Some(0) | None)
    }

    /// What was asked for.
    pub(super) fn asked(&self) -> String {
        if self.is_tcp() {
            let to = self.text("upstream_host").or(self.text("downstream_local_address"));
            return format!("a TCP connection{}", to.map(|host| format!(" to {host}")).unwrap_or_default());
        }
        let Some(method) = self.text("method") else {
            let over = self.text("protocol").map(|protocol| format!(" over {protocol}")).unwrap_or_default();
            // A line without the key does not show whether its format has it.
            let unread = ["method", "path"].iter().all(|key| self.line.field(key) == Field::Null);
            return match self.code {
                _ if unread => format!("a request{over} that it could not read"),
                Some(101) => format!("a WebSocket{over}"),
                _ => format!("a request{over}"),
            };
        };
        let kind = if self.is_upgrade() { "WebSocket " } else { "" };
        let path = self.text("path").map(|path| format!(" {path}")).unwrap_or_default();
        let host = self.text("authority").map(|host| format!(" at {host}")).unwrap_or_default();
        format!("{kind}{method}{path}{host}")
    }

    /// Flags, details and counts in words.
    pub(super) fn particulars(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (key, value) in self.misread() {
            all.push(format!("its {key} is {value} and no whole number: it was not read"));
        }
        for flag in &self.flags {
            let meaning = flag_meaning(flag).map_or("a flag that Envoy does not document", |it| it.meaning);
            all.push(format!("{flag} says: {meaning}"));
        }
        if let Some(detail) = detail_meaning(self.details) {
            let reason =
                reason_meaning(self.details).map(|reason| format!(", as {reason}")).unwrap_or_default();
            all.push(format!("the details {} say: {}{reason}", self.details, detail.meaning));
        } else if !self.details.is_empty() {
            all.push(format!("the details {} are not in Envoy's list", self.details));
        }
        if let (Some(received), Some(sent)) = (self.number("bytes_received"), self.number("bytes_sent")) {
            let lasted = self.duration.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
            all.push(format!("{received} bytes came from the client's side and {sent} went to it{lasted}"));
        }
        if let Some(host) = self.text("upstream_host") {
            all.push(format!("it had been sent on to {host}"));
        }
        if self.is_tcp() {
            all.push(
                "the port is TCP to the mesh, which sees no HTTP in it: a WebSocket passes as bytes, and no rule for HTTP, \
                 h2UpgradePolicy either, applies to it"
                    .to_owned(),
            );
        }
        if self.text("protocol") == Some("HTTP/1.0") {
            all.push("it came over HTTP/1.0, which has no upgrades; nginx speaks it unless proxy_http_version says 1.1".to_owned());
        }
        if let Some(reason) = self.text("upstream_transport_failure_reason") {
            all.push(format!("the transport failed with {reason}"));
        }
        all
    }
}

/// Which proxy wrote a line: Istio's names of clusters and routes say it, so does the address that
/// an inbound sidecar always calls the application from, also where it is masked, and for a gateway
/// that it was called at the address of its pod by another pod, where a sidecar is called by its
/// own pod at the address of a Service.
pub(super) fn proxy(line: &ParsedLine) -> Proxy {
    let text = |key| line.text_of(key).unwrap_or_default();
    let (cluster, server_name) = (text("upstream_cluster"), text("requested_server_name"));
    let named = |prefixes: &[&str]| prefixes.iter().any(|prefix| cluster.starts_with(prefix));
    if named(&["inbound-vip|"]) || text("upstream_host").starts_with("envoy://") {
        return Proxy::Waypoint;
    }
    if named(&["inbound|", "inbound-", "InboundPassthrough"])
        || ["127.0.0.6:", "127.0.**.**:"].iter().any(|own| text("upstream_local_address").starts_with(own))
    {
        return Proxy::Server;
    }
    // What Envoy Gateway and Contour call the clusters of a route; a sidecar of theirs there is
    // not.
    if named(&["httproute/", "grpcroute/", "tlsroute/", "tcproute/"]) {
        return Proxy::Gateway;
    }
    if let Some(host) = server_name.strip_prefix("outbound_.") {
        // The Service by whose name it was called, `outbound_.80_._.HOST`.
        let service = host.rsplit("_.").next().unwrap_or(host).split('.').next().unwrap_or_default();
        return if service.contains("gateway") { Proxy::Gateway } else { Proxy::Server };
    }
    if named(&["outbound|", "PassthroughCluster", "BlackHoleCluster"]) {
        let ip = |key| text(key).rsplit_once(':').map(|(ip, _)| ip).filter(|ip| !ip.is_empty());
        let (own, called, peer) =
            (ip("upstream_local_address"), ip("downstream_local_address"), ip("downstream_remote_address"));
        let by_another = own.is_some() && own == called && peer.is_some() && peer != own;
        return if by_another { Proxy::Gateway } else { Proxy::Client };
    }
    if ["block_all", "allow_any"].contains(&text("route_name")) { Proxy::Client } else { Proxy::Unknown }
}
