//! The access log of a sidecar, as Istio configures Envoy to write it: one line a stream, after its
//! end.
//!
//! An [`Entry`] is what there is to say; a [`Record`] is the guard that a stream carries and that
//! emits the entry exactly once; the [`Sink`] is the one thread that formats and writes lines, so
//! that the data path never does. A [`ParsedLine`] is such a line read back, of a log's [`Lines`]
//! by a [`LineFormat`]; a [`Joiner`] finds the line of the other [`Side`], and [`explain`] says
//! what it means.

mod chunks;
mod entry;
pub mod explain;
mod format;
mod istio_keys;
mod join;
mod line_format;
mod lines;
mod output;
mod parse;
mod record;
mod records;
mod response_flags;
mod side;
mod sink;

pub use chunks::{CHUNK_BYTES, Chunk, Chunks, is_too_long};
pub use entry::{Entry, Protocol};
pub use format::Format;
pub use join::{JoinKeys, Joiner, MAX_WAITING, Rest, WaitingLine};
pub use line_format::{LineFormat, LineFormatError};
pub use lines::{Lines, MAX_LINE_BYTES};
pub use output::{SinkError, Target};
pub use parse::{Field, LinePart, ParseError, ParsedLine};
pub use record::Record;
pub use records::{Finder, Records, Unread, is_of_ztunnel};
pub use response_flags::{ResponseFlag, ResponseFlags};
pub use side::{BySide, Side};
pub use sink::{Reopen, Sink, Writer};
