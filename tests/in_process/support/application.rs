//! Applications that do what a test tells them to.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{patiently, read_all, read_head};

/// The answer that agrees to an upgrade.
pub(crate) const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// An application with a script for each of its connections.
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    heads: watch::Receiver<Vec<String>>,
}

impl Application {
    /// Runs the script once a connection has brought the head of a request.
    pub(crate) async fn scripted<F>(script: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, heads) = watch::channel(Vec::new());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let head = read_head(&mut stream).await;
                seen.send_modify(|heads| heads.push(head));
                tokio::spawn(script(stream));
            }
        });
        Self { address, heads }
    }

    /// Sends these bytes, and waits for the other side to close.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::scripted(move |mut stream| {
            let answer = answer.clone();
            async move {
                stream.write_all(&answer).await.unwrap();
                read_all(&mut stream).await;
            }
        })
        .await
    }

    /// Sends these bytes and closes.
    pub(crate) async fn closing_after(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::scripted(move |mut stream| {
            let answer = answer.clone();
            async move { stream.write_all(&answer).await.unwrap() }
        })
        .await
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.borrow().clone()
    }

    /// Waits until a request has arrived.
    pub(crate) async fn reached(&self) {
        let mut heads = self.heads.clone();
        patiently(heads.wait_for(|heads| !heads.is_empty()))
            .await
            .expect("it takes connections as long as the test runs");
    }

    /// The head of the one request.
    pub(crate) fn head(&self) -> String {
        let mut heads = self.heads();
        assert_eq!(heads.len(), 1, "{heads:#?}");
        heads.remove(0)
    }
}
