//! The window that each stream of a connection has (`SETTINGS_INITIAL_WINDOW_SIZE`): Envoy's, until stalled streams hold so
//! much that the budget is strained. Then it is small (RFC 9113 section 6.9.2: a change is one of all open streams, too), so
//! that those that stall take little more, and those that flow go on.
//!
//! `h2` writes the frame and waits for its answer. Here is when, and what follows for the streams that are open.

use std::cell::Cell;
use std::rc::Rc;

use crate::net::Budget;

/// While the budget is strained: what a stream may have outstanding in the other direction, too.
const STRAINED_WINDOW: u32 = 256 * 1024;

/// The stream window of one connection.
#[derive(Debug)]
pub(super) struct StreamWindow {
    initial: u32,
    /// As it was announced last.
    announced: Cell<u32>,
    /// As the peer has agreed to it last. Until it has agreed to one change the next has to wait.
    agreed: Cell<u32>,
    awaits_agreement: Cell<bool>,
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
            agreed: Cell::new(initial),
            awaits_agreement: Cell::new(true),
            shrunk: Cell::default(),
            budget,
        }
    }

    pub(super) fn budget(&self) -> &Rc<Budget> {
        &self.budget
    }

    /// The most that a peer can ever have been allowed.
    pub(super) fn largest(&self) -> usize {
        self.initial as usize
    }

    /// What a stream has now: half of it is given back at a time.
    pub(super) fn now(&self) -> usize {
        self.announced.get() as usize
    }

    /// The window to announce, if it is to change and can.
    pub(super) fn change(&self) -> Option<u32> {
        let wanted = if self.budget.is_strained() { self.initial.min(STRAINED_WINDOW) } else { self.initial };
        (!self.awaits_agreement.get() && wanted != self.announced.get()).then_some(wanted)
    }

    /// It is announced.
    pub(super) fn set(&self, window: u32) {
        self.announced.set(window);
        self.awaits_agreement.set(true);
    }

    /// The peer has said that it goes by what was announced. Returns whether it is less than before.
    pub(super) fn agree(&self) -> bool {
        self.awaits_agreement.set(false);
        let announced = self.announced.get();
        let is_smaller = announced < self.agreed.replace(announced);
        if is_smaller {
            self.shrunk.update(|shrunk| shrunk.wrapping_add(1));
        }
        is_smaller
    }

    /// How often the window of the streams has become smaller.
    pub(super) fn shrunk(&self) -> u32 {
        self.shrunk.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_changes_when_the_peer_has_agreed_to_the_one_before() {
        let budget = Budget::new(1000, ());
        let window = StreamWindow::new(1 << 20, Rc::clone(&budget));
        let account = budget.open();
        account.charge(500);
        assert_eq!(window.change(), None, "the first SETTINGS frame is not answered yet");
        assert!(!window.agree());
        assert_eq!(window.change(), Some(STRAINED_WINDOW));
        window.set(STRAINED_WINDOW);
        account.credit(500);
        assert_eq!((window.change(), window.now(), window.largest()), (None, 256 << 10, 1 << 20));
        assert!(window.agree());
        assert_eq!((window.change(), window.shrunk()), (Some(1 << 20), 1));
        account.close();
    }

    #[test]
    fn a_window_that_is_small_already_stays() {
        let budget = Budget::new(1000, ());
        let window = StreamWindow::new(65_535, Rc::clone(&budget));
        budget.open().charge(500);
        window.agree();
        assert_eq!(window.change(), None);
    }
}
