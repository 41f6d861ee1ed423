//! What an `EnvoyFilter` merges into Envoy's `HttpConnectionManager`.
//!
//! A merge is protobuf's, with Istio's one exception (`pkg/proto/merge`): fields that are set
//! overwrite, messages merge recursively, lists are appended to, and durations are replaced as a
//! whole. A plain `bool` that is false is not set, so no merge turns `allow_connect` off again.

use std::time::Duration;

use serde::Deserialize;

use crate::mesh::config::HttpConnectionManager;
use crate::mesh::document::WarningCollector;
use crate::mesh::error::MeshError;
use crate::mesh::rules::{DUPLICATE_UPGRADE_TYPE, ENVOY_FILTER_TYPE, NOT_PLAYED};
use crate::mesh::{duration, snake_case};
use crate::yaml::{Dialect, NodeRef, Placed, Skip, Within};

/// The type that the value must have.
pub(in crate::mesh) const HTTP_CONNECTION_MANAGER_TYPE: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
/// HTTP/2's largest window and stream limit, 2^31 - 1 (RFC 9113, sections 6.5.2 and 6.9.1).
const HTTP2_MAX: i64 = (1 << 31) - 1;
/// HTTP/2's initial window (RFC 9113, section 6.9.2), below which Envoy accepts none.
const MIN_WINDOW: i64 = 65_535;

/// What a patch sets of an `HttpConnectionManager`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::mesh) struct ConnectionManagerPatch {
    allow_connect: bool,
    max_concurrent_streams: Option<u32>,
    initial_stream_window_size: Option<u32>,
    initial_connection_window_size: Option<u32>,
    stream_idle_timeout: Option<Duration>,
    max_stream_duration: Option<Duration>,
    delayed_close_timeout: Option<Duration>,
    preserve_external_request_id: bool,
    upgrade_types: Vec<String>,
    /// All of it as it was written, the fields that are not read here too.
    written: serde_json::Value,
}

/// A network filter. Its name, which a merge may repeat, does not matter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkFilter {
    #[expect(dead_code, reason = "known, and without effect")]
    name: Option<Skip>,
    typed_config: Option<Placed<Skip>>,
}

#[derive(Deserialize)]
struct AnyMessage {
    #[serde(rename = "@type")]
    type_url: Option<Placed<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct HttpConnectionManagerFields {
    #[serde(rename = "@type")]
    /// Read before the other fields, which depend on it.
    type_url: Skip,
    http2_protocol_options: Http2ProtocolOptions,
    stream_idle_timeout: Option<duration::GoDuration>,
    common_http_protocol_options: CommonHttpProtocolOptions,
    delayed_close_timeout: Option<duration::GoDuration>,
    preserve_external_request_id: bool,
    upgrade_configs: Vec<Placed<UpgradeConfig>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Http2ProtocolOptions {
    allow_connect: bool,
    max_concurrent_streams: Option<Within<u32, 1, HTTP2_MAX>>,
    initial_stream_window_size: Option<Within<u32, MIN_WINDOW, HTTP2_MAX>>,
    initial_connection_window_size: Option<Within<u32, MIN_WINDOW, HTTP2_MAX>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CommonHttpProtocolOptions {
    max_stream_duration: Option<duration::GoDuration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpgradeConfig {
    pub(super) upgrade_type: String,
    pub(super) enabled: Option<bool>,
}

impl ConnectionManagerPatch {
    /// Reads the `value` of a patch; nothing if it is not for an HTTP connection manager, in which
    /// case Istio keeps the original without a word.
    pub(super) fn read(
        patch: NodeRef<'_>,
        value: &Placed<Skip>,
        warnings: &mut WarningCollector,
    ) -> Result<Option<Self>, MeshError> {
        let Some(filter) = patch.at("patch.value") else { return Ok(None) };
        let NetworkFilter { typed_config, .. } = warnings.read(filter, &value.path, Dialect::Protobuf)?;
        let (Some(place), Some(config)) = (typed_config, filter.at("typedConfig")) else { return Ok(None) };
        let AnyMessage { type_url } = config.read_at(&place.path, Dialect::Protobuf, None)?;
        let Some(type_url) = type_url else {
            warnings.warn(&ENVOY_FILTER_TYPE, &place, "@type is missing, so the patch has no effect");
            return Ok(None);
        };
        if type_url.rsplit('/').next() != Some(HTTP_CONNECTION_MANAGER_TYPE) {
            let text =
                format!("not type.googleapis.com/{HTTP_CONNECTION_MANAGER_TYPE}, so the patch has no effect");
            // Of another filter nobody says that its value is wrong.
            let is_manager = type_url.ends_with(".HttpConnectionManager");
            warnings.warn(if is_manager { &ENVOY_FILTER_TYPE } else { &NOT_PLAYED }, &type_url, &text);
            return Ok(None);
        }
        let fields: HttpConnectionManagerFields = warnings.read(config, &place.path, Dialect::Protobuf)?;
        Ok(Some(Self::of(fields, config.to_json(snake_case), warnings)))
    }

    fn of(
        fields: HttpConnectionManagerFields,
        written: serde_json::Value,
        warnings: &mut WarningCollector,
    ) -> Self {
        let HttpConnectionManagerFields {
            http2_protocol_options: http2,
            common_http_protocol_options: common,
            ..
        } = fields;
        let duration = |written: Option<duration::GoDuration>| written.map(|written| written.0);
        let mut upgrade_types = Vec::new();
        for config in fields.upgrade_configs {
            if config.upgrade_type.eq_ignore_ascii_case("websocket") {
                let text =
                    "websocket is there already, and Envoy refuses an upgrade type that is there twice";
                warnings.warn(&DUPLICATE_UPGRADE_TYPE, &config, text);
            } else if config.enabled.unwrap_or(true) {
                upgrade_types.push(config.value.upgrade_type);
            }
        }
        Self {
            allow_connect: http2.allow_connect,
            max_concurrent_streams: http2.max_concurrent_streams.map(|number| number.0),
            initial_stream_window_size: http2.initial_stream_window_size.map(|number| number.0),
            initial_connection_window_size: http2.initial_connection_window_size.map(|number| number.0),
            stream_idle_timeout: duration(fields.stream_idle_timeout),
            max_stream_duration: duration(common.max_stream_duration),
            delayed_close_timeout: duration(fields.delayed_close_timeout),
            preserve_external_request_id: fields.preserve_external_request_id,
            upgrade_types,
            written,
        }
    }

    /// Whether it turns extended CONNECT on.
    pub(in crate::mesh) fn allows_connect(&self) -> bool {
        self.allow_connect
    }

    /// Merges the patch into a connection manager.
    pub(in crate::mesh) fn merge_into(&self, manager: &mut HttpConnectionManager) {
        manager.allow_connect |= self.allow_connect;
        manager.max_concurrent_streams =
            self.max_concurrent_streams.unwrap_or(manager.max_concurrent_streams);
        manager.initial_stream_window_size =
            self.initial_stream_window_size.unwrap_or(manager.initial_stream_window_size);
        manager.initial_connection_window_size =
            self.initial_connection_window_size.unwrap_or(manager.initial_connection_window_size);
        // Zero is Envoy's way to turn these off; a connection that need not wait for its peer
        // closes at once.
        let on = |duration: Duration| Some(duration).filter(|duration| !duration.is_zero());
        manager.stream_idle_timeout = self.stream_idle_timeout.map_or(manager.stream_idle_timeout, on);
        manager.max_stream_duration = self.max_stream_duration.map_or(manager.max_stream_duration, on);
        manager.delayed_close_timeout = self.delayed_close_timeout.unwrap_or(manager.delayed_close_timeout);
        manager.preserve_external_request_id |= self.preserve_external_request_id;
        for upgrade_type in &self.upgrade_types {
            if !manager.upgrade_types.contains(upgrade_type) {
                manager.upgrade_types.push(upgrade_type.clone());
            }
        }
        manager.patches.push(self.written.clone());
    }
}
