//! Does WebSocket work through this service mesh, over HTTP/1.1 and over HTTP/2, and if not, why?
//!
//! One session, start to verdict:
//!
//! ```text
//!  client ──HTTP/1.1 Upgrade──▶ outbound sidecar ══HTTP/2 extended CONNECT══▶ inbound sidecar ──HTTP/1.1 Upgrade──▶ server
//!                                      │                                             │
//!                                      └──────────── access log, one line each ──────┴──▶ verify
//! ```
//!
//! The programs ([`server`], [`client`], [`sidecar`]) stand side by side on the protocol modules
//! ([`http1`], [`websocket`], [`tunnel`], [`access_log`], [`mesh`]); [`verify`] drives the programs
//! and judges the access log, [`probe`] says what an endpoint can do; [`cli`] is the only module
//! that knows the command line. Imports point downwards only.

pub mod access_log;
pub mod cli;
pub mod client;
pub mod drain;
pub mod escape;
pub mod http1;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod mesh;
pub mod nearest;
pub mod net;
pub mod probe;
pub mod server;
pub mod sidecar;
pub mod signals;
pub mod telemetry;
pub mod tls;
pub mod tunnel;
pub mod verify;
pub mod websocket;
pub mod yaml;
