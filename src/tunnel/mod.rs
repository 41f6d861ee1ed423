//! One HTTP/2 connection that carries many WebSocket sessions (RFC 8441).
