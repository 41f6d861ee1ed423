//! The dialling side of a connection.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::ext::Protocol;
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::arrivals::Arrivals;
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
    arrivals: Rc<Arrivals>,
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
    let arrivals = Rc::new(Arrivals::new(settings));
    let wire = Wire::client(io, settings.client_frame(), Rc::clone(&arrivals));
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
    let client = Client { requests, held: Rc::clone(&held), arrivals: Rc::clone(&arrivals) };
    let driver = std::future::poll_fn(move |cx| {
        arrivals.set_driver(cx);
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
        let is_session = request.extensions().get::<Protocol>().is_some();
        let (response, send) = self.requests.send_request(request, end)?;
        let arrivals = is_session.then(|| Rc::clone(&self.arrivals));
        Ok((Stream::new(Some(send), None, &self.held), AwaitedResponse { response, arrivals }))
    }
}

/// The response to come.
#[derive(Debug)]
pub struct AwaitedResponse {
    response: ResponseFuture,
    /// For an extended CONNECT.
    arrivals: Option<Rc<Arrivals>>,
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
        // The bytes of a session, that is; what comes with a refusal `h2` holds against its length.
        if let Some(arrivals) = self.arrivals.take()
            && parts.status.is_success()
            && !parts.headers.contains_key(CONTENT_LENGTH)
        {
            stream.set_inbox(arrivals.take_over(receive.stream_id().as_u32()));
        }
        stream.set_receive(receive);
        Poll::Ready(Ok(Response::from_parts(parts, ())))
    }
}

#[cfg(test)]
mod tests;
