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

use super::settings::{Settings, builder};
use super::stream::{Stream, StreamError};
use super::wire::{Payload, ReceiveBuffers, SendBuffers, Wire};
use crate::net::Budget;

/// A connection that streams can be opened on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    requests: SendRequest<Payload>,
    buffers: Rc<ReceiveBuffers>,
    send_buffers: Rc<SendBuffers>,
}

/// Opens the connection: the preface and SETTINGS go out with the first turn of the returned
/// driver, which has to run until it ends for anything to move. Does not wait for the peer. What
/// its streams hold counts in `budget`.
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
    let buffers = Rc::new(ReceiveBuffers::new(settings, budget));
    let wire = Wire::client(io, settings.client_frame(), Rc::clone(&buffers));
    let (requests, mut connection) = builder!(Builder::new(), settings)
        .enable_push(false)
        // Before the peer's SETTINGS Envoy assumes what it announces itself.
        .initial_max_send_streams(settings.max_concurrent_streams as usize)
        .handshake(wire.clone())
        .await?;
    let client = Client { requests, buffers: Rc::clone(&buffers), send_buffers: Rc::default() };
    let driver = std::future::poll_fn(move |cx| {
        buffers.begin_turn(&mut connection, cx);
        let ended = Pin::new(&mut connection).poll(cx);
        buffers.end_turn(cx);
        // An error shows with the next read.
        let _ = wire.poll_send(cx);
        wire.end_turn();
        ended
    });
    Ok((client, driver))
}

impl Client {
    /// How many streams the peer allows at the same time.
    #[must_use]
    pub fn max_streams(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Whether streams can be opened: the connection has not ended, and the peer has not said
    /// GOAWAY.
    #[must_use]
    pub fn is_open(&self) -> bool {
        // A clone has no pending stream of its own, so it answers at once and registers no waker.
        let mut requests = self.requests.clone();
        !matches!(requests.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// Whether the streams of this connection alone hold so much for stalled readers that new
    /// streams are better off on another connection.
    #[must_use]
    pub fn is_strained(&self) -> bool {
        self.buffers.held() > self.buffers.stream_window().budget().strained_from()
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
        let stream = Stream::new(Some(send), None, &self.buffers, &self.send_buffers);
        Ok((stream, AwaitedResponse { response, is_session }))
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
    /// The next head; from the final one on `stream` can be read. Interim ones (1xx) come before
    /// it.
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
        // The bytes of a session go past `h2`; the body of a refusal does not: `h2` checks its
        // length.
        if self.is_session && parts.status.is_success() && !parts.headers.contains_key(CONTENT_LENGTH) {
            stream.bypass_h2(receive.stream_id().as_u32());
        }
        stream.set_receive(receive);
        Poll::Ready(Ok(Response::from_parts(parts, ())))
    }
}

#[cfg(test)]
mod tests;
