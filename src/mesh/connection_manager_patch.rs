//! What an `EnvoyFilter` merges into Envoy's `HttpConnectionManager`.
//!
//! A merge is protobuf's, with Istio's one exception (`pkg/proto/merge`): fields that are set overwrite, messages merge
//! recursively, lists are appended to, and durations are replaced as a whole. A plain `bool` that is false is not set,
//! so no merge turns `allow_connect` off again.

use std::time::Duration;

use super::config::HttpConnectionManager;
use super::document::Reading;
use super::field::{Field, Fields};
use super::place::MeshError;

/// The type that the value must have.
pub(super) const HTTP_CONNECTION_MANAGER_TYPE: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
/// HTTP/2's largest window and stream limit, 2^31 - 1 (RFC 9113, sections 6.5.2 and 6.9.1).
const HTTP2_MAX: u32 = (1 << 31) - 1;
/// HTTP/2's initial window (RFC 9113, section 6.9.2), below which Envoy accepts none.
const SMALLEST_WINDOW: u32 = 65_535;

/// A partial `HttpConnectionManager`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ConnectionManagerPatch {
    allow_connect: bool,
    max_concurrent_streams: Option<u32>,
    initial_stream_window_size: Option<u32>,
    initial_connection_window_size: Option<u32>,
    stream_idle_timeout: Option<Duration>,
    max_stream_duration: Option<Duration>,
    delayed_close_timeout: Option<Duration>,
    upgrade_types: Vec<String>,
    /// All of it as it was written, the fields that are not read here too.
    written: serde_json::Value,
}

impl ConnectionManagerPatch {
    /// Reads a patch's `value`; nothing if it is not for an HTTP connection manager, in which case Istio keeps the
    /// original without a word.
    pub(super) fn read(value: Field, reading: &mut Reading) -> Result<Option<Self>, MeshError> {
        let mut filter = value.into_protobuf().fields()?;
        // The filter's own name, which a merge may repeat.
        filter.ignore(&["name"]);
        let config = filter.take("typedConfig");
        reading.warn_of_rest(filter);
        let Some(config) = config else { return Ok(None) };
        let written = config.to_json();
        let untyped = config.warning("@type is missing, so the patch has no effect");
        let mut fields = config.fields()?;
        let Some(type_url) = fields.take("@type") else {
            reading.warn(untyped);
            return Ok(None);
        };
        let another_type = type_url.warning(&format!(
            "not type.googleapis.com/{HTTP_CONNECTION_MANAGER_TYPE}, so the patch has no effect"
        ));
        if type_url.text()?.rsplit('/').next() != Some(HTTP_CONNECTION_MANAGER_TYPE) {
            reading.warn(another_type);
            return Ok(None);
        }
        Ok(Some(Self { written, ..Self::read_fields(fields, reading)? }))
    }

    fn read_fields(mut fields: Fields, reading: &mut Reading) -> Result<Self, MeshError> {
        let mut patch = Self::default();
        if let Some(options) = fields.fields("http2ProtocolOptions")? {
            patch.read_http2_options(options, reading)?;
        }
        patch.stream_idle_timeout = fields.take("streamIdleTimeout").map(Field::duration).transpose()?;
        if let Some(mut options) = fields.fields("commonHttpProtocolOptions")? {
            patch.max_stream_duration = options.take("maxStreamDuration").map(Field::duration).transpose()?;
            reading.warn_of_rest(options);
        }
        patch.delayed_close_timeout = fields.take("delayedCloseTimeout").map(Field::duration).transpose()?;
        for config in fields.items("upgradeConfigs")? {
            patch.read_upgrade(config, reading)?;
        }
        reading.warn_of_rest(fields);
        Ok(patch)
    }

    fn read_http2_options(&mut self, mut options: Fields, reading: &mut Reading) -> Result<(), MeshError> {
        self.allow_connect = options.take("allowConnect").map_or(Ok(false), Field::boolean)?;
        self.max_concurrent_streams =
            options.take("maxConcurrentStreams").map(|field| field.number(1..=HTTP2_MAX)).transpose()?;
        let mut window =
            |name| options.take(name).map(|field| field.number(SMALLEST_WINDOW..=HTTP2_MAX)).transpose();
        self.initial_stream_window_size = window("initialStreamWindowSize")?;
        self.initial_connection_window_size = window("initialConnectionWindowSize")?;
        reading.warn_of_rest(options);
        Ok(())
    }

    fn read_upgrade(&mut self, config: Field, reading: &mut Reading) -> Result<(), MeshError> {
        let twice = config
            .warning("websocket is there already, and Envoy refuses an upgrade type that is there twice");
        let mut fields = config.fields()?;
        let upgrade_type = fields.required("upgradeType")?.text()?;
        let enabled = fields.take("enabled").map_or(Ok(true), Field::boolean)?;
        reading.warn_of_rest(fields);
        if upgrade_type.eq_ignore_ascii_case("websocket") {
            reading.warn(twice);
        } else if enabled {
            self.upgrade_types.push(upgrade_type);
        }
        Ok(())
    }

    /// Whether it turns extended CONNECT on.
    pub(super) fn allows_connect(&self) -> bool {
        self.allow_connect
    }

    /// Merges the patch into a connection manager.
    pub(super) fn merge_into(&self, manager: &mut HttpConnectionManager) {
        manager.allow_connect |= self.allow_connect;
        manager.max_concurrent_streams =
            self.max_concurrent_streams.unwrap_or(manager.max_concurrent_streams);
        manager.initial_stream_window_size =
            self.initial_stream_window_size.unwrap_or(manager.initial_stream_window_size);
        manager.initial_connection_window_size =
            self.initial_connection_window_size.unwrap_or(manager.initial_connection_window_size);
        // Zero is Envoy's way to turn these off; a connection that need not wait for its peer closes at once.
        let on = |duration: Duration| Some(duration).filter(|duration| !duration.is_zero());
        manager.stream_idle_timeout = self.stream_idle_timeout.map_or(manager.stream_idle_timeout, on);
        manager.max_stream_duration = self.max_stream_duration.map_or(manager.max_stream_duration, on);
        manager.delayed_close_timeout = self.delayed_close_timeout.unwrap_or(manager.delayed_close_timeout);
        for upgrade_type in &self.upgrade_types {
            if !manager.upgrade_types.contains(upgrade_type) {
                manager.upgrade_types.push(upgrade_type.clone());
            }
        }
        manager.patches.push(self.written.clone());
    }
}
