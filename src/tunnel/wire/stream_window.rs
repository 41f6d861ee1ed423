//! The window that each stream of a connection has (`SETTINGS_INITIAL_WINDOW_SIZE`). It is Envoy's
//! until stalled streams hold so much that the budget is strained. Then it is small, for open
//! streams too (RFC 9113 section 6.9.2), so that streams that stall take little more while streams
//! that flow go on.
//!
//! `h2` writes the SETTINGS frame and waits for its acknowledgement. This module decides when the
//! window changes.

use std::cell::Cell;
use std::rc::Rc;

use crate::net::Budget;

/// The window while the budget is strained: as much as a stream may have in its send buffer.
const STRAINED_WINDOW: u32 = 256 * 1024;

/// The stream window of one connection.
#[derive(Debug)]
pub(in crate::tunnel) struct StreamWindow {
    initial: u32,
    /// As it was announced last.
    announced: Cell<u32>,
    /// As the peer has acknowledged it last. Until one change is acknowledged the next one has to
    /// wait.
    acknowledged: Cell<u32>,
    awaits_acknowledgement: Cell<bool>,
    /// How often the window has become smaller.
    shrunk: Cell<u32>,
    budget: Rc<Budget>,
}

impl StreamWindow {
    /// As the first SETTINGS frame announces it.
    pub(super) fn new(initial: u32, budget: Rc<Budget>) -> Self {
        Self {
            initial,
            announced: Cell::new(initial),
            acknowledged: Cell::new(initial),
            awaits_acknowledgement: Cell::new(true),
            shrunk: Cell::default(),
            budget,
        }
    }

    pub(in crate::tunnel) fn budget(&self) -> &Rc<Budget> {
        &self.budget
    }

    /// The most that a peer can ever have been allowed.
    pub(super) fn largest(&self) -> usize {
        self.initial as usize
    }

    /// The window of a stream now: half of it is given back at a time.
    pub(super) fn current(&self) -> usize {
        self.announced.get() as usize
    }

    /// The window to announce, if it is to change and can.
    pub(super) fn change(&self) -> Option<u32> {
        let wanted = if self.budget.is_strained() { self.initial.min(STRAINED_WINDOW) } else { self.initial };
        (!self.awaits_acknowledgement.get() && wanted != self.announced.get()).then_some(wanted)
    }

    /// Notes that `window` is announced.
    pub(super) fn set(&self, window: u32) {
        self.announced.set(window);
        self.awaits_acknowledgement.set(true);
    }

    /// Notes that the peer goes by what was announced. Returns whether that is less than before.
    pub(super) fn acknowledge(&self) -> bool {
        self.awaits_acknowledgement.set(false);
        let announced = self.announced.get();
        let is_smaller = announced < self.acknowledged.replace(announced);
        if is_smaller {
            self.shrunk.update(|shrunk| shrunk.wrapping_add(1));
        }
        is_smaller
    }

    /// How often the window of the streams has become smaller.
    pub(in crate::tunnel) fn shrunk(&self) -> u32 {
        self.shrunk.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_changes_when_the_peer_has_acknowledged_the_one_before() {
        let budget = Budget::new(1000, ());
        let window = StreamWindow::new(1 << 20, Rc::clone(&budget));
        let account = budget.open();
        account.charge(500);
        assert_eq!(window.change(), None, "the first SETTINGS frame is not answered yet");
        assert!(!window.acknowledge());
        assert_eq!(window.change(), Some(STRAINED_WINDOW));
        window.set(STRAINED_WINDOW);
        account.credit(500);
        assert_eq!((window.change(), window.current(), window.largest()), (None, 256 << 10, 1 << 20));
        assert!(window.acknowledge());
        assert_eq!((window.change(), window.shrunk()), (Some(1 << 20), 1));
        account.close();
    }

    #[test]
    fn a_window_that_is_small_already_stays() {
        let budget = Budget::new(1000, ());
        let window = StreamWindow::new(65_535, Rc::clone(&budget));
        budget.open().charge(500);
        window.acknowledge();
        assert_eq!(window.change(), None);
    }
}
