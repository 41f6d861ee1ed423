//! The sidecar pair wired by hand in this process: what each way of ending a session leaves in both access logs.

mod admin;
mod isolation;
mod load;
mod mtls;
mod sessions;
mod support;
