//! A deflater, of which only so many are kept between messages: one holds 270 KiB, five times what
//! an inflater does.
//!
//! A sender may forget what it sent at any time: it then refers to nothing before, which no
//! receiver minds, whatever was agreed on. What is lost is some compression.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::{Compress, Compression};

/// How many deflaters are kept in a process: 70 MB.
pub(super) const MAX_KEPT: usize = 256;

/// How many there are. Looked at when one is made or dropped, and after each message.
static LIVING: AtomicUsize = AtomicUsize::new(0);

/// A deflater that may be kept between messages.
#[derive(Debug)]
pub(super) struct Deflater(Compress);

impl Deflater {
    /// One for windows of this size.
    pub(super) fn new(window_bits: u8) -> Self {
        LIVING.fetch_add(1, Ordering::Relaxed);
        Self(Compress::new_with_window_bits(Compression::default(), false, window_bits))
    }

    /// Whether this one may wait for the next message.
    pub(super) fn may_be_kept() -> bool {
        LIVING.load(Ordering::Relaxed) <= MAX_KEPT
    }
}

impl Drop for Deflater {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deref for Deflater {
    type Target = Compress;

    fn deref(&self) -> &Compress {
        &self.0
    }
}

impl DerefMut for Deflater {
    fn deref_mut(&mut self) -> &mut Compress {
        &mut self.0
    }
}
