//! What to do about what a probe found: a sentence for each thing that a user would want to change,
//! none where all is well.

use super::report::{Attempt, AttemptOutcome, Report, Timings, Way};
use crate::client::ConnectConfig;
use crate::websocket::close_code::NORMAL;

/// A phase that takes longer is told of: somebody who waits for it notices.
const SLOW_MS: f64 = 500.0;

/// The sentences, the most important ones first.
pub(super) fn advice(report: &Report, config: &ConnectConfig) -> Vec<String> {
    let mut advice = Vec::new();
    let mut add = |sentence: String| {
        if !advice.contains(&sentence) {
            advice.push(sentence);
        }
    };
    ways(report).into_iter().for_each(&mut add);
    for attempt in report.attempts.iter().filter(|attempt| attempt.outcome == AttemptOutcome::Opened) {
        session(attempt, config).into_iter().for_each(&mut add);
    }
    for attempt in &report.attempts {
        slow_phases(&attempt.timings).into_iter().for_each(&mut add);
    }
    advice
}

/// What an HTTP/2 server without extended CONNECT is told.
const ALLOW: &str = "for WebSocket over HTTP/2 the server has to allow extended CONNECT; Envoy: \
    http2_protocol_options.allow_connect (in Istio by an EnvoyFilter) and an upgrade_configs entry for websocket";

/// About the ways that do not work.
fn ways(report: &Report) -> Vec<String> {
    let outcome = |way| report.attempt(way).map(|attempt| attempt.outcome);
    let about = |way| match outcome(way)? {
        AttemptOutcome::NotAllowed => Some(ALLOW.to_owned()),
        // A server need not speak HTTP/2.
        AttemptOutcome::Failed if way != Way::Http1Upgrade => None,
        _ => report.attempt(way)?.advice.clone(),
    };
    let sentences = match Way::ALL.map(|way| outcome(way) == Some(AttemptOutcome::Opened)) {
        [true, true, _] => [None, None],
        [true, false, true] => {
            let key = "over HTTP/2 send a key (client --http2 --send-key); browsers send none: for them the proxy has to add \
                       one, or the server to speak HTTP/2 itself";
            [Some(key.to_owned()), None]
        }
        [true, false, false] => {
            let stay = "proxies in front have to stay on HTTP/1.1; in Istio: h2UpgradePolicy: DO_NOT_UPGRADE in a \
                        DestinationRule for this host";
            [about(Way::Http2Connect), Some(stay.to_owned())]
        }
        [false, true, _] | [false, false, true] => {
            let http2 =
                "open it over HTTP/2 (client --http2); whoever only knows the upgrade of HTTP/1.1 cannot";
            [about(Way::Http1Upgrade), Some(http2.to_owned())]
        }
        [false, false, false] => [about(Way::Http1Upgrade), about(Way::Http2Connect)],
    };
    sentences.into_iter().flatten().collect()
}

/// About a WebSocket that was opened.
fn session(attempt: &Attempt, config: &ConnectConfig) -> Vec<String> {
    let mut advice = Vec::new();
    let mut add = |holds: bool, sentence: &str| {
        if holds {
            advice.push(sentence.to_owned());
        }
    };
    let agreed = attempt.permessage_deflate.as_ref().is_some_and(|compression| compression.agreed);
    add(
        config.compression && !agreed,
        "messages go uncompressed: the server, or a proxy before it, declined permessage-deflate; enable it there if they are \
         large and alike",
    );
    add(
        !config.subprotocols.is_empty() && attempt.subprotocol.is_none(),
        "the server chose none of the subprotocols that were offered: browsers then close the connection; ask for one that it knows",
    );
    let close = attempt.close.as_ref();
    if let Some(close) = close.filter(|close| close.unasked) {
        let how = close.code.map_or("without a Close".to_owned(), |code| format!("with {code}"));
        add(
            true,
            &format!(
                "the server ends a session that has just begun, {how}: look at its log; it may want a subprotocol, \
                 credentials (--user, -H) or another path"
            ),
        );
        return advice;
    }
    add(
        attempt.ping_ms.is_none(),
        "no pong came: clients that send pings to see whether the server is there will close with 1011; if the server cannot \
         answer them, turn pings off (client --ping-interval none)",
    );
    add(
        close.is_some_and(|close| close.code.is_none()),
        "the server answers no Close: each session ends with 1006 at its client, and clients wait in vain; it has to send a \
         Close frame back (RFC 6455 section 5.5.1)",
    );
    if let Some(code) = close.and_then(|close| close.code).filter(|code| *code != NORMAL) {
        add(
            true,
            &format!(
                "a Close with 1000 is answered with {code}: a client cannot tell its own end from an error"
            ),
        );
    }
    add(
        close.is_some_and(|close| close.code.is_some() && !close.ended_by_server),
        "the server leaves the connection open after the Close, and clients wait for its end: that is the server's part \
         (RFC 6455 section 7.1.1)",
    );
    advice
}

/// About what took long.
fn slow_phases(timings: &Timings) -> Vec<String> {
    let phases = [
        (
            "resolving the name",
            timings.dns_ms,
            "look at the name servers, and at search domains (ndots) in a cluster",
        ),
        (
            "connecting",
            timings.tcp_ms,
            "the network is slow or loses packets, or the server's backlog is full",
        ),
        ("asking the proxy", timings.proxy_ms, "look at the proxy, and at its way to the server"),
        ("the TLS handshake", timings.tls_ms, "look at the load of who ends TLS, and at the network"),
        ("waiting for SETTINGS", timings.settings_ms, "look at the load of who speaks HTTP/2 here"),
        (
            "the opening handshake",
            timings.handshake_ms,
            "look at the server's load, and at what it does before it agrees",
        ),
    ];
    phases
        .into_iter()
        .filter_map(|(phase, ms, advice)| {
            let ms = ms.filter(|ms| *ms > SLOW_MS)?;
            Some(format!("{phase} took {ms:.0} ms: {advice}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::report::{CloseReport, Compression};

    /// An attempt in which everything went as it should.
    fn flawless(way: Way) -> Attempt {
        Attempt {
            way,
            outcome: AttemptOutcome::Opened,
            error: None,
            advice: None,
            refusal: None,
            permessage_deflate: Some(Compression { agreed: true, parameters: None }),
            subprotocol: None,
            ping_ms: Some(1.0),
            close: Some(CloseReport {
                code: Some(1000),
                reason: String::new(),
                unasked: false,
                ended_by_server: true,
                ms: 1.0,
            }),
            timings: Timings::default(),
        }
    }

    fn not_opened(way: Way, outcome: AttemptOutcome) -> Attempt {
        let advice = Some(format!("advice about {}", way.name()));
        Attempt { outcome, advice, permessage_deflate: None, ping_ms: None, close: None, ..flawless(way) }
    }

    fn advice_for(attempts: impl Into<Vec<Attempt>>, change: impl Fn(&mut ConnectConfig)) -> Vec<String> {
        let mut config = ConnectConfig::new("ws://127.0.0.1/".parse().unwrap());
        change(&mut config);
        let mut report = Report::new(&config.uri);
        report.attempts = attempts.into();
        advice(&report, &config)
    }

    /// The words that the one sentence about this attempt has to have.
    fn only(attempts: impl Into<Vec<Attempt>>, words: &str) {
        let advice = advice_for(attempts, |_| {});
        assert!(advice.len() == 1 && advice[0].contains(words), "{words}: {advice:?}");
    }

    #[test]
    fn nothing_is_advised_where_all_is_well() {
        assert!(advice_for(Way::ALL.map(flawless), |_| {}).is_empty());
    }

    #[test]
    fn each_way_that_does_not_work_has_its_advice() {
        let [http1, without_key, with_key] = Way::ALL;
        let http1_only =
            |outcome| [flawless(http1), not_opened(without_key, outcome), not_opened(with_key, outcome)];
        only(http1_only(AttemptOutcome::Failed), "DO_NOT_UPGRADE");
        let advice = advice_for(http1_only(AttemptOutcome::NotAllowed), |_| {});
        assert!(advice[0].contains("allow_connect") && advice[1].contains("DO_NOT_UPGRADE"), "{advice:?}");
        let advice = advice_for(http1_only(AttemptOutcome::Refused), |_| {});
        assert_eq!(advice[0], "advice about HTTP/2 extended CONNECT");
        only(
            [flawless(http1), not_opened(without_key, AttemptOutcome::Refused), flawless(with_key)],
            "--send-key",
        );
        let http2_only =
            [not_opened(http1, AttemptOutcome::Failed), flawless(without_key), flawless(with_key)];
        let advice = advice_for(http2_only, |_| {});
        assert!(advice[0].ends_with("HTTP/1.1 upgrade") && advice[1].contains("--http2"), "{advice:?}");
        only(Way::ALL.map(|way| not_opened(way, AttemptOutcome::Failed)), "advice about HTTP/1.1 upgrade");
        only([not_opened(http1, AttemptOutcome::Failed)], "advice about HTTP/1.1 upgrade");
    }

    #[test]
    fn what_an_open_session_lacks_has_its_advice_once() {
        let all = |change: fn(&mut Attempt)| {
            Way::ALL.map(|way| {
                let mut attempt = flawless(way);
                change(&mut attempt);
                attempt
            })
        };
        only(all(|attempt| attempt.ping_ms = None), "no pong");
        only(all(|attempt| attempt.close.as_mut().unwrap().code = None), "answers no Close");
        only(all(|attempt| attempt.close.as_mut().unwrap().code = Some(1011)), "answered with 1011");
        only(
            all(|attempt| attempt.close.as_mut().unwrap().ended_by_server = false),
            "leaves the connection open",
        );
        let unasked = |attempt: &mut Attempt| attempt.close.as_mut().unwrap().unasked = true;
        only(all(unasked), "has just begun, with 1000");
        only(all(|attempt| attempt.timings.dns_ms = Some(800.4)), "resolving the name took 800 ms");
        let declined = || all(|attempt| attempt.permessage_deflate.as_mut().unwrap().agreed = false);
        only(declined(), "permessage-deflate");
        assert!(advice_for(declined(), |config| config.compression = false).is_empty());
        let offered = advice_for(all(|_| {}), |config| config.subprotocols = vec!["chat".to_owned()]);
        assert!(offered.len() == 1 && offered[0].contains("subprotocols"), "{offered:?}");
    }
}
