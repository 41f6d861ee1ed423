//! Renderings of a run: each listens to its events and writes what one kind of reader wants.

mod human;

use std::io;

pub use human::Human;

use super::event::VerifyEvent;

/// A listener that writes.
pub trait Reporter {
    /// Takes notice of an event.
    ///
    /// # Errors
    /// What it writes to does not take it.
    fn hear(&mut self, event: &VerifyEvent) -> io::Result<()>;
}
