//! How HTTP/2 looks on the wire (RFC 9113), as far as it is looked at beside `h2`: what a
//! connection begins with, and the headers of frames.

/// What a client sends before its first frame (section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame header (section 4.1).
pub const FRAME_HEADER_BYTES: usize = 9;

/// Where in it the type is.
pub const TYPE_AT: usize = 3;

/// The type of DATA (section 6.1).
pub const DATA: u8 = 0;

/// The type of HEADERS (section 6.2).
pub const HEADERS: u8 = 1;

/// The type of `RST_STREAM` (section 6.4).
pub const RST_STREAM: u8 = 3;

/// The type of SETTINGS (section 6.5).
pub const SETTINGS: u8 = 4;

/// The type of `PUSH_PROMISE` (section 6.6).
pub const PUSH_PROMISE: u8 = 5;

/// The type of `WINDOW_UPDATE` (section 6.9).
pub const WINDOW_UPDATE: u8 = 8;

/// The type of CONTINUATION (section 6.10).
pub const CONTINUATION: u8 = 9;

/// A flag of SETTINGS: the peer's settings are in force.
pub const ACK: u8 = 0x1;

/// A flag of DATA and HEADERS: the last frame of its stream.
pub const END_STREAM: u8 = 0x1;

/// A flag of HEADERS and CONTINUATION: the last frame of its field block.
pub const END_HEADERS: u8 = 0x4;

/// A flag of DATA: a byte with the length of the padding comes first, the padding last.
pub const PADDED: u8 = 0x8;

/// A flag of HEADERS: five bytes about priority come before the field block.
pub const PRIORITY: u8 = 0x20;

/// The largest frame that this side allows, `SETTINGS_MAX_FRAME_SIZE`'s first value: `h2` refuses
/// what is larger.
pub(super) const MAX_FRAME_BYTES: usize = 16 * 1024;

/// A frame header (section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// How many bytes of payload follow.
    pub length: usize,
    /// The type.
    pub kind: u8,
    /// The flags, which mean something else for each type.
    pub flags: u8,
    /// The stream, 0 for the connection.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads it.
    #[must_use]
    pub fn parse(bytes: &[u8; FRAME_HEADER_BYTES]) -> Self {
        let [high, middle, low, kind, flags, stream @ ..] = *bytes;
        Self {
            length: usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        }
    }

    /// Writes it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let [.., high, middle, low] = self.length.to_be_bytes();
        let [first, second, third, fourth] = self.stream.to_be_bytes();
        [high, middle, low, self.kind, self.flags, first, second, third, fourth]
    }
}
