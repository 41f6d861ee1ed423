//! A live cluster: which one is meant, as kubectl is told, and what it has in force, read and never
//! changed. Playing sessions in it is `verify`'s.
//!
//! ```text
//!  ClusterChoice ──connect──▶ Client ──discovery──▶ the kinds that are served ──list──▶ documents ──▶ InForce
//!                                └──port-forward to Envoy's admin port──▶ dumps ────────────────────────┘
//! ```

mod connect;
mod discovery;
mod documents;
mod dump;
mod list;
mod pods;
mod read;
mod tidy;
mod unread;

#[cfg(test)]
mod tests;

pub use self::connect::{ClusterChoice, ConnectError, connect};
pub use self::list::ReadError;
pub use self::read::{Covered, InForce, PodDump, ReadConfig, read};
pub use self::unread::Unread;
