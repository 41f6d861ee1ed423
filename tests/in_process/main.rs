//! The sidecar pair wired by hand in this process: what each way of ending a session leaves in both
//! access logs.

mod admin;
mod endings;
mod gateway;
mod headers;
mod http1_edges;
mod http1_messages;
mod http2_clients;
mod isolation;
mod limits;
mod lint;
mod load;
mod minted_key;
mod mtls;
mod resets;
mod retries;
mod routing;
mod sessions;
mod smuggling;
mod support;
mod timeouts;
