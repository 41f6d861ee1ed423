//! Whether a sidecar has what the documents say by now, read from Envoy's `config_dump`: plain
//! functions over JSON.
//!
//! The dump is searched for the few objects that matter, wherever they are in it: where they are
//! differs between versions.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::verify::pair::PairConfig;

/// The end of the type of an HTTP connection manager.
const HTTP_CONNECTION_MANAGER: &str = ".HttpConnectionManager";

/// What the client's sidecar has not got yet, in words.
pub(super) fn client_lacks(dump: &Value, pair: &PairConfig, servers: &BTreeSet<IpAddr>) -> Option<String> {
    let name = pair.outbound_cluster.as_deref()?;
    let cluster =
        objects(dump).find(|object| object["name"] == name && object.get("connect_timeout").is_some());
    let Some(cluster) = cluster else { return Some(format!("it has no cluster {name}")) };
    let options = objects(cluster).find(|object| object.get("explicit_http_config").is_some());
    let http2 = options
        .is_some_and(|options| options["explicit_http_config"].get("http2_protocol_options").is_some());
    if http2 != pair.upgrades {
        let [now, wanted] = if http2 { ["HTTP/2", "HTTP/1.1"] } else { ["HTTP/1.1", "HTTP/2"] };
        return Some(format!("it still speaks {now} to {name}, not {wanted}"));
    }
    let known: BTreeSet<IpAddr> = endpoints(dump, name).iter().map(SocketAddr::ip).collect();
    (known != *servers)
        .then(|| format!("its endpoints of {name} are {known:?}, and the ready pods are {servers:?}"))
}

/// What the server's sidecar has not got yet, in words.
pub(super) fn server_lacks(dump: &Value, pair: &PairConfig) -> Option<String> {
    let name = pair.inbound_cluster.as_deref()?;
    let forwards =
        |manager: &&Value| objects(&manager["route_config"]).any(|object| object["cluster"] == name);
    let mut managers = connection_managers(dump).filter(forwards).peekable();
    if managers.peek().is_none() {
        return Some(format!("it has no listener that leads to {name}"));
    }
    let allows = |manager: &Value| manager["http2_protocol_options"]["allow_connect"] == true;
    let wanted = pair.inbound.connection_manager.allow_connect;
    managers.any(|manager| allows(manager) != wanted).then(|| {
        let state = if wanted { "does not allow" } else { "still allows" };
        format!("it {state} extended CONNECT (allow_connect)")
    })
}

/// Whether connections from before a change would be another policy's: an HTTP/2 connection
/// outlives the listener that took it, and with it what that listener allowed.
pub(super) fn is_affected_by_draining(pair: &PairConfig) -> bool {
    pair.upgrades && !pair.inbound.connection_manager.allow_connect
}

/// Whether a gauge of what is draining is not zero.
pub(super) fn is_draining(stats: &Value) -> bool {
    stats["stats"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|stat| stat["value"].as_u64().is_some_and(|value| value > 0))
}

/// Whether nothing that goes this way, `outbound` or `inbound`, is logged.
pub(super) fn is_log_off(dump: &Value, direction: &str) -> bool {
    let prefix = |manager: &&Value| {
        manager["stat_prefix"].as_str().is_some_and(|prefix| prefix.starts_with(direction))
    };
    let logs = |manager: &Value| manager["access_log"].as_array().is_some_and(|logs| !logs.is_empty());
    let mut managers = connection_managers(dump).filter(prefix).peekable();
    managers.peek().is_some() && !managers.any(logs)
}

/// Where a cluster's pods are.
fn endpoints(dump: &Value, cluster: &str) -> BTreeSet<SocketAddr> {
    let assignments = objects(dump).filter(|object| object["cluster_name"] == cluster);
    let endpoints = assignments.flat_map(|assignment| objects(&assignment["endpoints"]));
    let addresses = endpoints.filter_map(|object| {
        let address = object.get("socket_address")?;
        let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
        Some(SocketAddr::new(address["address"].as_str()?.parse().ok()?, port))
    });
    addresses.collect()
}

fn connection_managers(dump: &Value) -> impl Iterator<Item = &Value> {
    objects(dump).filter(|object| {
        object["@type"].as_str().is_some_and(|message| message.ends_with(HTTP_CONNECTION_MANAGER))
    })
}

/// Every object in a value, the outer ones first.
fn objects(value: &Value) -> impl Iterator<Item = &Value> {
    let mut waiting = vec![value];
    std::iter::from_fn(move || {
        while let Some(value) = waiting.pop() {
            match value {
                Value::Object(fields) => {
                    waiting.extend(fields.values().rev());
                    return Some(value);
                }
                Value::Array(items) => waiting.extend(items.iter().rev()),
                _ => {}
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mesh::{Documents, ISTIO_VERSION, MeshDefaults};

    const CLUSTER: &str = "outbound|8080||websockets-server.default.svc.cluster.local";

    /// The guide's end state.
    fn pair() -> PairConfig {
        PairConfig::new(Documents::builtin(), None, None, None, &MeshDefaults::default(), ISTIO_VERSION)
            .expect("a pair")
    }

    fn client(options: &Value, pods: &[&str]) -> Value {
        let endpoint = |pod: &&str| json!({"endpoint": {"address": {"socket_address": {"address": pod, "port_value": 80}}}});
        json!({"configs": [
            {"dynamic_active_clusters": [{"cluster": {"name": CLUSTER, "connect_timeout": "10s",
                "typed_extension_protocol_options": {"o": {"explicit_http_config": options}}}}]},
            {"dynamic_endpoint_configs": [{"endpoint_config": {"cluster_name": CLUSTER,
                "endpoints": [{"lb_endpoints": pods.iter().map(endpoint).collect::<Value>()}]}}]},
        ]})
    }

    fn server(options: &Value, access_log: &Value) -> Value {
        json!({"configs": [{"filters": [{"typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "inbound_0.0.0.0_80;",
            "http2_protocol_options": options,
            "access_log": access_log,
            "route_config": {"virtual_hosts": [{"routes": [{"route": {"cluster": "inbound|80||"}}]}]},
        }}]}]})
    }

    fn pods(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|address| address.parse().expect("an address")).collect()
    }

    #[test]
    fn the_clients_sidecar_is_ready_when_it_upgrades_and_knows_just_the_ready_pods() {
        let http2 = json!({"http2_protocol_options": {}});
        let http1 = json!({"http_protocol_options": {}});
        let lacks = |dump: &Value, servers: &[&str]| client_lacks(dump, &pair(), &pods(servers));
        assert_eq!(lacks(&client(&http2, &["10.0.0.1"]), &["10.0.0.1"]), None);
        let lack = lacks(&client(&http1, &["10.0.0.1"]), &["10.0.0.1"]).expect("HTTP/1.1");
        assert!(lack.starts_with("it still speaks HTTP/1.1 to outbound|8080||"), "{lack}");
        assert!(lacks(&client(&http2, &["10.0.0.1", "10.0.0.2"]), &["10.0.0.2"]).is_some(), "one has gone");
        assert!(lacks(&client(&http2, &[]), &["10.0.0.2"]).is_some(), "one has come");
        assert_eq!(lacks(&json!({}), &[]), Some(format!("it has no cluster {CLUSTER}")));
    }

    #[test]
    fn the_servers_sidecar_is_ready_when_it_allows_what_the_documents_allow() {
        let ready = server(&json!({"allow_connect": true}), &json!([]));
        assert_eq!(server_lacks(&ready, &pair()), None);
        let lack = server_lacks(&server(&Value::Null, &json!([])), &pair());
        assert_eq!(lack.as_deref(), Some("it does not allow extended CONNECT (allow_connect)"));
        assert!(server_lacks(&json!({}), &pair()).is_some());
    }

    #[test]
    fn a_sidecar_drains_as_long_as_one_of_its_gauges_says_so() {
        let stats = |listeners, chains| {
            json!({"stats": [
                {"name": "listener_manager.total_listeners_draining", "value": listeners},
                {"name": "listener_manager.total_filter_chains_draining", "value": chains},
            ]})
        };
        assert_eq!(
            [stats(0, 0), stats(1, 0), stats(0, 2)].map(|stats| is_draining(&stats)),
            [false, true, true]
        );
        assert!(!is_affected_by_draining(&pair()));
    }

    #[test]
    fn a_log_is_off_where_no_connection_manager_of_that_direction_has_one() {
        let logging = server(&Value::Null, &json!([{"name": "envoy.access_loggers.file"}]));
        assert!(!is_log_off(&logging, "inbound"));
        assert!(is_log_off(&server(&Value::Null, &json!([])), "inbound"));
        assert!(!is_log_off(&logging, "outbound"), "there is nothing to be off");
    }
}
