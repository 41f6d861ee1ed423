//! Accepting connections on a thread of their own, also while the table of file descriptors is
//! full.

use std::io;
use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};

/// How long accepting pauses after an error. Such an error (no file descriptor left) lasts until a
/// connection ends; without a pause the next accept would fail at once.
const PAUSE: Duration = Duration::from_millis(10);

/// How often such an error is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// When one was reported last, by whichever listener: all listeners of the process share its file
/// descriptors.
static REPORTED: Mutex<Option<Instant>> = Mutex::new(None);

/// Runs `serve` on this thread to its end, with a runtime whose tasks all stay on this thread
/// (`spawn_local`). Tasks that `serve` leaves behind are dropped.
///
/// # Errors
/// The system gives no runtime, or does not take the listener.
pub fn serve_local(listener: std::net::TcpListener, serve: impl AsyncFnOnce(TcpListener)) -> io::Result<()> {
    serve_all_local(vec![listener], async |mut listeners| serve(listeners.swap_remove(0)).await)
}

/// As [`serve_local`], with several listeners.
///
/// # Errors
/// As there.
pub fn serve_all_local(
    listeners: Vec<std::net::TcpListener>,
    serve: impl AsyncFnOnce(Vec<TcpListener>),
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listeners = listeners.into_iter().map(TcpListener::from_std);
        serve(listeners.collect::<io::Result<_>>()?).await;
        Ok(())
    })
}

/// Accepts for ever and hands each connection, with `TCP_NODELAY` and `TCP_NOTSENT_LOWAT`, to
/// `each`. The listener closes when this future is dropped.
///
/// A peer that was gone before it was accepted is skipped. Any other error lasts until other
/// connections end: it is reported once a second, and the peers wait.
pub async fn accept_each(listener: TcpListener, mut each: impl FnMut(TcpStream, SocketAddr)) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Fails only on a connection that is gone already, which its first read will show.
                let _ = super::set_options(&stream);
                each(stream, peer);
            }
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) => {}
            Err(error) => {
                if is_due(&mut REPORTED.lock().unwrap_or_else(PoisonError::into_inner), Instant::now()) {
                    let address = listener.local_addr().map_or_else(|_| "?".to_owned(), |at| at.to_string());
                    tracing::warn!(
                        "accept on {address}: {error}: connections wait until others end; ulimit -n allows more"
                    );
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether an error may be reported `now`, given when one was reported last; if so, notes that it
/// is.
fn is_due(reported: &mut Option<Instant>, now: Instant) -> bool {
    let due = reported.is_none_or(|last| now.saturating_duration_since(last) >= REPORT_INTERVAL);
    if due {
        *reported = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_lasts_is_reported_at_once_and_then_once_a_second() {
        let (start, mut reported) = (Instant::now(), None);
        let due = |milliseconds| is_due(&mut reported, start + Duration::from_millis(milliseconds));
        assert_eq!(
            [0, 10, 999, 1000, 1010, 1999, 5000].map(due),
            [true, false, false, true, false, false, true]
        );
    }
}
