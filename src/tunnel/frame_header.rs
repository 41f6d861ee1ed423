//! How HTTP/2 looks on the wire (RFC 9113), as far as it is looked at beside `h2`: what a connection begins with, and the
//! headers of frames.

/// What a client sends before its first frame (section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame header (section 4.1).
pub const FRAME_HEADER_BYTES: usize = 9;

/// Where in it the type is.
pub const TYPE_AT: usize = 3;

/// The type of RST_STREAM (section 6.4).
pub const RST_STREAM: u8 = 3;

/// The type of SETTINGS (section 6.5).
pub const SETTINGS: u8 = 4;

/// How many bytes of payload follow a frame header.
pub(super) fn payload_length([high, middle, low, ..]: [u8; FRAME_HEADER_BYTES]) -> usize {
    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
}
