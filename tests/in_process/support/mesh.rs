//! What the documents say, written by hand.

use std::time::Duration;

use websockets_cli::mesh::{
    Cluster, HttpConnectionManager, Inbound, Outbound, RetryPolicy, Rewrite, Route, RouteAction,
    UpstreamProtocol, VirtualHost,
};

use super::{AUTHORITY, Hop};

/// The server's sidecar as the documents of that hop make it; its delayed close is short.
pub(crate) fn inbound_mesh(hop: Hop) -> Inbound {
    Inbound {
        connection_manager: HttpConnectionManager {
            allow_connect: hop == Hop::Http2,
            delayed_close_timeout: Duration::from_millis(10),
            ..HttpConnectionManager::inbound()
        },
        virtual_host: virtual_host("inbound|http|8080", &["*"], "inbound|80||", RetryPolicy::inbound()),
    }
}

/// The client's sidecar as the documents of that hop make it; its delayed close is short.
pub(crate) fn outbound_mesh(hop: Hop) -> Outbound {
    let mut mesh = Outbound {
        connection_manager: HttpConnectionManager {
            delayed_close_timeout: Duration::from_millis(10),
            ..HttpConnectionManager::outbound()
        },
        virtual_hosts: vec![virtual_host(
            AUTHORITY,
            &["websockets-server.default.svc.cluster.local"],
            "outbound|8080||websockets-server.default.svc.cluster.local",
            RetryPolicy::outbound(),
        )],
    };
    if hop != Hop::Http1 {
        cluster(&mut mesh.virtual_hosts[0]).protocol = UpstreamProtocol::Http2;
    }
    mesh
}

/// Where a virtual host sends its requests.
pub(crate) fn cluster(virtual_host: &mut VirtualHost) -> &mut Cluster {
    let RouteAction::Forward { cluster, .. } = &mut virtual_host.routes[0].action else {
        panic!("the route forwards")
    };
    cluster
}

/// The timeout and the retry policy of a virtual host's route.
pub(crate) fn route(virtual_host: &mut VirtualHost) -> (&mut Option<Duration>, &mut RetryPolicy) {
    let RouteAction::Forward { timeout, retry, .. } = &mut virtual_host.routes[0].action else {
        panic!("the route forwards")
    };
    (timeout, retry)
}

fn virtual_host(name: &str, domains: &[&str], cluster: &str, retry: RetryPolicy) -> VirtualHost {
    VirtualHost {
        name: name.to_owned(),
        domains: domains.iter().map(ToString::to_string).collect(),
        routes: vec![Route::every_path(
            Some("default".to_owned()),
            RouteAction::Forward {
                cluster: Box::new(Cluster::endpoint(cluster.to_owned())),
                timeout: None,
                retry,
                rewrite: Rewrite::default(),
            },
        )],
        include_request_attempt_count: name.starts_with("websockets"),
        requires_tls: false,
    }
}
