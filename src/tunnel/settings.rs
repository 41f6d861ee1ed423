//! The first SETTINGS frame of either side (RFC 9113 section 6.5), in Envoy's order and with
//! Envoy's values.

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::frame_header::{FRAME_HEADER_BYTES, FrameHeader, SETTINGS};

/// `SETTINGS_HEADER_TABLE_SIZE`: the protocol's default, which Envoy announces all the same.
const HEADER_TABLE_SIZE: u32 = 4096;

const ID_HEADER_TABLE_SIZE: u16 = 1;
const ID_ENABLE_PUSH: u16 = 2;
const ID_MAX_CONCURRENT_STREAMS: u16 = 3;
const ID_INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const ID_ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// What one side of a connection announces; Envoy's `Http2ProtocolOptions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `SETTINGS_ENABLE_CONNECT_PROTOCOL` (RFC 8441): Envoy's `allow_connect`.
    pub allow_connect: bool,
    /// `SETTINGS_MAX_CONCURRENT_STREAMS`.
    pub max_concurrent_streams: u32,
    /// `SETTINGS_INITIAL_WINDOW_SIZE`, bytes a stream.
    pub initial_stream_window_size: u32,
    /// The connection's window in bytes, reached by a WINDOW_UPDATE.
    pub initial_connection_window_size: u32,
}

impl Settings {
    /// The frame that a client sends.
    pub(super) fn client_frame(self) -> Bytes {
        frame(&[
            (ID_ENABLE_PUSH, 0),
            (ID_HEADER_TABLE_SIZE, HEADER_TABLE_SIZE),
            (ID_ENABLE_CONNECT_PROTOCOL, u32::from(self.allow_connect)),
            (ID_MAX_CONCURRENT_STREAMS, self.max_concurrent_streams),
            (ID_INITIAL_WINDOW_SIZE, self.initial_stream_window_size),
        ])
    }

    /// The frame that a server sends.
    pub(super) fn server_frame(self) -> Bytes {
        frame(&[
            (ID_HEADER_TABLE_SIZE, HEADER_TABLE_SIZE),
            (ID_ENABLE_CONNECT_PROTOCOL, u32::from(self.allow_connect)),
            (ID_MAX_CONCURRENT_STREAMS, self.max_concurrent_streams),
            (ID_INITIAL_WINDOW_SIZE, self.initial_stream_window_size),
        ])
    }
}

/// A SETTINGS frame: its header, then pairs of identifier and value.
fn frame(settings: &[(u16, u32)]) -> Bytes {
    let length = settings.len() * 6;
    let mut out = BytesMut::with_capacity(FRAME_HEADER_BYTES + length);
    out.extend_from_slice(&FrameHeader { length, kind: SETTINGS, flags: 0, stream: 0 }.to_bytes());
    for (identifier, value) in settings {
        out.put_u16(*identifier);
        out.put_u32(*value);
    }
    out.freeze()
}

/// Tells a builder of `h2`, a client's or a server's, what both are told. What is announced is not
/// here: the wire replaces the first SETTINGS frame.
macro_rules! builder {
    ($builder:expr, $settings:expr) => {{
        // For `h2`'s own bounds that would close the connection of all sessions because of one of
        // them.
        const UNBOUNDED: usize = usize::MAX >> 1;
        let mut builder = $builder;
        builder
            .initial_window_size($settings.initial_stream_window_size)
            .initial_connection_window_size($settings.initial_connection_window_size)
            .max_concurrent_streams($settings.max_concurrent_streams)
            // Small DATA frames of a stalled stream are coalesced instead, and the stream's window
            // bounds them.
            .data_frame_budget(UNBOUNDED)
            // It counts over the whole life of the connection, and counts every frame that comes
            // late for a stream that was given up here.
            .max_local_error_reset_streams(None)
            .max_send_buffer_size(crate::tunnel::wire::HIGH_WATERMARK * 2);
        builder
    }};
}
pub(super) use builder;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_envoys_to_the_byte() {
        let settings = Settings {
            allow_connect: true,
            max_concurrent_streams: 1024,
            initial_stream_window_size: 16 << 20,
            initial_connection_window_size: 24 << 20,
        };
        let server: &[u8] = &[
            0, 0, 24, 4, 0, 0, 0, 0, 0, 0, 1, 0, 0, 16, 0, 0, 8, 0, 0, 0, 1, 0, 3, 0, 0, 4, 0, 0, 4, 1, 0, 0,
            0,
        ];
        assert_eq!(&settings.server_frame()[..], server);
        assert_eq!(&settings.client_frame()[..15], &[0, 0, 30, 4, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    }
}
