//! That what `lint` finds is what happens: the same documents, judged and on the wire, as they are
//! and mended.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use websockets_cli::mesh::lint::{Circumstances, lint};
use websockets_cli::mesh::{
    self, Documents, H2UpgradePolicy, ISTIO_VERSION, InboundQuery, MeshDefaults, MeshError, OutboundQuery,
    OutboundTrafficPolicy, rules,
};
use websockets_cli::yaml::Text;

use crate::admin;
use crate::support::*;

/// The guide's documents: HTTP/2 between the sidecars, with the `EnvoyFilter`.
const GUIDE: &str = include_str!("../fixtures/guide.yaml");

/// How long the timers are that documents set here, and after how long a session that is open is
/// not ended by one.
const TIMER: &str = "0.1s";
const LONG: Duration = Duration::from_secs(1);

const CONNECTIONS: &str =
    "cluster.outbound|8080||websockets-server.default.svc.cluster.local.upstream_cx_http2_total";

/// A rule, documents that break it, and the same ones mended.
struct Case {
    code: &'static str,
    wrong: String,
    mended: String,
    /// What is looked at, and what is seen there of the one and of the other.
    seen: Seen,
    of_wrong: &'static str,
    of_mended: &'static str,
}

/// What shows on the wire, or in the lines that the pair leaves.
#[derive(Clone, Copy)]
enum Seen {
    /// The status of a handshake; if it is refused with the flags of the client's side.
    Status,
    /// The same if the application takes [`LONG`] to answer.
    LateStatus,
    /// What is spoken between the sidecars.
    Protocol,
    /// The same in a mesh whose default is to upgrade.
    ProtocolInUpgradingMesh,
    /// The route that a session took.
    RouteName,
    /// What ended a session in which nothing is sent, and which its client closes after [`LONG`].
    Ending,
    /// How many connections there are between the sidecars when there are sessions for [`LONG`].
    Connections,
}

fn edited(from: &str, to: &str) -> String {
    assert!(GUIDE.contains(from), "{from}");
    GUIDE.replace(from, to)
}

/// The guide's documents and another one of Istio's.
fn with(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "{GUIDE}\n---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec: {spec}\n"
    )
}

fn with_route(route: &str) -> String {
    with("VirtualService", "routes", &format!("{{hosts: [websockets-server], http: [{{{route}}}]}}"))
}

/// Options of the HTTP connection manager in the guide's `EnvoyFilter`.
fn with_option(option: &str) -> String {
    let options = "http2_protocol_options:";
    edited(options, &format!("{option}\n          {options}"))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |code, wrong: String, mended: String, seen, of_wrong, of_mended| {
        cases.push(Case { code, wrong, mended, seen, of_wrong, of_mended });
    };
    let guide = || GUIDE.to_owned();

    // Each of these takes the effect of the EnvoyFilter away.
    let filter = "kind: EnvoyFilter\nmetadata:\n";
    let selector = "workloadSelector:\n    labels:\n      app: websockets-server";
    for (code, wrong) in [
        ("upgrade-without-allow-connect", edited("allow_connect: true", "allow_connect: false")),
        ("unknown-field", edited("allow_connect: true", "allow_conect: true")),
        ("envoy-filter-context", edited("SIDECAR_INBOUND", "SIDECAR_OUTBOUND")),
        ("envoy-filter-selector", edited(selector, &selector.replace("server", "srv"))),
        ("envoy-filter-namespace", edited(filter, &format!("{filter}  namespace: other\n"))),
        ("envoy-filter-proxy-version", edited(r"'^1\.*.*'", r"'^2\..*'")),
        ("envoy-filter-filter-name", edited("filters.network.http_", "http_")),
        ("envoy-filter-listener", edited("listener:\n", "listener:\n        portNumber: 8080\n")),
        ("envoy-filter-type", edited("v3.HttpConnectionManager", "v2.HttpConnectionManager")),
        ("envoy-filter-operation", edited("operation: MERGE", "operation: REPLACE")),
        (
            "unknown-kind",
            edited(
                "networking.istio.io/v1alpha3\nkind: EnvoyFilter",
                "networking.istio.io/v1beta1\nkind: EnvoyFilter",
            ),
        ),
    ] {
        add(code, wrong, guide(), Seen::Status, "503 UC", "101");
    }

    let spared = |text: &str| {
        text.replace("h2UpgradePolicy: UPGRADE", "h2UpgradePolicy: DO_NOT_UPGRADE")
            .replace("allow_connect: true", "allow_connect: false")
    };
    let http2 = spared(&edited("name: http-websocket\n", "name: http2-websocket\n"));
    add("http2-port", http2, spared(GUIDE), Seen::Status, "503 UC", "101");

    // Each of these decides what is spoken between the sidecars.
    let policy = "http:\n        h2UpgradePolicy: UPGRADE\n";
    let port_level = "    portLevelSettings:\n    - port: {number: 8080}\n";
    let lost = edited(policy, &format!("{policy}{port_level}"));
    let repeated = format!("{port_level}      connectionPool: {{http: {{h2UpgradePolicy: UPGRADE}}}}\n");
    let repeated = edited(policy, &format!("{policy}{repeated}"));
    add("upgrade-policy-lost", lost, repeated, Seen::Protocol, "HTTP/1.1", "HTTP/2");
    let short = edited("host: websockets-server", "host: websockets-server.default");
    add("unknown-host", short, guide(), Seen::Protocol, "HTTP/1.1", "HTTP/2");
    let older = "{host: websockets-server, trafficPolicy: {connectionPool: {http: {maxRetries: 5}}}}";
    let twice = with("DestinationRule", "a-rule", older);
    let once = edited(policy, &format!("{policy}        maxRetries: 5\n"));
    add("duplicate-destination-rule", twice, once, Seen::Protocol, "HTTP/1.1", "HTTP/2");
    let by_default = edited("h2UpgradePolicy: UPGRADE", "h2UpgradePolicy: DEFAULT");
    let undeclared = by_default.replace("name: http-websocket\n", "name: websocket\n");
    add("undeclared-protocol", undeclared, by_default, Seen::ProtocolInUpgradingMesh, "HTTP/1.1", "HTTP/2");

    // Each of these decides where a session goes.
    // The guide's client declares no port of its own.
    let sleep = "command: [\"sleep\", \"14d\"]\n";
    let declared = edited(sleep, &format!("{sleep}        ports: [{{containerPort: 80}}]\n"));
    let undeclared = declared.replacen("targetPort: 80", "targetPort: 81", 1);
    add("undeclared-port", undeclared, declared, Seen::Status, "503 -", "101");
    let route = "route: [{destination: {host: websockets-server}}]";
    let to_subset = with_route("route: [{destination: {host: websockets-server, subset: v1}}]");
    add("unknown-destination", to_subset, with_route(route), Seen::Status, "503 NC", "101");
    let answers = with_route("directResponse: {status: 410}");
    add("direct-response", answers, with_route(route), Seen::Status, "410 -", "101");
    let matching = |conditions: &str| with_route(&format!("name: own, match: [{{{conditions}}}], {route}"));
    let [post, get] = ["POST", "GET"].map(|method| matching(&format!("method: {{exact: {method}}}")));
    add("no-handshake-route", post, get, Seen::Status, "404 NR", "101");
    let of_nobody = matching("port: 9999");
    add("for-no-client", of_nobody, matching("port: 8080"), Seen::RouteName, "default", "own");
    let named = |name: &str| format!("{{hosts: [websockets-server], http: [{{name: {name}, {route}}}]}}");
    let first = with("VirtualService", "a", &named("first"));
    let second = with("VirtualService", "b", &named("second"));
    let both = first + &second[GUIDE.len()..];
    add("duplicate-virtual-service", both, second, Seen::RouteName, "first", "second");

    // Each of these is a timer.
    let timed = |timeout: &str| with_route(&format!("timeout: {timeout}, {route}"));
    add("virtual-service-timeout", timed(TIMER), timed("0s"), Seen::LateStatus, "504 UT", "101");
    let idle = |timeout: &str| with_option(&format!("stream_idle_timeout: {timeout}"));
    let closed = "upstream_reset_after_response_started{connection_termination}";
    add("stream-idle-timeout", idle(TIMER), idle("0s"), Seen::Ending, "stream_idle_timeout", closed);
    let longest = |duration: &str| {
        with_option(&format!("common_http_protocol_options: {{max_stream_duration: {duration}}}"))
    };
    add("max-stream-duration", longest(TIMER), longest("0s"), Seen::Ending, "max_duration_timeout", closed);
    let tcp = format!("tcp:\n        maxConnectionDuration: {TIMER}\n      {policy}");
    add("max-connection-duration", edited(policy, &tcp), guide(), Seen::Connections, "2", "1");
    cases
}

/// Documents of which the cluster or the pair will have nothing, and what the pair says of them.
fn refused() -> Vec<(&'static str, String, &'static str)> {
    let port = "targetPort: 80\n      name: http-websocket\n";
    let selector = "http-websocket\n  selector:\n    app: websockets-server";
    let service = &GUIDE[..GUIDE.find("---").expect("several documents")];
    let policy = "h2UpgradePolicy: UPGRADE";
    vec![
        ("tcp-port", edited("http-websocket\n", "tcp-websocket\n"), "has no HTTP port"),
        (
            "service-selector",
            edited(selector, &format!("{selector}s")),
            "no Service in the namespace default selects the pods of the Deployment websockets-server",
        ),
        (
            "undeclared-named-port",
            edited(port, &port.replace("80", "web")),
            "no container of its pods has a port of that name",
        ),
        (
            "client-protocol-with-upgrade",
            edited(policy, &format!("{policy}\n        useClientProtocol: true")),
            "useClientProtocol",
        ),
        ("invalid-document", edited(policy, "h2UpgradePolicy: UPGRADED"), "expected"),
        ("duplicate-document", format!("{GUIDE}\n---\n{service}"), "already defined"),
    ]
}

/// The rules of which the pair can show nothing, and why.
const NOT_ON_THE_WIRE: [(&str, &str); 39] = [
    ("network-policy", "is about the network between pods, and the pair has the loopback"),
    ("no-replicas", "is about how many pods there are, and the pair has one"),
    ("filter-removed", "is about filters that the pair does not have one by one"),
    ("no-destination", "is about routes of the Gateway API, which the pair does not play"),
    ("fault-abort", "is about faults, which the pair does not play"),
    ("unknown-code", "is about what is said of findings"),
    ("not-judged", "is about documents that are not read"),
    ("not-played", "is about what the pair leaves out"),
    ("nothing-judged", "is about documents of which none is read"),
    ("not-read", "is about a cluster that could not be read whole"),
    ("upgrade-without-sidecar", "is about pods without the sidecar that the pair has"),
    ("port-protocol-conflict", "is about two Services, and the pair has one"),
    ("mesh-configs-differ", "is about which of several control planes is meant"),
    ("subset-without-pods", "is about pods that are chosen by label, and the pair has one address"),
    ("redirect", "is about routes that the pair does not play"),
    ("upgrade-removed", "is about fields of routes that the pair does not play"),
    ("unrouted-paths", "is about conditions that the pair does not play"),
    ("buffer-filter", "is about a filter that the pair does not have"),
    ("upgrade-disabled", "is about patches of routes, which the pair does not take"),
    ("duplicate-upgrade-type", "is about what Envoy refuses and the pair takes"),
    ("allows-nobody", "is about policies that the pair does not enforce"),
    ("strict-without-tls", "is about policies that the pair does not enforce"),
    ("client-without-sidecar", "is about clients without the sidecar that the pair has"),
    ("token-from-header", "is about policies that the pair does not enforce"),
    ("not-imported", "is about hosts that a proxy does not know, and the pair knows its one"),
    ("no-access-log", "is about lines that are not written, and the pair writes all"),
    ("unseen-host", "says that it cannot be told whether anything happens"),
    ("tcp-idle-timeout", "is about TCP ports, and the pair carries HTTP alone"),
    ("rejected-update", "is about what a control plane sends, and the pair has none"),
    ("not-in-force", "is about what a control plane sends, and the pair has none"),
    ("no-websocket-taken", "is about dumps; the pair always takes WebSockets somewhere"),
    ("websocket-not-taken", "is about dumps; the pair always takes WebSockets somewhere"),
    ("unknown-cluster", "is about dumps; the pair has the clusters of its routes"),
    ("no-hosts", "is about dumps; the pair has the endpoint of its command line"),
    ("no-sessions", "is about dumps; Istio takes 0 for what is not set"),
    ("no-room-for-handshakes", "is about dumps; the pair has the limits of its command line"),
    ("little-room-for-handshakes", "is about dumps; the pair has the limits of its command line"),
    ("hop-mismatch", "is about dumps and policies; the two of the pair speak the same"),
    ("session-limit", "is about circuit breakers of dumps, which the pair does not have"),
];

fn codes(documents: &str, mesh: &MeshDefaults) -> Vec<&'static str> {
    let texts = [Text::new("test.yaml", documents.to_owned())];
    let circumstances = Circumstances { mesh: Some(mesh), istio_version: ISTIO_VERSION };
    lint(&texts, &circumstances).expect("documents").iter().map(|finding| finding.rule.code).collect()
}

/// The pair as the documents make it; its delayed close is short. In the pod the application
/// listens on port 80.
fn pair(documents: &str, mesh: &MeshDefaults, application: SocketAddr) -> Result<Pair, MeshError> {
    let documents = Documents::parse("test.yaml", documents)?;
    let client = documents.workload("websockets-client-sleep")?;
    let server = documents.workload("websockets-server")?;
    let query = OutboundQuery {
        workload: Some(&client),
        listen: "10.96.0.1:8080".parse().unwrap(),
        policy: OutboundTrafficPolicy::None,
        istio_version: ISTIO_VERSION,
        mesh,
    };
    let mut of_client = mesh::outbound(&documents, &query)?;
    let query = InboundQuery { workload: Some(&server), port: None, istio_version: ISTIO_VERSION };
    let mut of_server = mesh::inbound(&documents, &query)?;
    of_client.connection_manager.delayed_close_timeout = Duration::from_millis(10);
    of_server.connection_manager.delayed_close_timeout = Duration::from_millis(10);
    let listens = cluster(&mut of_server.virtual_host).name == "inbound|80||";
    let application = if listens { application } else { nobody() };
    Ok(Pair::configured(Hop::Http2, application, |outbound, inbound| {
        (*outbound, *inbound) = (of_client, of_server);
    }))
}

impl Seen {
    fn mesh(self) -> MeshDefaults {
        match self {
            Self::ProtocolInUpgradingMesh => MeshDefaults { h2_upgrade_policy: H2UpgradePolicy::Upgrade },
            _ => MeshDefaults::default(),
        }
    }

    async fn of(self, documents: &str) -> String {
        let application = match self {
            Self::LateStatus => late_application().await,
            _ => echo(),
        };
        let pair = pair(documents, &self.mesh(), application).expect("a pair");
        match self {
            Self::Status | Self::LateStatus => status_of_a_session(&pair).await,
            Self::Protocol | Self::ProtocolInUpgradingMesh => {
                text(&closed_session(&pair).await.1["protocol"])
            }
            Self::RouteName => text(&closed_session(&pair).await.0["route_name"]),
            Self::Ending => {
                let mut session = send(pair.outbound, handshake()).await;
                if tokio::time::timeout(LONG, read_all(&mut session)).await.is_err() {
                    session.write_all(CLOSE).await.unwrap();
                }
                text(&pair.one_line_each().await.1["response_code_details"])
            }
            Self::Connections => {
                let mut connections = 0;
                let sessions = async {
                    while connections < 2 {
                        assert_eq!(status_of_a_session(&pair).await, "101");
                        connections = admin::stats(pair.outbound_admin).await[CONNECTIONS];
                    }
                };
                // For as long as that, or until there is another one.
                let _ = tokio::time::timeout(LONG, sessions).await;
                connections.to_string()
            }
        }
    }
}

async fn status_of_a_session(pair: &Pair) -> String {
    let mut client = send(pair.outbound, handshake()).await;
    let head = read_head(&mut client).await;
    let status = head.split(' ').nth(1).expect("a status");
    if status == "101" {
        return status.to_owned();
    }
    let line = pair.wait_for_lines("client", 1).await.remove(0);
    format!("{status} {}", text(&line["response_flags"]))
}

/// Both lines of a session that the client closes.
async fn closed_session(pair: &Pair) -> (Value, Value) {
    let mut session = open_session(pair.outbound).await;
    session.write_all(CLOSE).await.unwrap();
    read_all(&mut session).await;
    pair.one_line_each().await
}

/// An application that agrees to an upgrade once nobody has gone away for [`LONG`].
async fn late_application() -> SocketAddr {
    let application = Application::scripted(|mut stream| async move {
        if tokio::time::timeout(LONG, read_all(&mut stream)).await.is_err() {
            stream.write_all(SWITCHING.as_bytes()).await.unwrap();
            read_all(&mut stream).await;
        }
    });
    application.await.address
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

#[test]
fn every_rule_is_shown_on_the_wire_or_it_is_said_why_not() {
    let shown = cases().into_iter().map(|case| case.code);
    let refused = refused().into_iter().map(|(code, ..)| code);
    let mut known: Vec<_> =
        shown.chain(refused).chain(NOT_ON_THE_WIRE.iter().map(|(code, _)| *code)).collect();
    let mut all: Vec<_> = rules::ALL.iter().map(|rule| rule.code).collect();
    known.sort_unstable();
    all.sort_unstable();
    assert_eq!(known, all);
}

#[test]
fn a_finding_goes_with_what_it_is_about() {
    for Case { code, wrong, mended, seen, .. } in cases() {
        let found = codes(&wrong, &seen.mesh());
        assert!(found.contains(&code), "{code}: {found:?}");
        let found = codes(&mended, &seen.mesh());
        assert!(!found.contains(&code), "{code}: {found:?}");
    }
}

#[tokio::test]
async fn what_is_found_happens_and_does_not_once_it_is_mended() {
    // One after the other: many at once take longer than the timers.
    for Case { code, wrong, mended, seen, of_wrong, of_mended } in cases() {
        assert_eq!(seen.of(&wrong).await, of_wrong, "{code}");
        assert_eq!(seen.of(&mended).await, of_mended, "{code}, mended");
    }
}

#[tokio::test]
async fn of_documents_that_cannot_work_there_is_a_finding_and_no_pair() {
    let mesh = MeshDefaults::default();
    for (code, documents, expected) in refused() {
        let found = codes(&documents, &mesh);
        assert!(found.contains(&code), "{code}: {found:?}");
        let error = pair(&documents, &mesh, echo()).err().unwrap_or_else(|| panic!("{code}: a pair"));
        assert!(error.to_string().contains(expected), "{code}: {error}");
    }
}

#[tokio::test]
async fn the_guides_documents_have_no_finding_and_work() {
    let mesh = MeshDefaults::default();
    assert_eq!(codes(GUIDE, &mesh), ["undeclared-port"], "a note on the client's own Service");
    assert_eq!(Seen::Status.of(GUIDE).await, "101");
}
