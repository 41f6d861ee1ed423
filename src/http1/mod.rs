//! HTTP/1.1 heads as they are on the wire (RFC 9112): parsed with `httparse`, kept in order,
//! written back in order.
//!
//! Not a client or a server: no connection is opened, no error answered here. A proxy that is to
//! agree with Envoy has to see what hyper hides (early bytes, odd framings, the order of fields),
//! hence a layer of our own.

mod body;
mod fields;
mod head;

pub use body::{BodyDecoder, CHUNK_END, ChunkError, Decoded, Framing, FramingError, LAST_CHUNK, chunk_head};
pub use fields::Fields;
pub use head::{
    HeadError, MAX_FIELDS, MAX_HEAD_BYTES, MAX_RESPONSE_HEAD_BYTES, RequestHead, ResponseHead,
    parse_folded_request, parse_request, parse_response,
};
