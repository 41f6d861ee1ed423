//! Accepting connections, also while the table of file descriptors is full.

use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

/// How long accepting pauses after an error. Such an error (no file descriptor left) lasts until a connection ends, and
/// without a pause it would be met again at once.
const PAUSE: Duration = Duration::from_millis(10);

/// How often such an error is said.
const SAID_EVERY: Duration = Duration::from_secs(1);

/// When one was said last, by whichever listener: the table is the process's, and so is the warning.
static SAID: Mutex<Option<Instant>> = Mutex::new(None);

/// Accepts one connection, with `TCP_NODELAY`.
///
/// A peer that was gone before it was accepted is passed over. What else the system says lasts until others end: it is said
/// once a second, and the peers wait.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Fails only on a connection that is gone already, which the first read will show.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) => {}
            Err(error) => {
                if is_due(&mut SAID.lock().unwrap_or_else(PoisonError::into_inner), Instant::now()) {
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

/// Whether it is time to say it again, which it then is not for a while.
fn is_due(said: &mut Option<Instant>, now: Instant) -> bool {
    let due = said.is_none_or(|said| now.saturating_duration_since(said) >= SAID_EVERY);
    if due {
        *said = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_at_once_and_then_once_a_second() {
        let (start, mut said) = (Instant::now(), None);
        let due = |milliseconds| is_due(&mut said, start + Duration::from_millis(milliseconds));
        assert_eq!(
            [0, 10, 999, 1000, 1010, 1999, 5000].map(due),
            [true, false, false, true, false, false, true]
        );
    }
}
