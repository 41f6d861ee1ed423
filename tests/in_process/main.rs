//! The sidecar pair wired by hand in this process: what each way of ending a session leaves in both access logs.

mod admin;
mod further;
mod minted_key;
mod mtls;
mod sessions;
mod support;
