//! The connection's window for the DATA that `h2` receives: it is made larger by what stalled
//! streams hold, so that they take nothing from the others.
//!
//! `h2` gives bytes back to the windows of the stream and of the connection together
//! (`release_capacity`), and a stream that stalls must not get its own window back. So the
//! connection's window grows by what is held instead, and shrinks again when that is consumed. Each
//! stream stays bounded by its own window, and all of them together by their budget
//! ([`crate::net::Budget`]).

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// The window moves in steps of this, so that streams that keep flowing never move it.
const STEP: usize = 1 << 20;

/// The largest window of HTTP/2 (RFC 9113 section 6.9.1).
const MAX_WINDOW: u32 = i32::MAX.cast_unsigned();

/// The window of one connection, as `h2` is told to keep it.
#[derive(Debug)]
pub(in crate::tunnel) struct ConnectionWindow {
    initial: u32,
    /// As `h2` was told last.
    current: Cell<u32>,
    /// Bytes that streams have received by way of `h2` and not consumed.
    held: Cell<usize>,
    driver: RefCell<Option<Waker>>,
}

impl ConnectionWindow {
    pub(super) fn new(initial: u32) -> Self {
        Self { initial, current: Cell::new(initial), held: Cell::default(), driver: RefCell::default() }
    }

    /// A stream keeps `length` bytes.
    pub(in crate::tunnel) fn hold(&self, length: usize) {
        self.set_held(self.held.get() + length);
    }

    /// A stream has consumed `length` bytes that it kept.
    pub(in crate::tunnel) fn consume(&self, length: usize) {
        self.set_held(self.held.get() - length);
    }

    pub(super) fn held(&self) -> usize {
        self.held.get()
    }

    fn set_held(&self, held: usize) {
        self.held.set(held);
        if self.target() != self.current.get()
            && let Some(driver) = self.driver.take()
        {
            driver.wake();
        }
    }

    fn target(&self) -> u32 {
        let extra = self.held.get() / STEP * STEP;
        self.initial.saturating_add(u32::try_from(extra).unwrap_or(MAX_WINDOW)).min(MAX_WINDOW)
    }

    /// The window that `h2` is to be told, if it has changed. Wakes the connection's task when it
    /// changes again.
    pub(super) fn poll_change(&self, cx: &Context<'_>) -> Option<u32> {
        self.driver.replace(Some(cx.waker().clone()));
        let target = self.target();
        (self.current.replace(target) != target).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_by_what_is_held_up_to_the_largest_there_is() {
        let window = ConnectionWindow::new(24 << 20);
        let cx = Context::from_waker(Waker::noop());
        window.hold(STEP - 1);
        assert_eq!(window.poll_change(&cx), None);
        window.hold(1);
        assert_eq!(window.poll_change(&cx), Some(25 << 20));
        window.hold(8 << 30);
        assert_eq!(window.poll_change(&cx), Some((1 << 31) - 1));
        assert_eq!(window.poll_change(&cx), None);
        window.consume((8 << 30) + STEP);
        assert_eq!(window.poll_change(&cx), Some(24 << 20));
    }
}
