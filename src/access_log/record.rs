//! The guard that makes a stream leave exactly one line, whatever becomes of it.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use super::{Entry, ResponseFlag, Sink};

/// What Envoy 1.40 writes for the streams that its own end cuts off.
const CUT_OFF: &str = "downstream_local_disconnect(purging_socket_that_have_not_progressed_to_connections)";

/// An [`Entry`] on its way to the log. Dropping it emits it: a stream that nobody finished was cut
/// off by the end of this proxy, and says so.
#[derive(Debug)]
pub struct Record {
    entry: Option<Box<Entry>>,
    started: Instant,
    sink: Sink,
}

impl Record {
    /// Starts the clock of a stream.
    #[must_use]
    pub fn start(entry: Entry, sink: &Sink) -> Self {
        Self { entry: Some(Box::new(entry)), started: Instant::now(), sink: sink.clone() }
    }

    /// When the stream began.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Emits the line of a stream that ended by itself.
    pub fn finish(mut self) {
        self.emit();
    }

    fn emit(&mut self) {
        if let Some(mut entry) = self.entry.take() {
            entry.duration = self.started.elapsed();
            self.sink.write(entry);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(entry) = &mut self.entry {
            entry.response_flags.set(ResponseFlag::DownstreamConnectionTermination);
            entry.response_code_details = Some(Cow::Borrowed(CUT_OFF));
            self.emit();
        }
    }
}

impl Deref for Record {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        self.entry.as_ref().expect("only finish and drop take the entry")
    }
}

impl DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Entry {
        self.entry.as_mut().expect("only finish and drop take the entry")
    }
}
