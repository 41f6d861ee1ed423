//! The tasks of one worker that serve its downstream connections and their HTTP/2 streams. When the
//! worker ends they end first, and what runs the upstream connections has a last turn: as Envoy's,
//! the upstream HTTP/2 connections say RST_STREAM for every stream that was open before they close.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::task::AbortHandle;

/// After so many turns of the runtime, in each of which up to 61 tasks have theirs, the resets of
/// thousands of upstream connections are out.
const LAST_TURNS: usize = 64;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct DownstreamTasks(Rc<RefCell<Running>>);

#[derive(Debug, Default)]
struct Running {
    begun: u64,
    tasks: HashMap<u64, AbortHandle>,
}

/// Takes the task out again, however it ends.
struct Counted(DownstreamTasks, u64);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.borrow_mut().tasks.remove(&self.1);
    }
}

impl DownstreamTasks {
    /// Runs a task of this kind.
    pub(super) fn spawn(&self, serving: impl Future<Output = ()> + 'static) {
        let running = &mut *self.0.borrow_mut();
        running.begun += 1;
        let counted = Counted(self.clone(), running.begun);
        let task = tokio::task::spawn_local(async move {
            let _counted = counted;
            serving.await;
        });
        running.tasks.insert(running.begun, task.abort_handle());
    }

    /// Ends all of them, each open stream leaving its line, and lets the upstream connections send
    /// what that makes them say, as far as their sockets take it.
    pub(super) async fn end(&self) {
        for task in self.0.borrow().tasks.values() {
            task.abort();
        }
        while !self.0.borrow().tasks.is_empty() {
            tokio::task::yield_now().await;
        }
        for _ in 0..LAST_TURNS {
            tokio::task::yield_now().await;
        }
    }
}
