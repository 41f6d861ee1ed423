//! Streams on connections: one carries them all until a limit, and then there is another one.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::*;

/// Opens sessions one after the other, and keeps them open.
async fn open(pair: &Pair, count: usize) -> Vec<TcpStream> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        sessions.push(open_session(pair.outbound).await);
    }
    sessions
}

/// How many lines there are for each value of a key, the fewest first.
fn counted(lines: &[Value], key: &str) -> Vec<usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line[key].as_str().unwrap()).or_insert(0) += 1;
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    counts
}

#[tokio::test]
async fn many_sessions_share_one_connection_and_have_one_each_to_the_application() {
    let pair = Pair::start(Hop::Http2, echo());
    drop(open(&pair, 20).await);
    let client = pair.wait_for_lines("client", 20).await;
    let server = pair.wait_for_lines("server", 20).await;
    assert_eq!(counted(&client, "upstream_local_address"), [20]);
    assert_eq!(counted(&server, "downstream_remote_address"), [20]);
    assert_eq!(counted(&server, "upstream_local_address"), [1; 20]);
}

#[tokio::test]
async fn over_http1_every_session_has_a_connection_of_its_own() {
    let pair = Pair::start(Hop::Http1, echo());
    drop(open(&pair, 4).await);
    let client = pair.wait_for_lines("client", 4).await;
    assert_eq!(counted(&client, "upstream_local_address"), [1; 4]);
}

#[tokio::test]
async fn past_the_peers_limit_of_streams_another_connection_is_opened() {
    let pair = Pair::configured(Hop::Http2, echo(), |_, inbound| {
        inbound.connection_manager.max_concurrent_streams = 2;
    });
    drop(open(&pair, 5).await);
    let client = pair.wait_for_lines("client", 5).await;
    assert_eq!(counted(&client, "upstream_local_address"), [1, 2, 2]);
    assert!(client.iter().all(|line| line["response_flags"] == "DC"), "{client:#?}");
}

#[tokio::test]
async fn past_the_clusters_limit_of_streams_another_connection_is_opened() {
    let pair = Pair::configured(Hop::Http2, echo(), |outbound, _| {
        cluster(&mut outbound.virtual_hosts[0]).max_concurrent_streams = 2;
    });
    drop(open(&pair, 5).await);
    let client = pair.wait_for_lines("client", 5).await;
    assert_eq!(counted(&client, "upstream_local_address"), [1, 2, 2]);
}

#[tokio::test]
async fn sessions_that_begin_at_once_share_what_is_being_dialled() {
    let pair = Pair::configured(Hop::Http2, echo(), |outbound, _| {
        cluster(&mut outbound.virtual_hosts[0]).max_concurrent_streams = 4;
    });
    let sessions: Vec<_> = (0..8).map(|_| tokio::spawn(open_session(pair.outbound))).collect();
    let mut open = Vec::new();
    for session in sessions {
        open.push(patiently(session).await.unwrap());
    }
    drop(open);
    let client = pair.wait_for_lines("client", 8).await;
    assert_eq!(counted(&client, "upstream_local_address"), [4, 4]);
}

#[tokio::test]
async fn the_place_of_a_session_that_ended_is_taken_again() {
    let pair = Pair::configured(Hop::Http2, echo(), |_, inbound| {
        inbound.connection_manager.max_concurrent_streams = 1;
    });
    for number in 1..=3 {
        drop(open_session(pair.outbound).await);
        pair.wait_for_lines("client", number).await;
        pair.wait_for_lines("server", number).await;
    }
    let client = pair.wait_for_lines("client", 3).await;
    assert_eq!(counted(&client, "upstream_local_address"), [3]);
}
