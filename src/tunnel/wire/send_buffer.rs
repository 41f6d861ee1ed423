//! The DATA that a stream has handed to `h2` and that has not left `h2` yet. How much it is decides
//! when the stream takes more, and when a reset no longer destroys anything (`send_reset` throws
//! queued DATA away).
//!
//! Every DATA frame carries a [`Payload`] that counts until `h2` drops it: when the frame has been
//! written, or when the stream was reset.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use crate::net::Account;

/// A stream takes more data while less than this is in its buffer, if few others have data in
/// theirs: enough to keep a fast connection busy between two turns of its task, little enough that
/// a stalled peer costs a bounded amount.
pub(in crate::tunnel) const HIGH_WATERMARK: usize = 256 * 1024;

/// Many streams share so much among them: what all of them have queued is what the next message of
/// another stream waits for, since `h2` gives each a frame in turn.
const SHARED_WATERMARK: usize = 4 * 1024 * 1024;

/// However many they are, each stream takes so much: the payload of one frame.
const LOW_WATERMARK: usize = 16 * 1024;

/// The memory that a DATA frame costs inside `h2` besides its payload, roughly: many small frames
/// are not to cost more memory than few large ones.
const FRAME_COST: usize = 256;

/// Shorter payloads are copied rather than kept: copying them costs less than counting references
/// to them. Bulk comes in frames of 16 KiB.
const MIN_KEPT_BYTES: usize = 8 * 1024;

thread_local! {
    /// The payload of which `h2` was last given a slice. `h2` hands that slice on to the wire,
    /// which can keep the bytes without a copy if it finds out which payload they belong to.
    static LENT: Cell<Bytes> = const { Cell::new(Bytes::new()) };
}

/// The bytes of `slice` without a copy, if they belong to the payload that was lent to `h2` last
/// and are long enough to be worth it.
pub(super) fn reclaim(slice: &[u8]) -> Option<Bytes> {
    if slice.len() < MIN_KEPT_BYTES {
        return None;
    }
    let bytes = LENT.take();
    let (whole, part) = (bytes.as_ptr_range(), slice.as_ptr_range());
    (whole.start <= part.start && part.end <= whole.end).then(|| bytes.slice_ref(slice))
}

/// The send buffers of one connection, which share what waits for its socket.
#[derive(Debug, Default)]
pub(in crate::tunnel) struct SendBuffers {
    /// How many of them are not empty.
    in_use: Cell<usize>,
}

impl SendBuffers {
    /// What a stream may have in its buffer, in bytes, before it takes no more.
    fn watermark(&self) -> usize {
        (SHARED_WATERMARK / self.in_use.get().max(1)).clamp(LOW_WATERMARK, HIGH_WATERMARK)
    }
}

/// The DATA of one stream that `h2` still holds.
#[derive(Debug)]
pub(in crate::tunnel) struct SendBuffer {
    /// In bytes of memory: payloads and the frames around them.
    cost: Cell<usize>,
    writer: RefCell<Option<Waker>>,
    account: Rc<Account>,
    connection: Rc<SendBuffers>,
}

impl SendBuffer {
    /// An empty buffer, whose content will be charged to `account`.
    pub(in crate::tunnel) fn new(account: Rc<Account>, connection: &Rc<SendBuffers>) -> Self {
        let connection = Rc::clone(connection);
        Self { cost: Cell::default(), writer: RefCell::default(), account, connection }
    }

    pub(in crate::tunnel) fn account(&self) -> &Rc<Account> {
        &self.account
    }

    /// The payload of the next DATA frame, which counts until `h2` drops it.
    pub(in crate::tunnel) fn payload(self: &Rc<Self>, data: Bytes) -> Payload {
        let cost = data.len() + FRAME_COST;
        if self.cost.get() == 0 {
            self.connection.in_use.update(|in_use| in_use + 1);
        }
        self.cost.set(self.cost.get() + cost);
        self.account.charge(cost);
        Payload { data, _charge: Some(Charge { cost, buffer: Rc::clone(self) }) }
    }

    /// How many bytes of memory its content costs; 0 if everything has left `h2`.
    pub(in crate::tunnel) fn cost(&self) -> usize {
        self.cost.get()
    }

    /// Ready when the stream takes more data. One task at a time can wait.
    pub(in crate::tunnel) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_below(self.connection.watermark(), cx)
    }

    /// Ready when the content costs less than `limit`. One task at a time can wait.
    pub(in crate::tunnel) fn poll_below(&self, limit: usize, cx: &mut Context<'_>) -> Poll<()> {
        if self.cost.get() < limit {
            return Poll::Ready(());
        }
        let mut writer = self.writer.borrow_mut();
        if !writer.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *writer = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// The cost of one payload, which is given back when this is dropped.
#[derive(Debug)]
struct Charge {
    cost: usize,
    buffer: Rc<SendBuffer>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let buffer = &self.buffer;
        buffer.cost.set(buffer.cost.get() - self.cost);
        if buffer.cost.get() == 0 {
            buffer.connection.in_use.update(|in_use| in_use - 1);
        }
        buffer.account.credit(self.cost);
        // Not within the borrow: the task that is woken may poll this buffer at once.
        let writer = buffer.writer.take();
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

/// The payload of one DATA frame on its way out.
#[derive(Debug)]
pub(in crate::tunnel) struct Payload {
    data: Bytes,
    _charge: Option<Charge>,
}

impl Payload {
    /// The payload of a frame that only carries END_STREAM.
    pub(in crate::tunnel) fn empty() -> Self {
        Self { data: Bytes::new(), _charge: None }
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        if self.data.len() >= MIN_KEPT_BYTES {
            LENT.set(self.data.clone());
        }
        self.data.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Budget;

    fn is_ready(buffer: &SendBuffer) -> bool {
        buffer.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Hands `length` bytes in frames of 16 KiB to a buffer.
    fn fill(buffer: &Rc<SendBuffer>, length: usize) -> Vec<Payload> {
        let frames = length / LOW_WATERMARK;
        (0..frames).map(|_| buffer.payload(Bytes::from(vec![b'x'; LOW_WATERMARK]))).collect()
    }

    #[test]
    fn a_stream_takes_less_the_more_streams_of_its_connection_have_something_queued() {
        let connection = Rc::default();
        let open = || Rc::new(SendBuffer::new(Budget::unlimited().open(), &connection));
        let mut frames_until_it_is_full = vec![];
        for others in [0, 15, 63, 1000] {
            let queued: Vec<_> = (0..others).map(|_| fill(&open(), LOW_WATERMARK)).collect();
            let buffer = open();
            let mut payloads = vec![];
            while is_ready(&buffer) {
                payloads.extend(fill(&buffer, LOW_WATERMARK));
            }
            frames_until_it_is_full.push(payloads.len());
            drop(queued);
            assert_eq!(is_ready(&buffer), others > 15, "the others' share is free again");
        }
        assert_eq!(frames_until_it_is_full, [16, 16, 4, 1]);
        assert_eq!(connection.in_use.get(), 0, "nothing is queued any more");
    }

    #[test]
    fn another_connection_has_a_share_of_its_own() {
        let (busy, idle) = (Rc::default(), Rc::default());
        let open = |connection| Rc::new(SendBuffer::new(Budget::unlimited().open(), connection));
        let _queued: Vec<_> = (0..1000).map(|_| fill(&open(&busy), LOW_WATERMARK)).collect();
        let buffer = open(&idle);
        let _payloads = fill(&buffer, HIGH_WATERMARK / 2);
        assert!(is_ready(&buffer));
    }
}
