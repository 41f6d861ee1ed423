//! Who ended a stream and how, from code, flags and details together: first the combinations that
//! WebSocket sessions leave in a mesh, then whatever the details mean, then whatever the flags
//! mean.

use std::borrow::Cow;

use super::details::{detail_meaning, reason_meaning};
use super::flags::flag_meaning;
use super::seen::Seen;
use super::{Health, Origin, Proxy};
use Health::{Failed, Look, Normal};
use Origin::{Downstream, Here, Upstream};

/// How long a sidecar keeps a connection that it gives up: Envoy's `delayed_close_timeout`, 1 s by
/// default, and what a busy machine adds.
const DELAYED_CLOSE_MS: std::ops::RangeInclusive<u64> = 900..=1_500;

/// What to do where extended CONNECT is refused.
pub(super) const ALLOW_CONNECT: &str = "set http2_protocol_options.allow_connect: true on the server's sidecar with an \
    EnvoyFilter (context SIDECAR_INBOUND); where h2UpgradePolicy made this hop HTTP/2, DO_NOT_UPGRADE in the DestinationRule \
    helps, too, and where the port did (http2-…, grpc-…), a name that begins with http-";

/// The same, where the line does not show that it was a WebSocket.
const ALLOW_CONNECT_IF: &str = "if it was a WebSocket, set http2_protocol_options.allow_connect: true on the server's \
    sidecar with an EnvoyFilter (context SIDECAR_INBOUND), or h2UpgradePolicy: DO_NOT_UPGRADE in the DestinationRule; else \
    correct the field that the client sends";

/// What to do where a gateway refuses extended CONNECT, which it gets from sidecars and from
/// clients that speak HTTP/2.
const ALLOW_CONNECT_AT_GATEWAY: &str = "if it was a WebSocket, set http2_protocol_options.allow_connect: true on the \
    gateway with an EnvoyFilter (context: GATEWAY), or let who calls the gateway speak HTTP/1.1: h2UpgradePolicy: \
    DO_NOT_UPGRADE in the DestinationRule for it where that is a sidecar";

/// What to look for where a WebSocket was lost at once on a hop that may be HTTP/2.
const ALLOW_CONNECT_LIKELY: &str = "if it was a WebSocket and this hop is HTTP/2 (h2UpgradePolicy: UPGRADE, or a port that \
    is called http2-… or grpc-…), the server's sidecar most likely does not allow extended CONNECT: look there for DPE with \
    http2.invalid.header.field, and set http2_protocol_options.allow_connect: true for it; else look whether the server's \
    sidecar was ending, and at its line of this request";

/// What to look for where a plain request was lost at once.
const CLOSED_ON_REQUEST: &str = "look at the next hop's line of this request, and whether it was ending; a server that closes idle \
    connections may close one as a request comes to it: let it keep them for longer than who calls it, or let the request be tried \
    again";

/// What to do where extended CONNECT is refused by a proxy of which the line does not show whose it
/// is.
const ALLOW_CONNECT_THERE: &str = "if it was a WebSocket, allow extended CONNECT (http2_protocol_options.allow_connect: true) \
    on the proxy that wrote this, with an EnvoyFilter; the line alone does not tell whose it is: the server's has the \
    context SIDECAR_INBOUND, and h2UpgradePolicy: DO_NOT_UPGRADE in the DestinationRule spares it that; the client's, called \
    by an application that itself speaks HTTP/2, has SIDECAR_OUTBOUND; a gateway has GATEWAY";

/// Why a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) origin: Origin,
    pub(super) health: Health,
    pub(super) ended: Cow<'static, str>,
    pub(super) change: Option<Cow<'static, str>>,
}

impl Cause {
    fn new(origin: Origin, health: Health, ended: impl Into<Cow<'static, str>>) -> Self {
        Self { origin, health, ended: ended.into(), change: None }
    }

    fn change(self, change: impl Into<Cow<'static, str>>) -> Self {
        Self { change: Some(change.into()), ..self }
    }
}

pub(super) fn cause(seen: &Seen<'_>) -> Cause {
    if let Some(code) = seen.misread_code() {
        let ended =
            format!("its response_code is {code}, which is no status, so nobody knows what was answered");
        return Cause::new(Here, Look, ended)
            .change("look what wrote this line, or changed it on its way into the log");
    }
    if seen.is_tcp() {
        return connection(seen);
    }
    let known = match seen.code {
        Some(101) => established(seen),
        Some(0) => unanswered(seen),
        _ => answered(seen),
    };
    known.unwrap_or_else(|| by_the_tables(seen))
}

/// A TCP connection, of which there are bytes and flags alone.
fn connection(seen: &Seen<'_>) -> Cause {
    if seen.says_nothing() {
        return Cause::new(
            Here,
            Look,
            "the line says nothing of it: neither a code nor flags nor bytes nor a time",
        )
        .change("look at the log format of the proxy (accessLogFormat), and at what brought the line here");
    }
    if seen.flags.is_empty() && seen.details.is_empty() {
        return Cause::new(Upstream, Normal, "it was carried to its end, and no error was seen");
    }
    if seen.has("UF") {
        return not_connected(seen);
    }
    by_the_tables(seen)
}

/// What is on the other side of this proxy, in words.
fn upstream(seen: &Seen<'_>) -> &'static str {
    match seen.sidecar {
        Proxy::Client => "the server's side",
        Proxy::Server => "the application",
        Proxy::Gateway | Proxy::Waypoint | Proxy::Unknown => "the upstream",
    }
}

/// A session that was answered with 101, by how it ended.
fn established(seen: &Seen<'_>) -> Option<Cause> {
    let upstream = upstream(seen);
    Some(match (seen.detail(), seen.reason()) {
        (
            "upstream_reset_after_response_started",
            "remote_error_with_CONNECT_request" | "connection_termination",
        ) if let Some(silent) = silent_side(seen) => Cause::new(
            Upstream,
            Look,
            format!("{upstream} ended the session, and {silent} had sent nothing, not even a Close frame: there was no closing handshake"),
        )
        .change("look at the application's log of that time: it gave the session up, or its connection was lost"),
        ("upstream_reset_after_response_started", "remote_error_with_CONNECT_request") => Cause::new(
            Upstream,
            Normal,
            format!("{upstream} ended the session first, as a server does after the closing handshake; UR is how that looks over HTTP/2"),
        ),
        ("upstream_reset_after_response_started", "connection_termination") => Cause::new(
            Upstream,
            Normal,
            match seen.sidecar {
                Proxy::Server => "the application closed its connection first, as a server does after the closing \
                                    handshake; UC is how that looks".to_owned(),
                _ => format!("{upstream} closed the connection first, as a server does after the closing handshake; \
                              UC is how that looks over HTTP/1.1 (over HTTP/2 it is a connection to {upstream} that was lost)"),
            },
        ),
        ("upstream_reset_after_response_started", "remote_reset") => Cause::new(
            Upstream,
            Look,
            format!("{upstream} reset the session's stream; a session that is closed properly does not end so"),
        )
        .change("look at the line of the other sidecar: a timeout there, or its end"),
        ("downstream_remote_disconnect", _) => {
            Cause::new(Downstream, Normal, "the client's side closed the connection without waiting for the server's; DC is how that looks")
        }
        ("http2.remote_reset", _) => Cause::new(
            Downstream,
            Normal,
            "the client's side reset the stream, as its sidecar does when the client is gone; DR is how that looks over HTTP/2",
        ),
        ("downstream_local_disconnect", reason) if !reason.starts_with("purging") && reason_meaning(seen.details).is_some() => {
            let why = reason_meaning(seen.details).unwrap_or_default();
            Cause::new(Here, Look, format!("this proxy closed the connection with the session open: {why}"))
                .change("look at that limit of this sidecar, and have clients connect again")
        }
        ("downstream_local_disconnect", _) => {
            Cause::new(Here, Look, "this proxy itself was shut down, or closed the connection, with the session open")
                .change("drain before the pod ends: let terminationDrainDuration, or EXIT_ON_ZERO_ACTIVE_CONNECTIONS, cover the sessions, and have clients connect again")
        }
        ("stream_idle_timeout", _) => {
            Cause::new(Here, Look, "this proxy ended the session: nothing had passed for as long as a stream may be idle")
                .change("send WebSocket pings more often than that, or raise stream_idle_timeout; Istio itself has it off")
        }
        ("via_upstream", _) if seen.flags.is_empty() => over_http2(seen),
        _ => return None,
    })
}

/// The side of which no byte came through. A closing handshake takes a frame of each (RFC 6455
/// section 7.1.2).
fn silent_side(seen: &Seen<'_>) -> Option<&'static str> {
    let sent_nothing = |key| seen.number(key) == Some(0);
    if sent_nothing("bytes_sent") {
        return Some("it");
    }
    sent_nothing("bytes_received").then_some("the client")
}

/// A session that ended as a request does, which is how that of an application that speaks HTTP/2
/// ends.
fn over_http2(seen: &Seen<'_>) -> Cause {
    const PLAIN_200: &str =
        "the application answered the handshake with 200, which becomes 101 on its way over HTTP/2";
    const LET_IT_ANSWER: &str =
        "let the application answer with 101: the path or the port may be that of a plain HTTP handler";
    match seen.number("bytes_received") {
        Some(1..) => Cause::new(
            Upstream,
            Normal,
            "both sides ended the session in order, as over HTTP/2 with an application that speaks it (RFC 8441)",
        ),
        Some(0) => {
            let told = format!("the client was told 101, but no session came of it: {PLAIN_200}");
            Cause::new(Upstream, Failed, told).change(LET_IT_ANSWER)
        }
        None => Cause::new(
            Upstream,
            Look,
            format!(
                "it ended in order, as a session of an application that speaks HTTP/2 does; if nothing had come from the \
                 client, {PLAIN_200}"
            ),
        )
        .change("look at the bytes that came from the client, which this line does not have"),
    }
}

/// A request that nothing was answered to.
fn unanswered(seen: &Seen<'_>) -> Option<Cause> {
    let by_flag =
        if seen.details.is_empty() && seen.flags == ["DC"] { "downstream_remote_disconnect" } else { "" };
    Some(match if by_flag.is_empty() { seen.detail() } else { by_flag } {
        "downstream_remote_disconnect" | "http2.remote_reset" if seen.never_left() => Cause::new(
            Downstream,
            Failed,
            "the client's side gave up; the request never left this proxy: a filter of it held the request, which waited \
             for the rest of a body (a WebSocket has none that ends) or for another service, or no connection was made",
        )
        .change(
            "look at the filters of this proxy: EnvoyFilters that buffer (envoy.filters.http.buffer), ext_authz, rate \
             limits, Lua and Wasm; switch them off for the path of the WebSocket",
        ),
        "downstream_remote_disconnect" | "http2.remote_reset" => Cause::new(
            Downstream,
            Failed,
            "the client's side gave up before there was an answer",
        )
        .change("look why the answer took so long, and at the timeout of the client"),
        "http2.invalid.header.field" if seen.is_http2() && seen.text("method").is_none() => Cause::new(
            Downstream,
            Failed,
            "the request had a header field that is not allowed here, and the connection was given up without an answer; \
             of a WebSocket over HTTP/2 that field is :protocol, because extended CONNECT is not enabled",
        )
        .change(match seen.sidecar {
            Proxy::Server => ALLOW_CONNECT_IF,
            Proxy::Gateway => ALLOW_CONNECT_AT_GATEWAY,
            Proxy::Client | Proxy::Waypoint | Proxy::Unknown => ALLOW_CONNECT_THERE,
        }),
        _ => return None,
    })
}

/// A request that was answered with something else than 101.
fn answered(seen: &Seen<'_>) -> Option<Cause> {
    match seen.detail() {
        "via_upstream" => Some(via_upstream(seen)),
        "upstream_reset_after_response_started" if seen.code >= Some(400) && seen.is_upgrade() => {
            let refusal = via_upstream(seen);
            let ended = format!(
                "{}. It came with the fields of an upgrade (Connection: Upgrade), so a proxy takes what follows for a session, \
                 which the end of the connection ended",
                refusal.ended
            );
            Some(Cause { ended: ended.into(), ..refusal })
        }
        "upstream_reset_before_response_started" => lost_before_response(seen),
        "direct_response" if matches!(seen.code, Some(300..400)) => Some(
            Cause::new(Here, Failed, "the route itself redirects, and few WebSocket clients follow")
                .change("let the client call the place that it is sent to, or take the redirect (of a VirtualService, or httpsRedirect of a Gateway) away for its path"),
        ),
        "direct_response" if seen.code == Some(502) && seen.text("route_name").is_none_or(|name| name == "block_all") => Some(
            Cause::new(Here, Failed, "the mesh knows no such host and lets nothing out (REGISTRY_ONLY), so this proxy answered 502")
                .change("use the Service's name as the authority, or add a ServiceEntry for the host"),
        ),
        _ => None,
    }
}

/// The upstream answered; from 400 up that is a refusal.
fn via_upstream(seen: &Seen<'_>) -> Cause {
    let code = seen.code.unwrap_or_default();
    let upstream = upstream(seen);
    if code < 400 && seen.may_be_upgrade() {
        return answered_otherwise(code, upstream);
    }
    if code < 400 {
        return Cause::new(Upstream, Normal, format!("{upstream} answered {code}"));
    }
    let what = if seen.is_upgrade() { "refused the WebSocket handshake with" } else { "answered" };
    let who = if seen.sidecar == Proxy::Server { "the application itself" } else { upstream };
    let cause = Cause::new(Upstream, Failed, format!("{who} {what} {code}; this proxy only passed that on"));
    if seen.is_no_handshake() {
        return cause.change(match code {
            401 | 403 | 500.. if seen.sidecar != Proxy::Server => {
                "look at the line of the server's sidecar: if its details are not via_upstream it answered by itself"
            }
            404 => "look at the path: the application has nothing there",
            500.. => "look at the application's log",
            _ => "look at what the application says in the body",
        });
    }
    if !seen.is_upgrade() && [400, 404, 405, 426].contains(&code) {
        let change = if code == 404 {
            "look at the path: the application has nothing there; a WebSocket's handshake would have to come as one, and this came \
             as a plain request, without \"Connection: Upgrade\", or with another Upgrade than websocket"
        } else {
            "look at the handshake, if it was one: it came as a plain request, so \"Connection: Upgrade\" was missing, or Upgrade was \
             not websocket"
        };
        return cause.change(change);
    }
    cause.change(match code {
        400 => {
            "look at the handshake that the application saw: Sec-WebSocket-Key missing or not 16 bytes in base64, mostly"
        }
        401 | 403 if seen.sidecar != Proxy::Server => {
            "look at the line of the server's sidecar: if its details are not via_upstream it refused by itself, as for an \
             AuthorizationPolicy; if they are, look at what the application demands: credentials, or an Origin that it knows"
        }
        401 | 403 => "look at what the application demands: credentials, or an Origin that it knows",
        404 => "look at the path: the application has no WebSocket there",
        405 => "send the handshake as GET",
        426 => "look at the version of the protocol that the application takes (Sec-WebSocket-Version: 13)",
        500.. if seen.sidecar != Proxy::Server => {
            "look at the line of the server's sidecar: if it has flags it failed there, if not the application answered so"
        }
        500.. => "look at the application's log",
        _ => "look at what the application says in the body",
    })
}

/// A request that was answered neither with 101 nor with an error, and may have been a handshake.
fn answered_otherwise(code: u64, upstream: &str) -> Cause {
    let ended = format!(
        "{upstream} answered {code}; if this was a WebSocket's handshake, as it may be without an upstream service time, it failed: \
         that is not 101, and there was no session"
    );
    let change = match code {
        300..400 => {
            "if it was, let the client call the place that it was redirected to (location): few WebSocket clients follow, and browsers do not"
        }
        _ => {
            "if it was, look at the path and the port: a plain HTTP handler answers there, or what is between took Upgrade and Connection away"
        }
    };
    Cause::new(Upstream, Look, ended).change(change)
}

/// The upstream was lost, or never there, before a response.
fn lost_before_response(seen: &Seen<'_>) -> Option<Cause> {
    let upstream = upstream(seen);
    let reason = seen.reason();
    if reason.starts_with("remote_connection_failure")
        || reason.starts_with("local_connection_failure")
        || reason.starts_with("connection_failure")
        || reason.starts_with("connection_timeout")
    {
        return Some(not_connected(seen));
    }
    Some(match reason {
        "connection_termination" if seen.sidecar != Proxy::Server && seen.is_no_handshake() => {
            Cause::new(Upstream, Failed, format!("{upstream} closed the connection without an answer")).change(CLOSED_ON_REQUEST)
        }
        "connection_termination" if seen.sidecar == Proxy::Server => Cause::new(
            Upstream,
            Failed,
            "the application took the request and closed the connection without an answer",
        )
        .change("look at the application's log: it crashed, did not like the handshake, or speaks another protocol on this port"),
        "connection_termination" if seen.duration.is_some_and(|ms| DELAYED_CLOSE_MS.contains(&ms)) => Cause::new(
            Upstream,
            Failed,
            format!("{upstream} closed the connection after about a second without an answer, as a sidecar does that does not allow extended CONNECT; its own line then says DPE"),
        )
        .change(ALLOW_CONNECT),
        "connection_termination" => {
            Cause::new(Upstream, Failed, format!("{upstream} closed the connection without an answer"))
                .change(ALLOW_CONNECT_LIKELY)
        }
        "overflow" => overflow(),
        "protocol_error" => Cause::new(
            Upstream,
            Failed,
            match seen.sidecar {
                Proxy::Server => "the application answered with what is not valid HTTP".to_owned(),
                _ => format!(
                    "{upstream} broke the protocol, or said that it was broken: with a stream over HTTP/2 that is reset with \
                     PROTOCOL_ERROR, as by a peer that does not know extended CONNECT, or with what is not valid HTTP"
                ),
            },
        )
        .change(match seen.sidecar {
            Proxy::Server => "look what the application speaks on this port",
            _ if seen.is_no_handshake() => "look what it speaks on this port",
            _ => "if it was a WebSocket, set h2UpgradePolicy: DO_NOT_UPGRADE for this host; else look what it speaks on this port",
        }),
        "remote_refused_stream_reset" => {
            let attempts = if seen.has("URX") { ", at every attempt" } else { "" };
            Cause::new(Upstream, Failed, format!("{upstream} refused the stream{attempts}"))
                .change("look at the number of streams that it takes at once, and whether it was ending")
        }
        _ => return None,
    })
}

/// A circuit breaker of this proxy's cluster (`UO`).
fn overflow() -> Cause {
    Cause::new(
        Here,
        Failed,
        "a circuit breaker of this proxy refused it: as many connections or requests as the DestinationRule allows were open, \
         and each open session is one of them; nothing was sent on",
    )
    .change(
        "raise connectionPool.tcp.maxConnections, http.http1MaxPendingRequests or http.http2MaxRequests in the \
         DestinationRule, or add pods",
    )
}

fn not_connected(seen: &Seen<'_>) -> Cause {
    let reason = seen.reason();
    let host = seen.text("upstream_host").map(|host| format!(" at {host}")).unwrap_or_default();
    let attempts = if seen.has("URX") { ", at every attempt" } else { "" };
    if reason.contains("TLS") || reason.contains("CERTIFICATE") {
        return Cause::new(Upstream, Failed, format!("the TLS handshake with the upstream{host} failed{attempts}"))
            .change("let both sides agree on mTLS: the PeerAuthentication of the server and the tls mode of the DestinationRule");
    }
    let how = if reason.contains("refused") { "no one listens" } else { "no connection could be made" };
    match seen.sidecar {
        Proxy::Server => Cause::new(
            Upstream,
            Failed,
            format!("the application is not listening: no connection to it{host} could be made{attempts}"),
        )
        .change("start the application, or correct the Service's targetPort; it must listen on the pod's address, not only on 127.0.0.1"),
        Proxy::Client if seen.text("upstream_cluster") == Some("PassthroughCluster") => {
            Cause::new(Upstream, Failed, format!("{how}{host}, a host that the mesh does not know{attempts}"))
                .change("look at the address; no sidecar of the mesh is before it")
        }
        _ => {
            let next = if seen.sidecar == Proxy::Unknown { "the upstream" } else { "the server's sidecar" };
            Cause::new(Upstream, Failed, format!("{next} was not reached: {how}{host}{attempts}"))
                .change("look whether the server's pod runs and is ready, and whether it was being drained")
        }
    }
}

/// Whatever the details mean, else the flags, else the code.
fn by_the_tables(seen: &Seen<'_>) -> Cause {
    let health = if seen.code == Some(101) { Look } else { Failed };
    if let Some(detail) = detail_meaning(seen.details).filter(|detail| detail.name != "via_upstream") {
        let ended = match reason_meaning(seen.details) {
            Some(reason) => format!("{}: {reason}", detail.meaning),
            None => detail.meaning.to_owned(),
        };
        let cause = Cause::new(detail.origin, health, ended);
        let change = if detail.change.is_empty() { advice(seen) } else { detail.change };
        return if change.is_empty() { cause } else { cause.change(change) };
    }
    if !seen.flags.is_empty() {
        return by_the_flags(seen);
    }
    match seen.code {
        Some(101) => Cause::new(Upstream, Normal, "a session was established and ended"),
        Some(code @ 1..400) => Cause::new(Upstream, Normal, format!("answered {code}")),
        Some(0) => Cause::new(Here, Failed, "nothing was answered"),
        Some(code) => Cause::new(Here, Failed, format!("answered {code}")),
        None => Cause::new(Here, Look, "the line has neither code nor flags nor details"),
    }
}

/// A line without details, of a log format that leaves them out.
fn by_the_flags(seen: &Seen<'_>) -> Cause {
    if seen.code == Some(503) && seen.flags == ["UC"] && seen.sidecar != Proxy::Server {
        let ended = format!("{} closed the connection without an answer", upstream(seen));
        let change = if seen.is_no_handshake() { CLOSED_ON_REQUEST } else { ALLOW_CONNECT_LIKELY };
        return Cause::new(Upstream, Failed, ended).change(change);
    }
    if seen.has("UF") {
        return not_connected(seen);
    }
    if seen.has("UO") {
        return overflow();
    }
    let meaning = |flag: &&str| match flag_meaning(flag) {
        Some(known) => known.meaning.to_owned(),
        None => format!("{flag}, a flag that Envoy does not document"),
    };
    let meanings = seen.flags.iter().map(meaning).collect::<Vec<_>>().join("; ");
    let closed = seen.code == Some(101) && ["UC", "UR", "DC", "DR"].iter().any(|flag| seen.flags == [*flag]);
    let origin = match seen.flags.first().copied() {
        Some("DC" | "DR" | "DPE" | "IH") => Downstream,
        Some("UC" | "UR" | "UF" | "UT" | "UPE" | "URX" | "DF") => Upstream,
        _ => Here,
    };
    let health = match seen.code {
        Some(101) if closed => Normal,
        Some(101) => Look,
        Some(1..400) => Normal,
        _ => Failed,
    };
    let cause = Cause::new(origin, health, meanings);
    match advice(seen) {
        change if health != Normal && !change.is_empty() => cause.change(change),
        _ => cause,
    }
}

/// What the flags say is to be done, of a request that failed. URX says that it was tried again,
/// and the others why.
fn advice(seen: &Seen<'_>) -> &'static str {
    let known = seen.flags.iter().filter_map(|flag| flag_meaning(flag));
    known.max_by_key(|flag| (!flag.change.is_empty(), flag.short != "URX")).map_or("", |flag| flag.change)
}
