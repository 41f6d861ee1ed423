//! The dialling side of a connection.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::frame_header::PREFACE;
use super::held::Held;
use super::outgoing::Outgoing;
use super::settings::Settings;
use super::stream::{Stream, StreamError};
use super::wire::Wire;

/// A connection that streams can be opened on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    requests: SendRequest<Outgoing>,
    held: Rc<Held>,
}

/// Opens the connection: the preface and SETTINGS go out with the first turn of the returned driver, which has to run
/// until it ends for anything to move. Does not wait for the peer.
///
/// # Errors
/// The byte stream failed.
pub async fn connect<T>(
    io: T,
    settings: &Settings,
) -> Result<(Client, impl Future<Output = Result<(), h2::Error>> + use<T>), StreamError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let wire = Wire::client(io, PREFACE.len(), settings.client_frame());
    let (requests, mut connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(settings.initial_stream_window_size)
        .initial_connection_window_size(settings.initial_connection_window_size)
        // Before the peer's SETTINGS Envoy assumes what it announces itself.
        .initial_max_send_streams(settings.max_concurrent_streams as usize)
        .max_concurrent_streams(settings.max_concurrent_streams)
        .data_frame_budget(UNBOUNDED)
        .max_local_error_reset_streams(None)
        .max_send_buffer_size(super::outgoing::HIGH_WATERMARK * 2)
        .handshake(wire.clone())
        .await?;
    let held = Rc::new(Held::new(settings.initial_connection_window_size));
    let client = Client { requests, held: Rc::clone(&held) };
    let driver = std::future::poll_fn(move |cx| {
        if let Some(window) = held.poll_window(cx) {
            connection.set_target_window_size(window);
        }
        let ended = Pin::new(&mut connection).poll(cx);
        // An error shows with the next read.
        let _ = wire.poll_settle(cx);
        wire.end_turn();
        ended
    });
    Ok((client, driver))
}

/// Instead of `h2`'s own bound for small DATA frames, which would close the connection of all sessions when one reader
/// stalls: streams are always read at once, into one merged buffer that the window bounds. For the same reason there is no
/// bound for the streams that `h2` resets by itself: it counts over the connection's whole life, and every frame that comes
/// late for a stream that was given up here counts.
pub(super) const UNBOUNDED: usize = usize::MAX >> 1;

impl Client {
    /// How many streams the peer allows at the same time.
    #[must_use]
    pub fn max_streams(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Whether streams can be opened: the connection has not ended, and the peer has not said GOAWAY.
    #[must_use]
    pub fn is_open(&self) -> bool {
        // A clone waits for no stream of its own, so this is an answer at once and nobody is woken for it.
        let mut requests = self.requests.clone();
        !matches!(requests.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// Opens a stream with this request; `end` is END_STREAM on its head.
    ///
    /// # Errors
    /// The connection takes no more streams: it ended, or the peer said GOAWAY.
    pub fn open(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> Result<(Stream, AwaitedResponse), StreamError> {
        let (response, send) = self.requests.send_request(request, end)?;
        Ok((Stream::new(Some(send), None, &self.held), AwaitedResponse { response }))
    }
}

/// The response to come.
#[derive(Debug)]
pub struct AwaitedResponse {
    response: ResponseFuture,
}

impl AwaitedResponse {
    /// The next head; from the final one on `stream` can be read. Interim ones (1xx) come before it.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn poll_head(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, StreamError>> {
        if let Poll::Ready(Some(interim)) = self.response.poll_informational(cx) {
            return Poll::Ready(interim.map_err(StreamError::from));
        }
        let response = std::task::ready!(Pin::new(&mut self.response).poll(cx))?;
        let (parts, receive) = response.into_parts();
        stream.set_receive(receive);
        Poll::Ready(Ok(Response::from_parts(parts, ())))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_HEADERS: u8 = 4;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[tokio::test]
    async fn frames_that_come_late_for_streams_that_were_given_up_do_not_end_the_connection() {
        let settings = Settings {
            allow_connect: false,
            max_concurrent_streams: 1024,
            initial_stream_window_size: 1 << 20,
            initial_connection_window_size: 2 << 20,
        };
        let tasks = tokio::task::LocalSet::new();
        let test = async {
            let (near, far) = tokio::io::duplex(1 << 20);
            let (mut client, driver) = connect(near, &settings).await.unwrap();
            tokio::task::spawn_local(driver);
            let (mut from_client, mut to_client) = tokio::io::split(far);
            tokio::task::spawn_local(async move {
                tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await
            });
            to_client.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
            let request = || Request::get("http://a/").body(()).unwrap();
            let (mut neighbour, mut response) = client.open(request(), false).unwrap();
            let given_up: Vec<_> = (0..200).map(|_| client.open(request(), false).unwrap()).collect();
            // They have to be on the wire before they can be reset there.
            for (mut stream, _response) in given_up {
                stream.drained(std::time::Duration::from_secs(20)).await;
                stream.reset(super::super::Reason::CANCEL);
            }
            tokio::task::yield_now().await;
            for late in 0..3000_u32 {
                to_client.write_all(&frame(DATA, 0, 3 + late % 200 * 2, b"late")).await.unwrap();
            }
            // `:status: 200` (RFC 7541 appendix A).
            to_client.write_all(&frame(HEADERS, END_HEADERS, 1, b"\x88")).await.unwrap();
            to_client.write_all(&frame(DATA, 0, 1, b"hello")).await.unwrap();
            std::future::poll_fn(|cx| response.poll_head(&mut neighbour, cx)).await.unwrap();
            let data = std::future::poll_fn(|cx| neighbour.poll_data(cx)).await.unwrap();
            assert_eq!(data.unwrap(), "hello");
        };
        tasks.run_until(test).await;
    }
}
