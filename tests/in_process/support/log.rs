//! The access log of a sidecar, read through a named pipe: whoever waits for a line is woken by it.

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use websockets_cli::access_log::Target;
use websockets_cli::sidecar::Sidecar;

use super::PATIENCE;

/// The lines of a sidecar as they come.
pub(crate) struct Log {
    lines: watch::Receiver<Vec<String>>,
}

impl Log {
    /// The log of the sidecar that is bound with this target.
    pub(crate) fn of(bind: impl FnOnce(Target) -> Sidecar) -> (Sidecar, Self) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let receiver = pipe::OpenOptions::new().open_receiver(&path).unwrap();
        // The sidecar has the pipe open from here on, so its end is the sidecar's end.
        let sidecar = bind(Target::File(path));
        let (sender, lines) = watch::channel(Vec::new());
        tokio::spawn(follow(receiver, sender));
        (sidecar, Self { lines })
    }

    /// The lines so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.lines.borrow().iter().map(|line| serde_json::from_str(line).expect("a whole line")).collect()
    }

    /// Waits until there are so many lines or more, as they were written.
    pub(crate) async fn wait_until(&self, count: usize) -> Vec<String> {
        let mut lines = self.lines.clone();
        loop {
            let so_far = lines.borrow_and_update().clone();
            if so_far.len() >= count {
                return so_far;
            }
            // Every line that comes is progress.
            let changed = tokio::time::timeout(PATIENCE, lines.changed()).await;
            assert!(matches!(changed, Ok(Ok(()))), "{so_far:#?} instead of {count} lines");
        }
    }

    /// Waits until there are so many lines; more are a failure.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Value> {
        self.wait_until(count).await;
        let lines = self.lines();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }
}

async fn follow(receiver: pipe::Receiver, lines: watch::Sender<Vec<String>>) {
    let mut written = BufReader::new(receiver).lines();
    while let Some(line) = written.next_line().await.unwrap() {
        lines.send_modify(|lines| lines.push(line));
    }
}
