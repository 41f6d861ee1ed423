//! The naive loop that docs/benchmarks.md compares the server with: tokio-tungstenite as it comes,
//! a send and a flush for each message, on one thread. `plain_echo ADDR`

use std::error::Error;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: plain_echo ADDR")?;
    let listener = TcpListener::bind(&address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A session that breaks is over; there is nobody to tell.
            let _ = echo(stream).await;
        });
    }
}

async fn echo(stream: TcpStream) -> Result<(), Box<dyn Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let mut session = tokio_tungstenite::accept_async(stream).await?;
    while let Some(message) = session.next().await.transpose()? {
        if message.is_text() || message.is_binary() {
            session.send(message).await?;
        }
    }
    Ok(())
}
