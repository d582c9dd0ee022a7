use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use echosphere_core::DialToken;
use echosphere_driver::{Connector, Listener};
use tokio::net::{TcpSocket, TcpStream};

/// Connections that may wait in the kernel to be accepted; it may cut this to `net.core.somaxconn`.
pub(crate) const BACKLOG: u32 = 4096;

/// Listens on a TCP port.
#[derive(Debug)]
pub struct TcpListener(tokio::net::TcpListener);

impl TcpListener {
    /// Binds to `addr`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// If the address is taken or not this host's.
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
    /// If the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[async_trait]
impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        let (stream, _) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Connects to one TCP address.
#[derive(Clone, Debug)]
pub struct TcpConnector {
    to: SocketAddr,
    from: Vec<IpAddr>,
}

impl TcpConnector {
    /// Connects to `to` from whichever address the system chooses.
    #[must_use]
    pub const fn new(to: SocketAddr) -> Self {
        Self { to, from: Vec::new() }
    }

    /// Connects to `to` from each of `from` in turn: an address has only so many ports (28,232 by Linux's default).
    #[must_use]
    pub const fn from_addresses(to: SocketAddr, from: Vec<IpAddr>) -> Self {
        Self { to, from }
    }
}

#[async_trait]
impl Connector for TcpConnector {
    type Stream = TcpStream;

    async fn dial(&self, token: DialToken) -> io::Result<TcpStream> {
        let socket = socket_for(self.to)?;
        socket.set_nodelay(true)?;
        if !self.from.is_empty() {
            // The token's upper half counts the attempts.
            let turn = (token.0 >> 32) as usize % self.from.len();
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::new(self.from[turn], 0))?;
        }
        socket.connect(self.to).await
    }
}

pub(crate) fn socket_for(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // So that a peer that vanished while it owed us nothing is noticed by the kernel as well.
    socket.set_keepalive(true)?;
    Ok(socket)
}
