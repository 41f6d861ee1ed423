//! The connection's window gets back what stalled streams hold, so that they take nothing from the others.
//!
//! `h2` gives bytes back to the window of the stream and of the connection together (`release_capacity`), and a stream
//! that stalls must not get its own back. So the connection's window is made larger by what is held instead, and smaller
//! again when that is released. Each stream stays bound by its own window, all of them together by their budget
//! ([`crate::net::Budget`]).

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// The window follows in steps of this, so that streams that keep flowing never move it.
const STEP: usize = 1 << 20;

/// What the streams of one connection have taken and not yet released.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Cell<usize>,
    /// The connection's window as it was set last.
    window: Cell<u32>,
    initial: u32,
    driver: RefCell<Option<Waker>>,
}

impl Held {
    pub(super) fn new(initial: u32) -> Self {
        Self { bytes: Cell::new(0), window: Cell::new(initial), initial, driver: RefCell::default() }
    }

    pub(super) fn take(&self, length: usize) {
        self.set(self.bytes.get() + length);
    }

    pub(super) fn release(&self, length: usize) {
        self.set(self.bytes.get() - length);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    fn set(&self, bytes: usize) {
        self.bytes.set(bytes);
        if self.target() != self.window.get()
            && let Some(driver) = self.driver.take()
        {
            driver.wake();
        }
    }

    fn target(&self) -> u32 {
        let extra = self.bytes.get() / STEP * STEP;
        // 2^31-1 is the largest window there is.
        let largest = i32::MAX.cast_unsigned();
        self.initial.saturating_add(u32::try_from(extra).unwrap_or(largest)).min(largest)
    }

    /// The window to set if it has changed. Wakes the task that drives the connection when it changes again.
    pub(super) fn poll_window(&self, cx: &Context<'_>) -> Option<u32> {
        self.driver.replace(Some(cx.waker().clone()));
        let target = self.target();
        (self.window.replace(target) != target).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_by_what_is_held_up_to_the_largest_there_is() {
        let held = Held::new(24 << 20);
        let cx = Context::from_waker(Waker::noop());
        held.take(STEP - 1);
        assert_eq!(held.poll_window(&cx), None);
        held.take(1);
        assert_eq!(held.poll_window(&cx), Some(25 << 20));
        held.take(8 << 30);
        assert_eq!(held.poll_window(&cx), Some((1 << 31) - 1));
        assert_eq!(held.poll_window(&cx), None);
        held.release((8 << 30) + STEP);
        assert_eq!(held.poll_window(&cx), Some(24 << 20));
    }
}
