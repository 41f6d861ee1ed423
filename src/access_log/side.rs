//! The two sidecars that a session passes, and what there is one of at each.

use std::fmt;
use std::ops::{Index, IndexMut};

/// A sidecar, by the side of the session that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The client's sidecar, the outbound one.
    Client,
    /// The server's sidecar, the inbound one.
    Server,
}

impl Side {
    /// Both, in the order in which a session passes them.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    /// The sidecar at the other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// One value for each side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BySide<T> {
    /// The client's sidecar's.
    pub client: T,
    /// The server's sidecar's.
    pub server: T,
}

impl<T> BySide<T> {
    /// Makes the value of each side.
    pub fn from_fn(mut make: impl FnMut(Side) -> T) -> Self {
        Self { client: make(Side::Client), server: make(Side::Server) }
    }

    /// A value that only `side` has, with `other` at the other side.
    pub fn with(side: Side, value: T, other: T) -> Self {
        match side {
            Side::Client => Self { client: value, server: other },
            Side::Server => Self { client: other, server: value },
        }
    }
}

impl<T> Index<Side> for BySide<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }
}

impl<T> IndexMut<Side> for BySide<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}
