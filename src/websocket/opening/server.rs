//! The server's side of the opening handshake.
