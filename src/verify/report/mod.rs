//! Renderings of a run: each listens to its events and writes what one kind of reader wants.

mod failures;
mod github;
mod human;
mod json;
mod junit;
#[cfg(test)]
mod tests;

use std::io;

pub use github::Github;
pub use human::Human;
pub use json::{Json, schema};
pub use junit::Junit;

use super::event::VerifyEvent;

/// A listener that writes.
pub trait Reporter {
    /// Takes notice of an event.
    ///
    /// # Errors
    /// What it writes to does not take it.
    fn hear(&mut self, event: &VerifyEvent) -> io::Result<()>;
}
