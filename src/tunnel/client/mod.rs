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
use super::outgoing::Outgoing;
use super::settings::Settings;
use super::stream::{Stream, StreamError};
use super::wire::Wire;
use crate::net::Budget;

/// A connection that streams can be opened on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    requests: SendRequest<Outgoing>,
    arrivals: Rc<Arrivals>,
}

/// Opens the connection: the preface and SETTINGS go out with the first turn of the returned driver, which has to run
/// until it ends for anything to move. Does not wait for the peer. What its streams hold counts in `budget`.
///
/// # Errors
/// The byte stream failed.
pub async fn connect<T>(
    io: T,
    settings: &Settings,
    budget: Rc<Budget>,
) -> Result<(Client, impl Future<Output = Result<(), h2::Error>> + use<T>), StreamError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let arrivals = Rc::new(Arrivals::new(settings, budget));
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
    let client = Client { requests, arrivals: Rc::clone(&arrivals) };
    let driver = std::future::poll_fn(move |cx| {
        arrivals.set_driver(cx);
        if let Some(window) = arrivals.by_h2.poll_window(cx) {
            connection.set_target_window_size(window);
        }
        if let Some(window) = arrivals.stream_window().change()
            && connection.set_initial_window_size(window).is_ok()
        {
            arrivals.set_stream_window(window);
        }
        let ended = Pin::new(&mut connection).poll(cx);
        arrivals.end_turn(cx);
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

    /// Whether its streams alone hold so much for peers that do not take it that new ones are better off elsewhere.
    #[must_use]
    pub fn is_strained(&self) -> bool {
        self.arrivals.held() > self.arrivals.stream_window().budget().strained_from()
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
        Ok((Stream::new(Some(send), None, &self.arrivals), AwaitedResponse { response, is_session }))
    }
}

/// The response to come.
#[derive(Debug)]
pub struct AwaitedResponse {
    response: ResponseFuture,
    /// To an extended CONNECT.
    is_session: bool,
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
        if self.is_session && parts.status.is_success() && !parts.headers.contains_key(CONTENT_LENGTH) {
            stream.take_over(receive.stream_id().as_u32());
        }
        stream.set_receive(receive);
        Poll::Ready(Ok(Response::from_parts(parts, ())))
    }
}

#[cfg(test)]
mod tests;
