//! Sockets: binding, accepting and dialling, with errors that name the address. And memory for what
//! goes through them: what is read into ([`arena`]), what waits to be written, and how much may
//! wait ([`Budget`]).
//!
//! Nagle's algorithm against small HTTP/2 frames costs two orders of magnitude (a 4 MiB echo: 11 s
//! instead of 0.1 s), so no socket of this program is ever without `TCP_NODELAY`.

mod accept;
pub mod arena;
mod budget;
mod coalescing_buffer;
mod write_queue;

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

pub use accept::{accept_each, serve_all_local, serve_local};
pub use budget::{Account, Budget, Watcher};
pub use coalescing_buffer::CoalescingBuffer;
pub use write_queue::WriteQueue;

/// Bytes both ways, whatever carries them: a socket, TLS, a stream of HTTP/2.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl Debug for dyn Duplex {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("Duplex")
    }
}

/// A byte stream that may hold bytes which it has taken, in either direction, beyond the system's
/// own buffers.
pub trait Holding {
    /// How many.
    fn held(&self) -> usize;
}

impl Holding for TcpStream {
    fn held(&self) -> usize {
        0
    }
}

#[cfg(test)]
impl Holding for tokio::io::DuplexStream {
    fn held(&self) -> usize {
        0
    }
}

/// A connection whose kind is known at run time only, as a client's is.
pub type Transport = Box<dyn Duplex>;

/// The longest queue of connections not yet accepted. The kernel cuts it to `net.core.somaxconn`
/// (4096 by default).
const BACKLOG: i32 = 4096;

/// So much may wait in a socket that the peer has no room for. Enough to keep a connection busy
/// until its writer's next turn; the system's own bound (`net.ipv4.tcp_wmem`, 4 MiB) lets a few
/// hundred peers that do not read take the memory of all sockets of the machine
/// (`net.ipv4.tcp_mem`), and then the system drops what other connections send.
pub(crate) const MAX_UNSENT_BYTES: u32 = 128 * 1024;

/// Sets what every socket of this program has.
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT_BYTES)?;
    Ok(())
}

/// Lets this process have as many sockets as the system lets it have at all: a session costs a
/// sidecar two file descriptors, and the soft limit is often 1,024.
pub fn raise_open_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::debug!("the limit of open files stays at {soft}: {error}");
    }
}

/// A socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}: {source}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Binds `count` listeners to one address, so that each worker accepts by itself (`SO_REUSEPORT`,
/// the kernel spreads the connections). Port 0 works: all get the port that the system gave the
/// first.
///
/// # Errors
/// The address is in use or not of this machine.
pub fn listen(address: SocketAddr, count: usize) -> Result<Vec<std::net::TcpListener>, BindError> {
    let bind = |address: SocketAddr, shared: bool| -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        // Only once the first is bound: earlier, the address could be shared unnoticed with another
        // program.
        socket.set_reuse_port(count > 1)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let named = |source| BindError { address, source };
    let first = bind(address, false).map_err(named)?;
    let bound = first.local_addr().map_err(named)?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(bind(bound, true).map_err(named)?);
    }
    Ok(listeners)
}

/// A connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The system refused or the network did.
    #[error("connect to {address}: {source}")]
    Refused {
        /// The address dialled.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("connect to {address}: no answer within {limit:?}")]
    TimedOut {
        /// The address dialled.
        address: SocketAddr,
        /// How long was waited.
        limit: Duration,
    },
}

/// Opens a connection within `limit`, from `source` if one is given, with `TCP_NODELAY` and
/// `TCP_NOTSENT_LOWAT`.
///
/// # Errors
/// [`ConnectError`], with the address.
pub async fn connect(
    address: SocketAddr,
    source: Option<IpAddr>,
    limit: Duration,
) -> Result<TcpStream, ConnectError> {
    let dial = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = source {
            bind_source(&socket, source)?;
        }
        let stream = socket.connect(address).await?;
        set_options(&stream)?;
        Ok(stream)
    };
    match tokio::time::timeout(limit, dial).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(ConnectError::Refused { address, source }),
        Err(_) => Err(ConnectError::TimedOut { address, limit }),
    }
}

/// The first address of this machine that others know it by, of the kind of `like`; where it has none,
/// `like` itself (Envoy's `getLocalAddress`).
#[must_use]
pub fn local_address(like: IpAddr) -> IpAddr {
    static OF_BOTH_KINDS: OnceLock<[Option<IpAddr>; 2]> = OnceLock::new();
    let addresses = OF_BOTH_KINDS.get_or_init(|| {
        let all: Vec<IpAddr> = nix::ifaddrs::getifaddrs()
            .into_iter()
            .flatten()
            .filter_map(|interface| ip_address(interface.address.as_ref()?))
            .filter(|address| !address.is_loopback())
            .collect();
        [IpAddr::is_ipv4, IpAddr::is_ipv6].map(|is_kind| all.iter().copied().find(is_kind))
    });
    addresses[usize::from(like.is_ipv6())].unwrap_or(like)
}

fn ip_address(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

/// Binds the near end of a connection that is about to be dialled.
fn bind_source(socket: &TcpSocket, source: IpAddr) -> io::Result<()> {
    // Without this the system would reserve a port of the address for each connection, and run out
    // of ports at 28,000.
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(SocketAddr::new(source, 0))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    fn is_without_delay_and_bounded(stream: &TcpStream) -> bool {
        let unsent = SockRef::from(stream).tcp_notsent_lowat().unwrap();
        stream.nodelay().unwrap() && unsent == MAX_UNSENT_BYTES
    }

    #[tokio::test]
    async fn sockets_of_both_ends_send_at_once_and_keep_little_for_a_peer_that_does_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, seen) = tokio::sync::oneshot::channel();
        let mut accepted = Some(accepted);
        let accepting = accept_each(listener, |stream, _| {
            let _ = accepted.take().unwrap().send(is_without_delay_and_bounded(&stream));
        });
        let dialled = connect(address, None, Duration::from_secs(60));
        tokio::select! {
            () = accepting => unreachable!("a listener accepts for ever"),
            (dialled, seen) = async { (dialled.await, seen.await) } => {
                assert!(is_without_delay_and_bounded(&dialled.unwrap()));
                assert!(seen.unwrap());
            }
        }
    }
}
