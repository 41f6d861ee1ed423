//! The WebSocket echo server.
