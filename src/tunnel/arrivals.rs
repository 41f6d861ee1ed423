//! DATA that goes past `h2`, straight to the streams that take it: the frames of WebSocket sessions, which are nearly all
//! that a tunnel carries. `h2` would copy each once more and cost more than all the rest of its way.
//!
//! `h2` keeps everything else: the states of the streams, their heads, resets and ends, and what they send. It does not know
//! of these bytes, so the windows that they were charged to (RFC 9113 section 5.2) are given back here: a stream's own when
//! its reader has taken them, the connection's when they arrive, so that a stalled stream takes nothing from the others.
//! What streams hold meanwhile is charged to their accounts ([`crate::net::Budget`]).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};

use super::frame_header::{FrameHeader, WINDOW_UPDATE};
use super::held::Held;
use super::settings::Settings;
use super::stream_window::StreamWindow;
use crate::net::{Account, Budget, Stalled};

/// So many parts of one stream wait as they came, as many as one write takes; what comes behind them is copied, so that many
/// small frames are few parts.
const MOST_PARTS: usize = 64;

/// The queue of an idle stream keeps room for no more than so many.
const SPARE_PARTS: usize = 8;

/// The streams of one connection that take their DATA here.
#[derive(Debug)]
pub(super) struct Arrivals {
    inboxes: RefCell<HashMap<u32, Rc<Inbox>>>,
    /// The windows that this side announced.
    stream_window: StreamWindow,
    connection_window: usize,
    /// What streams have that comes by way of `h2`.
    pub(super) by_h2: Held,
    /// Arrived and not yet released.
    held: Cell<usize>,
    /// Arrived and not yet given back to the connection's window.
    owed: Cell<usize>,
    /// Streams whose windows are to be given back, and how much of them.
    updates: RefCell<Vec<(u32, usize)>>,
    /// The peer has agreed to the stream window that was announced, and `h2` does not know it yet.
    agreed: Cell<bool>,
    driver: RefCell<Option<Waker>>,
}

/// What has arrived for one stream.
#[derive(Debug)]
pub(super) struct Inbox {
    stream: u32,
    parts: RefCell<VecDeque<Bytes>>,
    /// Behind them.
    merged: RefCell<Stalled>,
    reader: RefCell<Option<Waker>>,
    account: Rc<Account>,
    /// Arrived, and not yet given back to the stream's window.
    charged: Cell<usize>,
    /// Of these, what has been released.
    released: Cell<usize>,
    /// The peer sent more than the window allowed.
    is_exceeded: Cell<bool>,
    /// Nobody reads any more.
    is_closed: Cell<bool>,
    all: Rc<Arrivals>,
}

impl Arrivals {
    pub(super) fn new(settings: &Settings, budget: Rc<Budget>) -> Self {
        Self {
            inboxes: RefCell::default(),
            stream_window: StreamWindow::new(settings.initial_stream_window_size, budget),
            connection_window: settings.initial_connection_window_size as usize,
            by_h2: Held::new(settings.initial_connection_window_size),
            held: Cell::default(),
            owed: Cell::default(),
            updates: RefCell::default(),
            agreed: Cell::default(),
            driver: RefCell::default(),
        }
    }

    /// From here on the stream's DATA comes to this inbox. What `h2` has of it came before.
    pub(super) fn take_over(self: &Rc<Self>, stream: u32, account: &Rc<Account>) -> Rc<Inbox> {
        let inbox = Rc::new(Inbox {
            stream,
            parts: RefCell::default(),
            merged: RefCell::default(),
            reader: RefCell::default(),
            account: Rc::clone(account),
            charged: Cell::default(),
            released: Cell::default(),
            is_exceeded: Cell::default(),
            is_closed: Cell::default(),
            all: Rc::clone(self),
        });
        self.inboxes.borrow_mut().insert(stream, Rc::clone(&inbox));
        inbox
    }

    /// Where the stream's DATA goes, if not to `h2`.
    pub(super) fn inbox(&self, stream: u32) -> Option<Rc<Inbox>> {
        self.inboxes.borrow().get(&stream).cloned()
    }

    /// What still comes for the stream goes to `h2`: nothing that is in order.
    pub(super) fn hand_back(&self, stream: u32) {
        self.inboxes.borrow_mut().remove(&stream);
    }

    /// Notes whom to wake when there is something for [`Arrivals::write_updates`].
    pub(super) fn set_driver(&self, cx: &Context<'_>) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
    }

    /// Appends the frames that give windows back.
    pub(super) fn write_updates(&self, out: &mut BytesMut) {
        for (stream, length) in self.updates.borrow_mut().drain(..) {
            write_update(out, stream, length);
        }
        if self.is_connection_due() {
            write_update(out, 0, self.owed.take());
        }
    }

    /// Half of the window at a time, as `h2` does and Envoy.
    fn is_connection_due(&self) -> bool {
        self.owed.get() >= self.connection_window / 2
    }

    pub(super) fn stream_window(&self) -> &StreamWindow {
        &self.stream_window
    }

    /// The window of the streams was set. Of a smaller one more than half may have been released already.
    pub(super) fn set_stream_window(&self, window: u32) {
        self.stream_window.set(window);
        for inbox in self.inboxes.borrow().values() {
            inbox.give_back(0);
        }
    }

    /// The peer agrees to the stream window, with a frame that `h2` looks at next.
    pub(super) fn note_agreement(&self) {
        self.agreed.set(true);
    }

    /// To be called when `h2` has looked at everything that came.
    pub(super) fn end_turn(&self, cx: &Context<'_>) {
        if self.agreed.take() && self.stream_window.agree() {
            // Streams that get their DATA from `h2` have windows to give back.
            self.stream_window.budget().wake_all();
        }
        if self.stream_window.change().is_some() {
            cx.waker().wake_by_ref();
        }
    }

    /// How much streams have taken or could take, and have not yet released.
    pub(super) fn held(&self) -> usize {
        self.held.get() + self.by_h2.bytes()
    }

    fn wake_driver(&self) {
        // Not within the borrow: whom it wakes is not known here.
        let driver = self.driver.take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

fn write_update(out: &mut BytesMut, stream: u32, length: usize) {
    // No window is larger than 31 bits, nor is what was charged to one.
    let increment = u32::try_from(length).unwrap_or(u32::MAX >> 1);
    let header = FrameHeader { length: 4, kind: WINDOW_UPDATE, flags: 0, stream };
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(&increment.to_be_bytes());
}

impl Inbox {
    pub(super) fn stream(&self) -> u32 {
        self.stream
    }

    /// Takes a part of a frame's payload.
    pub(super) fn deliver(&self, part: Bytes) {
        let length = part.len();
        if self.charge(length) {
            self.all.held.update(|held| held + length);
            self.account.charge(length);
            let (mut parts, mut merged) = (self.parts.borrow_mut(), self.merged.borrow_mut());
            if merged.is_empty() && parts.len() < MOST_PARTS {
                if parts.capacity() == 0 {
                    // Most never need more than one place.
                    parts.reserve_exact(1);
                }
                parts.push_back(part);
            } else {
                merged.push(&part);
            }
        }
        self.wake();
    }

    /// Takes bytes that are charged to the windows and carry nothing: padding, and the byte that says how much of it.
    pub(super) fn deliver_padding(&self, length: usize) {
        if self.charge(length) {
            self.give_back(length);
        }
    }

    /// Returns whether there is room and a reader.
    fn charge(&self, length: usize) -> bool {
        self.all.owed.update(|owed| owed + length);
        if self.is_closed.get() {
            return false;
        }
        let charged = self.charged.get() + length;
        // Before the peer has agreed to a smaller window it goes by the larger one.
        if charged > self.all.stream_window.largest() {
            self.is_exceeded.set(true);
            return false;
        }
        self.charged.set(charged);
        true
    }

    /// The next part.
    pub(super) fn pop(&self) -> Option<Bytes> {
        let mut parts = self.parts.borrow_mut();
        let part = parts.pop_front();
        if parts.is_empty() && parts.capacity() > SPARE_PARTS {
            *parts = VecDeque::new();
        }
        part.or_else(|| self.merged.borrow_mut().pop())
    }

    /// Whether nothing is there now.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.borrow().is_empty() && self.merged.borrow().is_empty()
    }

    /// Whether the peer sent more than the stream's window allowed; the rest was thrown away.
    pub(super) fn is_exceeded(&self) -> bool {
        self.is_exceeded.get()
    }

    /// Notes whom to wake when something comes. One task at a time can wait.
    pub(super) fn set_reader(&self, cx: &Context<'_>) {
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
    }

    /// Gives `length` bytes that were popped back to the peer.
    pub(super) fn release(&self, length: usize) {
        self.all.held.update(|held| held - length);
        self.account.credit(length);
        self.give_back(length);
    }

    fn give_back(&self, length: usize) {
        let released = self.released.get() + length;
        self.released.set(released);
        if released > 0 && released >= self.all.stream_window.now() / 2 {
            self.released.set(0);
            self.charged.update(|charged| charged - released);
            self.all.updates.borrow_mut().push((self.stream, released));
            self.all.wake_driver();
        }
    }

    /// Ends it: the stream's reader is gone, which held `taken` bytes.
    pub(super) fn close(&self, taken: usize) {
        self.is_closed.set(true);
        self.all.hand_back(self.stream);
        let left: usize = std::iter::from_fn(|| self.pop()).map(|part| part.len()).sum();
        self.all.held.update(|held| held - left - taken);
        self.account.credit(left + taken);
    }

    fn wake(&self) {
        let reader = self.reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: usize = 1000;

    fn arrivals() -> Rc<Arrivals> {
        let (stream, connection) = (WINDOW.try_into().unwrap(), (2 * WINDOW).try_into().unwrap());
        let settings = Settings {
            allow_connect: true,
            max_concurrent_streams: 100,
            initial_stream_window_size: stream,
            initial_connection_window_size: connection,
        };
        Rc::new(Arrivals::new(&settings, Budget::unlimited()))
    }

    fn inbox(arrivals: &Rc<Arrivals>, stream: u32) -> Rc<Inbox> {
        arrivals.take_over(stream, &arrivals.stream_window().budget().open())
    }

    /// The streams whose windows are given back, and how much of them.
    fn updates(arrivals: &Arrivals) -> Vec<(u32, u32)> {
        let mut out = BytesMut::new();
        arrivals.write_updates(&mut out);
        let updates = out.as_chunks::<13>().0.iter().map(|frame| {
            let [header @ .., first, second, third, fourth] = *frame;
            let header = FrameHeader::parse(&header);
            assert_eq!((header.length, header.kind), (4, WINDOW_UPDATE));
            (header.stream, u32::from_be_bytes([first, second, third, fourth]))
        });
        updates.collect()
    }

    #[test]
    fn a_streams_window_is_given_back_as_it_is_read_and_the_connections_as_bytes_arrive() {
        let arrivals = arrivals();
        let (read, stalled) = (inbox(&arrivals, 1), inbox(&arrivals, 3));
        stalled.deliver(Bytes::from(vec![0; WINDOW]));
        assert_eq!(updates(&arrivals), [(0, 1000)], "a stalled stream takes nothing from the others");
        for _ in 0..3 {
            read.deliver(Bytes::from(vec![0; 400]));
            assert_eq!(read.pop().map(|part| part.len()), Some(400));
            read.release(400);
        }
        assert_eq!(updates(&arrivals), [(1, 800), (0, 1200)]);
        read.deliver_padding(100);
        assert_eq!(updates(&arrivals), [(1, 500)], "nobody reads padding");
    }

    #[test]
    fn many_small_frames_become_few_parts_in_their_order() {
        let arrivals = arrivals();
        let inbox = inbox(&arrivals, 1);
        let all: Vec<u8> = (0..u8::MAX).collect();
        for _ in 0..2 {
            for byte in &all {
                inbox.deliver(Bytes::copy_from_slice(&[*byte]));
            }
            let parts: Vec<Bytes> = std::iter::from_fn(|| inbox.pop()).collect();
            assert_eq!((parts.len(), parts.concat()), (MOST_PARTS + 1, all.clone()));
            inbox.release(all.len());
        }
    }

    #[test]
    fn what_streams_hold_is_on_their_accounts_until_it_is_released() {
        let arrivals = arrivals();
        let account = arrivals.stream_window().budget().open();
        let inbox = arrivals.take_over(1, &account);
        inbox.deliver(Bytes::from(vec![0; 700]));
        inbox.deliver_padding(100);
        assert_eq!((arrivals.held(), account.held()), (700, 700));
        inbox.deliver(Bytes::from(vec![0; 100]));
        inbox.pop();
        inbox.release(500);
        assert_eq!((arrivals.held(), account.held()), (300, 300));
        inbox.close(200);
        assert_eq!((arrivals.held(), account.held()), (0, 0));
    }

    #[test]
    fn a_window_that_shrinks_gives_back_what_was_released_before() {
        let arrivals = arrivals();
        let (flowing, stalled) = (inbox(&arrivals, 1), inbox(&arrivals, 3));
        for inbox in [&flowing, &stalled] {
            inbox.deliver(Bytes::from(vec![0; 400]));
        }
        flowing.pop();
        flowing.release(400);
        assert_eq!(updates(&arrivals), []);
        arrivals.set_stream_window(100);
        assert_eq!(updates(&arrivals), [(1, 400)]);
        flowing.deliver(Bytes::from(vec![0; 50]));
        flowing.pop();
        flowing.release(50);
        assert_eq!(updates(&arrivals), [(1, 50)], "half of the new window");
        stalled.deliver(Bytes::from(vec![0; 600]));
        assert!(!stalled.is_exceeded(), "the peer may not know yet");
    }

    #[test]
    fn more_than_the_window_is_not_kept_and_nothing_is_for_a_reader_that_has_gone() {
        let arrivals = arrivals();
        let inbox = inbox(&arrivals, 1);
        inbox.deliver(Bytes::from(vec![0; WINDOW]));
        assert!(!inbox.is_exceeded());
        inbox.deliver(Bytes::from_static(b"1"));
        assert!(inbox.is_exceeded());
        inbox.pop();
        inbox.close(WINDOW);
        inbox.deliver(Bytes::from_static(b"2"));
        assert_eq!((inbox.is_empty(), arrivals.held.get()), (true, 0));
        assert!(arrivals.inbox(1).is_none());
    }
}
