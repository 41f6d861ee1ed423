//! Receive buffers: the DATA of WebSocket sessions, which goes past `h2` straight to the streams
//! that take it. `h2` would copy each byte once more, and that would cost more than all the rest of
//! its way.
//!
//! `h2` keeps everything else: the states of the streams, their heads, resets and ends, and what
//! they send. It does not know of these bytes, so their windows are given back here, by
//! WINDOW_UPDATE frames of our own; the drawing in [`super`] shows when.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};

use super::WindowSettings;
use super::connection_window::ConnectionWindow;
use super::frame_header::{FrameHeader, WINDOW_UPDATE};
use super::stream_window::StreamWindow;
use crate::net::{Account, Budget, CoalescingBuffer};
use crate::tunnel::settings::Settings;

/// So many slices of one stream wait as they were read, as many as one write takes; what comes
/// behind them is coalesced, so that many small frames are few parts.
const MAX_SLICES: usize = 64;

/// The queue of an idle stream keeps room for no more than so many slices.
const MAX_SPARE_SLICES: usize = 8;

/// The receive side of one connection: its receive buffers and its windows.
#[derive(Debug)]
pub(in crate::tunnel) struct ReceiveBuffers {
    by_stream: RefCell<HashMap<u32, Rc<ReceiveBuffer>>>,
    stream_window: StreamWindow,
    /// For what `h2` receives.
    h2_window: ConnectionWindow,
    /// The connection's window that this side announced.
    connection_window: usize,
    /// Arrived here, and not given back to the connection's window yet.
    owed_to_connection: Cell<usize>,
    /// The streams whose windows are to be given back, and how much of them.
    owed_to_streams: RefCell<Vec<(u32, usize)>>,
    /// Arrived here, and not consumed yet, in all buffers together.
    held: Cell<usize>,
    /// The peer has acknowledged our SETTINGS with a frame that `h2` has not looked at yet.
    settings_acknowledged: Cell<bool>,
    driver: RefCell<Option<Waker>>,
}

/// The DATA that has arrived for one stream.
#[derive(Debug)]
pub(in crate::tunnel) struct ReceiveBuffer {
    stream: u32,
    /// As they were read: slices of the worker's arena.
    slices: RefCell<VecDeque<Bytes>>,
    /// Behind the slices.
    coalesced: RefCell<CoalescingBuffer>,
    reader: RefCell<Option<Waker>>,
    account: Rc<Account>,
    /// Bytes since [`ReceiveBuffer::take_arrived`] was called last.
    arrived: Cell<usize>,
    /// Bytes that the stream's window lacks now: they have arrived and have not been given back.
    received: Cell<usize>,
    /// Of these, what has been consumed and is given back soon.
    consumed: Cell<usize>,
    /// The peer sent more than the window allowed.
    is_exceeded: Cell<bool>,
    /// The stream is gone: nobody reads any more.
    is_closed: Cell<bool>,
    connection: Rc<ReceiveBuffers>,
}

impl ReceiveBuffers {
    pub(in crate::tunnel) fn new(settings: &Settings, budget: Rc<Budget>) -> Self {
        Self {
            by_stream: RefCell::default(),
            stream_window: StreamWindow::new(settings.initial_stream_window_size, budget),
            h2_window: ConnectionWindow::new(settings.initial_connection_window_size),
            connection_window: settings.initial_connection_window_size as usize,
            owed_to_connection: Cell::default(),
            owed_to_streams: RefCell::default(),
            held: Cell::default(),
            settings_acknowledged: Cell::default(),
            driver: RefCell::default(),
        }
    }

    /// Lets the DATA of a stream go past `h2` from here on, into the buffer that is returned. DATA
    /// that `h2` has already comes before it.
    pub(in crate::tunnel) fn open(self: &Rc<Self>, stream: u32, account: &Rc<Account>) -> Rc<ReceiveBuffer> {
        let buffer = Rc::new(ReceiveBuffer {
            stream,
            slices: RefCell::default(),
            coalesced: RefCell::default(),
            reader: RefCell::default(),
            account: Rc::clone(account),
            arrived: Cell::default(),
            received: Cell::default(),
            consumed: Cell::default(),
            is_exceeded: Cell::default(),
            is_closed: Cell::default(),
            connection: Rc::clone(self),
        });
        self.by_stream.borrow_mut().insert(stream, Rc::clone(&buffer));
        buffer
    }

    /// The buffer of a stream, if its DATA goes past `h2`.
    pub(in crate::tunnel) fn of_stream(&self, stream: u32) -> Option<Rc<ReceiveBuffer>> {
        self.by_stream.borrow().get(&stream).cloned()
    }

    /// Lets `h2` have what still comes for a stream that has ended: nothing that is in order.
    pub(super) fn remove(&self, stream: u32) {
        self.by_stream.borrow_mut().remove(&stream);
    }

    /// Begins a turn of the connection's task, which is woken when there is something for
    /// [`ReceiveBuffers::write_updates`]. Tells `h2` the windows that have changed.
    pub(in crate::tunnel) fn begin_turn(&self, connection: &mut impl WindowSettings, cx: &Context<'_>) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
        drop(driver);
        if let Some(window) = self.h2_window.poll_change(cx) {
            connection.set_target_window_size(window);
        }
        if let Some(window) = self.stream_window.change()
            && connection.set_initial_window_size(window).is_ok()
        {
            self.set_stream_window(window);
        }
    }

    /// Ends a turn of the connection's task, in which `h2` has looked at everything that came.
    pub(in crate::tunnel) fn end_turn(&self, cx: &Context<'_>) {
        if self.settings_acknowledged.take() && self.stream_window.acknowledge() {
            // Streams that get their DATA from `h2` have windows to give back.
            self.stream_window.budget().wake_all();
        }
        if self.stream_window.change().is_some() {
            cx.waker().wake_by_ref();
        }
    }

    /// Appends the WINDOW_UPDATE frames that are due.
    pub(super) fn write_updates(&self, out: &mut BytesMut) {
        for (stream, length) in self.owed_to_streams.borrow_mut().drain(..) {
            write_update(out, stream, length);
        }
        // Half of the window at a time, as `h2` does and Envoy.
        if self.owed_to_connection.get() >= self.connection_window / 2 {
            write_update(out, 0, self.owed_to_connection.take());
        }
    }

    pub(in crate::tunnel) fn stream_window(&self) -> &StreamWindow {
        &self.stream_window
    }

    /// The connection's window for what `h2` receives.
    pub(in crate::tunnel) fn h2_window(&self) -> &ConnectionWindow {
        &self.h2_window
    }

    /// The window of the streams has been announced. Of a smaller one more than half may have been
    /// consumed already.
    fn set_stream_window(&self, window: u32) {
        self.stream_window.set(window);
        for buffer in self.by_stream.borrow().values() {
            buffer.give_back(0);
        }
    }

    /// The peer acknowledges our SETTINGS with a frame that `h2` looks at next.
    pub(super) fn note_settings_ack(&self) {
        self.settings_acknowledged.set(true);
    }

    /// How many bytes the streams of this connection have received and not consumed.
    pub(in crate::tunnel) fn held(&self) -> usize {
        self.held.get() + self.h2_window.held()
    }

    fn wake_driver(&self) {
        // Not within the borrow: the task that is woken may poll this connection at once.
        let driver = self.driver.take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

fn write_update(out: &mut BytesMut, stream: u32, length: usize) {
    // No window is larger than 31 bits, nor is what it lacks.
    let increment = u32::try_from(length).unwrap_or(u32::MAX >> 1);
    let header = FrameHeader { length: 4, kind: WINDOW_UPDATE, flags: 0, stream };
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(&increment.to_be_bytes());
}

impl ReceiveBuffer {
    pub(super) fn stream(&self) -> u32 {
        self.stream
    }

    /// Takes a part of a DATA frame's payload.
    pub(super) fn deliver(&self, part: Bytes) {
        let length = part.len();
        if self.charge(length) {
            self.connection.held.update(|held| held + length);
            self.arrived.update(|arrived| arrived + length);
            self.account.charge(length);
            let (mut slices, mut coalesced) = (self.slices.borrow_mut(), self.coalesced.borrow_mut());
            if coalesced.is_empty() && slices.len() < MAX_SLICES {
                if slices.capacity() == 0 {
                    // Most streams never need more than one place.
                    slices.reserve_exact(1);
                }
                slices.push_back(part);
            } else {
                coalesced.push(&part);
            }
        }
        self.wake_reader();
    }

    /// Takes bytes that count against the windows and carry nothing: padding, and the byte that
    /// says how long it is.
    pub(super) fn deliver_padding(&self, length: usize) {
        if self.charge(length) {
            self.give_back(length);
        }
    }

    /// Counts bytes that arrived against the windows. Returns whether there is room for them and a
    /// reader.
    fn charge(&self, length: usize) -> bool {
        self.connection.owed_to_connection.update(|owed| owed + length);
        if self.is_closed.get() {
            return false;
        }
        let received = self.received.get() + length;
        // Until the peer acknowledges a smaller window it may fill the larger one.
        if received > self.connection.stream_window.largest() {
            self.is_exceeded.set(true);
            return false;
        }
        self.received.set(received);
        true
    }

    /// Takes the next part, which is consumed by that.
    pub(in crate::tunnel) fn pop(&self) -> Option<Bytes> {
        let part = self.pop_part()?;
        let length = part.len();
        self.connection.held.update(|held| held - length);
        self.account.credit(length);
        self.give_back(length);
        Some(part)
    }

    fn pop_part(&self) -> Option<Bytes> {
        let mut slices = self.slices.borrow_mut();
        let slice = slices.pop_front();
        if slices.is_empty() && slices.capacity() > MAX_SPARE_SLICES {
            *slices = VecDeque::new();
        }
        slice.or_else(|| self.coalesced.borrow_mut().pop())
    }

    /// Copies together what is there, since nobody takes it now: each slice keeps a whole arena in
    /// memory.
    pub(in crate::tunnel) fn coalesce(&self) {
        let mut slices = self.slices.borrow_mut();
        if slices.is_empty() {
            return;
        }
        let mut copied = CoalescingBuffer::default();
        for slice in std::mem::take(&mut *slices) {
            copied.push(&slice);
        }
        let mut coalesced = self.coalesced.borrow_mut();
        copied.append(&mut coalesced);
        *coalesced = copied;
    }

    /// Whether nothing is there now.
    pub(in crate::tunnel) fn is_empty(&self) -> bool {
        self.slices.borrow().is_empty() && self.coalesced.borrow().is_empty()
    }

    /// How many bytes are there.
    pub(in crate::tunnel) fn len(&self) -> usize {
        self.slices.borrow().iter().map(Bytes::len).sum::<usize>() + self.coalesced.borrow().len()
    }

    /// How many bytes have arrived since this was asked last.
    pub(in crate::tunnel) fn take_arrived(&self) -> usize {
        self.arrived.take()
    }

    /// Whether the peer sent more than the stream's window allowed; the excess was thrown away.
    pub(in crate::tunnel) fn is_exceeded(&self) -> bool {
        self.is_exceeded.get()
    }

    /// Wakes this task when something arrives. One task at a time can wait.
    pub(in crate::tunnel) fn set_reader(&self, cx: &Context<'_>) {
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
    }

    /// Gives consumed bytes back to the stream's window, half of the window at a time.
    fn give_back(&self, length: usize) {
        let consumed = self.consumed.get() + length;
        self.consumed.set(consumed);
        if consumed > 0 && consumed >= self.connection.stream_window.current() / 2 {
            self.consumed.set(0);
            self.received.update(|received| received - consumed);
            self.connection.owed_to_streams.borrow_mut().push((self.stream, consumed));
            self.connection.wake_driver();
        }
    }

    /// Ends the buffer with its stream; what is left in it is thrown away.
    pub(in crate::tunnel) fn close(&self) {
        self.is_closed.set(true);
        self.connection.remove(self.stream);
        let left: usize = std::iter::from_fn(|| self.pop_part()).map(|part| part.len()).sum();
        self.connection.held.update(|held| held - left);
        self.account.credit(left);
    }

    fn wake_reader(&self) {
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

    fn connection() -> Rc<ReceiveBuffers> {
        let (stream, connection) = (WINDOW.try_into().unwrap(), (2 * WINDOW).try_into().unwrap());
        let settings = Settings {
            allow_connect: true,
            max_concurrent_streams: 100,
            initial_stream_window_size: stream,
            initial_connection_window_size: connection,
        };
        Rc::new(ReceiveBuffers::new(&settings, Budget::unlimited()))
    }

    fn open(connection: &Rc<ReceiveBuffers>, stream: u32) -> Rc<ReceiveBuffer> {
        connection.open(stream, &connection.stream_window().budget().open())
    }

    /// The streams whose windows are given back, and how much of them.
    fn updates(connection: &ReceiveBuffers) -> Vec<(u32, u32)> {
        let mut out = BytesMut::new();
        connection.write_updates(&mut out);
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
        let connection = connection();
        let (read, stalled) = (open(&connection, 1), open(&connection, 3));
        stalled.deliver(Bytes::from(vec![0; WINDOW]));
        assert_eq!(updates(&connection), [(0, 1000)], "a stalled stream takes nothing from the others");
        for _ in 0..3 {
            read.deliver(Bytes::from(vec![0; 400]));
            assert_eq!(read.pop().map(|part| part.len()), Some(400));
        }
        assert_eq!(updates(&connection), [(1, 800), (0, 1200)]);
        read.deliver_padding(100);
        assert_eq!(updates(&connection), [(1, 500)], "nobody reads padding");
    }

    #[test]
    fn many_small_frames_become_few_parts_in_their_order() {
        let connection = connection();
        let buffer = open(&connection, 1);
        let all: Vec<u8> = (0..u8::MAX).collect();
        for _ in 0..2 {
            for byte in &all {
                buffer.deliver(Bytes::copy_from_slice(&[*byte]));
            }
            let parts: Vec<Bytes> = std::iter::from_fn(|| buffer.pop()).collect();
            assert_eq!((parts.len(), parts.concat()), (MAX_SLICES + 1, all.clone()));
        }
    }

    #[test]
    fn what_is_coalesced_is_one_part_in_front_of_what_arrives_later() {
        let connection = connection();
        let buffer = open(&connection, 1);
        let all: Vec<u8> = (0..200).collect();
        for (at, byte) in all.iter().enumerate() {
            buffer.deliver(Bytes::copy_from_slice(&[*byte]));
            if at == 10 || at == 150 {
                buffer.coalesce();
            }
        }
        assert_eq!((buffer.len(), buffer.take_arrived(), buffer.take_arrived()), (200, 200, 0));
        assert_eq!((buffer.pop().unwrap(), buffer.is_empty()), (Bytes::from(all), true));
    }

    #[test]
    fn what_streams_hold_is_on_their_accounts_until_it_is_consumed() {
        let connection = connection();
        let account = connection.stream_window().budget().open();
        let buffer = connection.open(1, &account);
        buffer.deliver(Bytes::from(vec![0; 700]));
        buffer.deliver_padding(100);
        assert_eq!((connection.held(), account.held()), (700, 700));
        buffer.deliver(Bytes::from(vec![0; 100]));
        buffer.pop();
        assert_eq!((connection.held(), account.held()), (100, 100));
        buffer.close();
        assert_eq!((connection.held(), account.held()), (0, 0));
    }

    #[test]
    fn a_window_that_shrinks_gives_back_what_was_consumed_before() {
        let connection = connection();
        let (flowing, stalled) = (open(&connection, 1), open(&connection, 3));
        for buffer in [&flowing, &stalled] {
            buffer.deliver(Bytes::from(vec![0; 400]));
        }
        flowing.pop();
        assert_eq!(updates(&connection), []);
        connection.set_stream_window(100);
        assert_eq!(updates(&connection), [(1, 400)]);
        flowing.deliver(Bytes::from(vec![0; 50]));
        flowing.pop();
        assert_eq!(updates(&connection), [(1, 50)], "half of the new window");
        stalled.deliver(Bytes::from(vec![0; 600]));
        assert!(!stalled.is_exceeded(), "the peer may not know yet");
    }

    #[test]
    fn more_than_the_window_is_not_kept_and_nothing_is_for_a_reader_that_has_gone() {
        let connection = connection();
        let buffer = open(&connection, 1);
        buffer.deliver(Bytes::from(vec![0; WINDOW]));
        assert!(!buffer.is_exceeded());
        buffer.deliver(Bytes::from_static(b"1"));
        assert!(buffer.is_exceeded());
        buffer.close();
        buffer.deliver(Bytes::from_static(b"2"));
        assert_eq!((buffer.is_empty(), connection.held.get()), (true, 0));
        assert!(connection.of_stream(1).is_none());
    }
}
