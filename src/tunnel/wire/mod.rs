//! What stands beneath `h2`, in both directions. `h2` keeps the states of connection and streams,
//! field blocks, resets and ends. What it does not do is done here, by the byte stream that it
//! reads and writes ([`Wire`]) and by the payloads that it is given ([`Payload`]).
//!
//! # The way of one DATA frame
//!
//! ```text
//!             in                                            out
//!
//!  socket                                         relay
//!    │ one read, up to an arena of 128 KiB          │ Stream::send
//!    ▼                                              ▼
//!  io::Wire::poll_read                            send_buffer::Payload   counts until
//!    │                                              │                    h2 drops it
//!    ▼                                              ▼
//!  demultiplexer ──all but sessions' DATA──▶ h2   h2                     frames, peer's windows
//!    │ slices of the arena                   │      │ slices of the payload
//!    ▼                                       │      ▼
//!  receive_buffer                            │    io::Wire::poll_write   finds the payload again;
//!    │ slices; copied together when          │      │                    frame_tracker follows
//!    │ the reader takes nothing              │      ▼
//!    ▼                                       │    io::Wire::poll_send    + our WINDOW_UPDATEs
//!  Stream::poll_data ◀───────────────────────┘      │ one vectored write
//!    │                                              ▼
//!    ▼ relay                                      socket
//! ```
//!
//! The order is kept: nothing is delivered to a receive buffer before `h2` has looked at what came
//! before it, and a stream asks `h2` before it reports an end.
//!
//! # Who owes which window
//!
//! A byte of DATA that arrives lacks in two windows of the peer: the stream's and the connection's
//! (RFC 9113 section 5.2). The stream's comes back when the byte is consumed, that is, taken to be
//! passed on: it bounds what a stalled stream holds. The connection's comes back when the byte
//! arrives: a stalled stream takes nothing from the others.
//!
//! ```text
//!                    a session's DATA, past h2       other DATA, by way of h2
//!                    (receive_buffer)                (Stream, connection_window)
//!
//!  arrives           stream: received += n           h2 counts it in both windows
//!                    owed_to_connection += n
//!                    account += n
//!  waits, stalled    copied together                 copied together; account += n;
//!                                                    the connection's window is announced
//!                                                    larger by what is held, in steps of 1 MiB
//!  is consumed       consumed += n                   release_capacity(n) to h2
//!                    account -= n                    account -= n, held -= n
//!  half a window     a WINDOW_UPDATE of our own,     a WINDOW_UPDATE by h2
//!  is owed           between two frames of h2
//! ```
//!
//! The size of a stream's window is [`stream_window`]'s: small while the budget of the worker is
//! strained. In the other direction `h2` respects the peer's windows; what waits for them in `h2`
//! is in the [`SendBuffer`].

mod connection_window;
mod demultiplexer;
pub mod frame_header;
mod frame_tracker;
mod io;
mod peer_settings;
mod receive_buffer;
mod send_buffer;
mod stream_window;
mod trailers;

pub(super) use io::Wire;
pub use peer_settings::{PeekedSettings, PeerSettings, peek_settings};
pub(super) use receive_buffer::{ReceiveBuffer, ReceiveBuffers};
pub(super) use send_buffer::{HIGH_WATERMARK, Payload, SendBuffer, SendBuffers};

/// What both of `h2`'s connections, a client's and a server's, are told of their windows.
pub(super) trait WindowSettings {
    /// Announces this window of the connection.
    fn set_target_window_size(&mut self, size: u32);

    /// Announces this window of every stream.
    ///
    /// # Errors
    /// The change before has not been acknowledged.
    fn set_initial_window_size(&mut self, size: u32) -> Result<(), h2::Error>;
}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> WindowSettings
    for h2::client::Connection<T, Payload>
{
    fn set_target_window_size(&mut self, size: u32) {
        self.set_target_window_size(size);
    }

    fn set_initial_window_size(&mut self, size: u32) -> Result<(), h2::Error> {
        self.set_initial_window_size(size)
    }
}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> WindowSettings
    for h2::server::Connection<T, Payload>
{
    fn set_target_window_size(&mut self, size: u32) {
        self.set_target_window_size(size);
    }

    fn set_initial_window_size(&mut self, size: u32) -> Result<(), h2::Error> {
        self.set_initial_window_size(size)
    }
}
