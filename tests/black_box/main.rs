//! The real binary, driven as a user drives it: a module a subcommand. Port 0, ready lines, no
//! sleeps.

mod client;
mod descriptors;
mod explain;
mod explain_follow;
mod json_schema;
mod lint;
#[cfg(feature = "kubernetes")]
mod lint_kubernetes;
mod mtls;
mod probe;
mod promises;
mod server;
mod sidecar;
mod sidecar_access_log;
mod sidecar_admin;
mod sidecar_signals;
mod standard_output;
mod strangers;
mod support;
mod verify;
mod verify_envoy;
mod verify_logs;
mod verify_scenarios;
