//! How much memory streams may hold for peers that do not take it: an account for each stream, and
//! one budget for the streams that share a bound. Envoy's `BufferMemoryAccount` and
//! `WatermarkBufferFactory`. The owner of a stream that is condemned gives the stream's memory
//! back, by resetting it.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// The budget is strained from this part of the limit on: streams get smaller windows, and new ones
/// another connection.
const STRAINED_FROM: usize = 4;

/// It is strained until less than this part is held, so that one stream does not strain it again
/// and again.
const STRAINED_UNTIL: usize = 8;

/// A stream that holds less is not condemned, because it may be one that flows: while the budget is
/// strained, such a stream has less than this on its way in both directions.
const MIN_CONDEMNED_BYTES: usize = 1 << 20;

/// A stream whose peer has taken nothing for so long is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// What a stalled stream costs the system besides, in the buffer of its socket, with the system's
/// own bookkeeping. It counts against the limit of a container.
const SOCKET_BYTES: usize = 4 * super::MAX_UNSENT_BYTES as usize;

/// Room for so many accounts is kept in any case.
const SPARE_ACCOUNTS: usize = 64;

/// Is told what happens to a budget.
pub trait Watcher: Debug {
    /// Streams hold so many bytes that the budget is strained now, or not any more.
    fn strained(&self, is_strained: bool, held: usize);

    /// The limit was reached, and a stream that holds so many bytes has to give them back: it is
    /// condemned.
    fn condemned(&self, held: usize);
}

/// Ignores it.
impl Watcher for () {
    fn strained(&self, _: bool, _: usize) {}
    fn condemned(&self, _: usize) {}
}

/// The memory that the streams of a worker hold together.
#[derive(Debug)]
pub struct Budget {
    /// In bytes.
    limit: usize,
    held: Cell<usize>,
    is_strained: Cell<bool>,
    /// Of the streams that are open.
    accounts: RefCell<Vec<Rc<Account>>>,
    watcher: Box<dyn Watcher>,
}

/// The memory that one stream holds.
#[derive(Debug)]
pub struct Account {
    held: Cell<usize>,
    /// It has to give its memory back, and what it holds is not counted any more.
    is_condemned: Cell<bool>,
    /// Where it is among the budget's accounts.
    index: Cell<usize>,
    /// Since when its peer has taken nothing, if something waits for the peer.
    waits_since: Cell<Option<Instant>>,
    owner: RefCell<Option<Waker>>,
    budget: Rc<Budget>,
}

impl Budget {
    /// At `limit` bytes the streams that hold most have to give theirs back.
    #[must_use]
    pub fn new(limit: usize, watcher: impl Watcher + 'static) -> Rc<Self> {
        Rc::new(Self {
            limit,
            held: Cell::default(),
            is_strained: Cell::default(),
            accounts: RefCell::default(),
            watcher: Box::new(watcher),
        })
    }

    /// Without a limit: what streams may hold is bound by their windows alone.
    #[must_use]
    pub fn unlimited() -> Rc<Self> {
        Self::new(usize::MAX, ())
    }

    /// The account of a stream that begins. It is to be closed when the stream ends.
    #[must_use]
    pub fn open(self: &Rc<Self>) -> Rc<Account> {
        let mut accounts = self.accounts.borrow_mut();
        let account = Rc::new(Account {
            held: Cell::default(),
            is_condemned: Cell::default(),
            index: Cell::new(accounts.len()),
            waits_since: Cell::default(),
            owner: RefCell::default(),
            budget: Rc::clone(self),
        });
        accounts.push(Rc::clone(&account));
        account
    }

    /// Whether the streams hold so much that each is to get smaller windows.
    #[must_use]
    pub fn is_strained(&self) -> bool {
        self.is_strained.get()
    }

    /// From how many bytes on it is strained.
    #[must_use]
    pub fn strained_from(&self) -> usize {
        self.limit / STRAINED_FROM
    }

    /// Looks at what stalled streams cost with their sockets; to be called about once a second. At
    /// the limit those that hold most have to give it back.
    pub fn review(&self) {
        if !self.is_strained() {
            return;
        }
        let mut stalled: Vec<_> =
            self.accounts.borrow().iter().filter(|it| it.is_stalled()).cloned().collect();
        stalled.sort_by_key(|account| account.held.get());
        while self.held.get() + stalled.len() * SOCKET_BYTES > self.limit {
            let Some(largest) = stalled.pop() else { return };
            largest.condemn();
        }
    }

    /// Has the owner of every open account look at its stream.
    pub fn wake_all(&self) {
        let owners: Vec<Waker> =
            self.accounts.borrow().iter().filter_map(|account| account.owner.take()).collect();
        owners.into_iter().for_each(Waker::wake);
    }

    fn add(&self, length: usize) {
        let held = self.held.get() + length;
        self.held.set(held);
        if held > self.strained_from() && !self.is_strained.replace(true) {
            self.watcher.strained(true, held);
        }
        while self.held.get() > self.limit {
            let Some(largest) = self.largest() else { return };
            largest.condemn();
        }
    }

    fn subtract(&self, length: usize) {
        let held = self.held.get() - length;
        self.held.set(held);
        if self.is_strained.get() && held < self.limit / STRAINED_UNTIL {
            self.is_strained.set(false);
            self.watcher.strained(false, held);
        }
    }

    /// The open stream that holds most, if it is worth it.
    fn largest(&self) -> Option<Rc<Account>> {
        let accounts = self.accounts.borrow();
        let candidates = accounts
            .iter()
            .filter(|account| !account.is_condemned.get() && account.held.get() >= MIN_CONDEMNED_BYTES);
        candidates.max_by_key(|account| account.held.get()).cloned()
    }
}

impl Account {
    /// The budget that it is part of.
    #[must_use]
    pub fn budget(&self) -> &Rc<Budget> {
        &self.budget
    }

    /// How many bytes the stream holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.get()
    }

    /// The stream holds so many bytes more.
    pub fn charge(&self, length: usize) {
        self.held.update(|held| held + length);
        if !self.is_condemned.get() {
            self.budget.add(length);
        }
    }

    /// The stream holds so many bytes less.
    pub fn credit(&self, length: usize) {
        self.held.update(|held| held - length);
        if !self.is_condemned.get() {
            self.budget.subtract(length);
        }
    }

    /// Notes whether something waits for the peer, at the beginning and whenever the peer takes
    /// some of it.
    pub fn note_waiting(&self, is_waiting: bool) {
        self.waits_since.set(is_waiting.then(Instant::now));
    }

    fn is_stalled(&self) -> bool {
        let waits_since = self.waits_since.get();
        !self.is_condemned.get() && waits_since.is_some_and(|since| since.elapsed() >= STALLED_AFTER)
    }

    fn condemn(&self) {
        let held = self.held.get();
        self.is_condemned.set(true);
        // The bytes are as good as free: no other stream has to go for them.
        self.budget.subtract(held);
        self.budget.watcher.condemned(held);
        // Not within the borrow: the task that is woken may poll this account at once.
        let owner = self.owner.take();
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// Ready when the stream has to give its memory back. One task at a time can wait.
    pub fn poll_condemned(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_condemned.get() {
            return Poll::Ready(());
        }
        let mut owner = self.owner.borrow_mut();
        if !owner.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *owner = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Closes the account with its stream. What the stream still holds counts until it is gone.
    pub fn close(&self) {
        let mut accounts = self.budget.accounts.borrow_mut();
        let index = self.index.get();
        accounts.swap_remove(index);
        if let Some(moved) = accounts.get(index) {
            moved.index.set(index);
        }
        let (open, room) = (accounts.len(), accounts.capacity());
        if room > SPARE_ACCOUNTS && open < room / 4 {
            accounts.shrink_to(room / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 16 * MIN_CONDEMNED_BYTES;

    /// What a watcher was told.
    #[derive(Debug, Default, Clone)]
    struct Told(Rc<RefCell<Vec<(&'static str, usize)>>>);

    impl Watcher for Told {
        fn strained(&self, is_strained: bool, held: usize) {
            self.0.borrow_mut().push((if is_strained { "strained" } else { "relaxed" }, held));
        }
        fn condemned(&self, held: usize) {
            self.0.borrow_mut().push(("condemned", held));
        }
    }

    fn is_condemned(account: &Account) -> bool {
        account.poll_condemned(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn at_the_limit_the_stream_that_holds_most_has_to_go_and_no_other() {
        let told = Told::default();
        let budget = Budget::new(LIMIT, told.clone());
        let [small, large, last] = [budget.open(), budget.open(), budget.open()];
        small.charge(LIMIT / 4);
        large.charge(LIMIT / 2);
        last.charge(LIMIT / 4);
        assert!(!is_condemned(&large), "the limit is not passed");
        last.charge(1);
        assert_eq!([&small, &large, &last].map(|account| is_condemned(account)), [false, true, false]);
        assert_eq!(budget.held.get(), LIMIT / 2 + 1, "what has to go does not count any more");
        large.credit(LIMIT / 2);
        large.close();
        small.credit(LIMIT / 4);
        last.credit(LIMIT / 4);
        last.close();
        small.close();
        assert_eq!((budget.held.get(), budget.accounts.borrow().len()), (1, 0));
        let strained = ("strained", LIMIT / 4 + LIMIT / 2);
        assert_eq!(*told.0.borrow(), [strained, ("condemned", LIMIT / 2), ("relaxed", 1)]);
    }

    #[test]
    fn a_budget_is_strained_from_a_quarter_to_an_eighth() {
        let budget = Budget::new(LIMIT, ());
        let account = budget.open();
        let strained_after = |account: &Account| account.budget().is_strained();
        account.charge(LIMIT / 4);
        assert!(!strained_after(&account));
        account.charge(1);
        assert!(strained_after(&account));
        account.credit(LIMIT / 8);
        assert!(strained_after(&account));
        account.credit(2);
        assert!(!strained_after(&account));
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_streams_cost_their_sockets_too_and_flowing_ones_do_not() {
        let budget = Budget::new(3 * SOCKET_BYTES, ());
        let accounts = [1, 3, 2, 4].map(|quarters: usize| {
            let account = budget.open();
            account.charge(quarters * SOCKET_BYTES / 4);
            account.note_waiting(true);
            account
        });
        let condemned = || accounts.each_ref().map(|account| is_condemned(account));
        budget.review();
        assert_eq!(condemned(), [false; 4], "nobody waits for long");
        tokio::time::advance(STALLED_AFTER).await;
        let [.., flowing] = &accounts;
        flowing.note_waiting(true);
        budget.review();
        assert_eq!(condemned(), [false, true, true, false]);
        budget.review();
        assert_eq!(condemned(), [false, true, true, false], "what is left is within the limit");
    }

    #[test]
    fn what_a_stream_that_has_ended_still_holds_counts_and_costs_no_small_stream_its_life() {
        let budget = Budget::new(LIMIT, ());
        let (ended, flowing) = (budget.open(), budget.open());
        ended.charge(LIMIT);
        ended.close();
        flowing.charge(MIN_CONDEMNED_BYTES - 1);
        assert!(!is_condemned(&flowing));
        flowing.charge(1);
        assert!(is_condemned(&flowing));
    }
}
