use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use echosphere_driver::{Connector, Incoming, Listener, Negotiated, Peer};
use tokio::net::{TcpSocket, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::stream::TcpStream;

/// Connections that can wait in the kernel to be accepted. The kernel limits it to `net.core.somaxconn`.
pub(crate) const BACKLOG: u32 = 4096;
/// How long an attempt to connect to one address runs before one to the next address begins (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// The name of the transport in logs.
pub(crate) const TRANSPORT: &str = "tcp";

/// Listens on a TCP port.
#[derive(Debug)]
pub struct TcpListener(tokio::net::TcpListener);

impl TcpListener {
    /// Binds to `addr`; port 0 chooses a free port.
    ///
    /// # Errors
    ///
    /// If the address is in use or does not belong to this host.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = socket_for(addr)?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        Ok(Self(socket.listen(BACKLOG)?))
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[async_trait]
impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<Incoming<TcpStream>> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok(Incoming::ready(
            Peer::new(TRANSPORT, Some(peer)),
            TcpStream::new(stream),
        ))
    }
}

/// Connects to one TCP address, or to a host by name.
#[derive(Debug)]
pub struct TcpConnector {
    to: Target,
    from: Vec<IpAddr>,
    /// Attempts so far, by which the addresses to connect from take turns.
    attempts: AtomicUsize,
}

#[derive(Clone, Debug)]
enum Target {
    Address(SocketAddr),
    Host { name: String, port: u16 },
}

impl TcpConnector {
    /// Connects to `to` from an address that the system chooses.
    #[must_use]
    pub const fn new(to: SocketAddr) -> Self {
        Self::from_addresses(to, Vec::new())
    }

    /// Connects to a host. Each attempt resolves `name` again and tries all its addresses, IPv6 and IPv4 alternately, until one
    /// connects (RFC 8305).
    #[must_use]
    pub fn to_host(name: impl Into<String>, port: u16) -> Self {
        let name = name.into();
        let to = match name.parse() {
            Ok(ip) => Target::Address(SocketAddr::new(ip, port)),
            Err(_) => Target::Host { name, port },
        };
        let from = Vec::new();
        let attempts = AtomicUsize::new(0);
        Self { to, from, attempts }
    }

    /// Connects to `to` from each address of `from` in turn, since the ports of one address are limited (28,232 by default on
    /// Linux).
    #[must_use]
    pub const fn from_addresses(to: SocketAddr, from: Vec<IpAddr>) -> Self {
        Self {
            to: Target::Address(to),
            from,
            attempts: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl Connector for TcpConnector {
    type Stream = TcpStream;

    async fn dial(&self) -> io::Result<Negotiated<TcpStream>> {
        let stream = match &self.to {
            Target::Address(to) => {
                let turn = self.attempts.fetch_add(1, Ordering::Relaxed);
                let from = self.from.get(turn % self.from.len().max(1)).copied();
                connect(*to, from).await?
            }
            Target::Host { name, port } => {
                let found = lookup_host((&**name, *port)).await?;
                connect_to_any(alternate(found.collect())).await?
            }
        };
        let peer = Peer::new(TRANSPORT, stream.peer_addr().ok());
        Ok((peer, TcpStream::new(stream)))
    }
}

/// Connects to the first of `addresses` that answers. An attempt to the next address begins when one fails, or after
/// [`NEXT_ADDRESS_AFTER`].
async fn connect_to_any(addresses: Vec<SocketAddr>) -> io::Result<tokio::net::TcpStream> {
    let mut left = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = None;
    loop {
        if let Some(address) = left.next() {
            attempts.spawn(connect(address, None));
        }
        let next = async {
            match left.len() {
                0 => std::future::pending().await,
                _ => sleep(NEXT_ADDRESS_AFTER).await,
            }
        };
        tokio::select! {
            biased;
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(result) => {
                    let error = result.map_or_else(io::Error::other, |result| result.err().unwrap_or_else(no_address));
                    // A refusal tells the user more than a missing answer.
                    if failure.as_ref().is_none_or(|before| !is_refusal(before)) {
                        failure = Some(error);
                    }
                }
                None => return Err(failure.unwrap_or_else(no_address)),
            },
            () = next => {}
        }
    }
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
}

/// The addresses with both families alternating, beginning with the family of the first (RFC 8305, section 4).
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let v4_first = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut one, mut other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|to| to.is_ipv4() == v4_first);
    one.reverse();
    other.reverse();
    let mut ordered = Vec::with_capacity(one.len() + other.len());
    while !(one.is_empty() && other.is_empty()) {
        ordered.extend(one.pop());
        ordered.extend(other.pop());
    }
    ordered
}

async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<tokio::net::TcpStream> {
    let socket = socket_for(to)?;
    socket.set_nodelay(true)?;
    if let Some(from) = from {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(to).await
}

pub(crate) fn socket_for(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // The kernel then also detects peers that vanished on an idle connection.
    socket.set_keepalive(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]);
        let ordered = addresses(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert_eq!(alternate(found), ordered);
        assert_eq!(alternate(addresses(&["1.0.0.1:1"])), addresses(&["1.0.0.1:1"]));
    }

    #[tokio::test]
    async fn every_address_is_tried() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let open = listener.local_addr().expect("its address");
        // Nobody listens at the first; the second never answers (RFC 5737 keeps it for documentation).
        let closed = addresses(&["127.0.0.2:1", "192.0.2.1:1"]);
        let stream = connect_to_any([closed.clone(), vec![open]].concat()).await;
        assert_eq!(stream.and_then(|stream| stream.peer_addr()).ok(), Some(open));

        let error = connect_to_any(addresses(&["127.0.0.2:1", "127.0.0.3:1"])).await;
        assert_eq!(
            error.map_err(|error| error.kind()).err(),
            Some(io::ErrorKind::ConnectionRefused)
        );
        // A refusal is reported rather than what says less, whichever came first. Nobody connects to a broadcast address.
        let failing = ["127.0.0.2:1", "255.255.255.255:1"];
        for order in [failing, [failing[1], failing[0]]] {
            let error = connect_to_any(addresses(&order)).await;
            assert_eq!(
                error.map_err(|error| error.kind()).err(),
                Some(io::ErrorKind::ConnectionRefused)
            );
        }
        let error = connect_to_any(Vec::new()).await;
        assert_eq!(error.map_err(|error| error.kind()).err(), Some(io::ErrorKind::NotFound));
    }
}
