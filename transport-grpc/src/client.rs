use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use echosphere_core::DialToken;
use echosphere_core::wire::Protocol;
use echosphere_driver::{Connector, OtherProtocol};
use http::header::{CONTENT_TYPE, TE};
use http::{Request, Uri};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tower_service::Service;

use crate::method::Method;
use crate::socket::{First, Only, Socket};
use crate::stream::{GrpcStream, Pipe, check};

/// How often the server is asked whether it is still there, and how long its answer may take. A client must notice a loss
/// before its server forgets what the client could resume.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects by calls of one method. Each has an HTTP/2 connection of its own.
pub struct GrpcConnector<M> {
    to: SocketAddr,
    endpoint: Endpoint,
    method: PhantomData<M>,
}

impl<M: Method> GrpcConnector<M> {
    /// Calls a server at this address, without TLS.
    ///
    /// # Errors
    ///
    /// If the address cannot stand in a URI.
    pub fn new(to: SocketAddr) -> io::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{to}"))
            .map_err(io::Error::other)?
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        Ok(Self {
            to,
            endpoint,
            method: PhantomData,
        })
    }
}

#[async_trait]
impl<M: Method> Connector for GrpcConnector<M> {
    type Stream = GrpcStream;

    async fn dial(&self, _token: DialToken) -> io::Result<GrpcStream> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let first = First::default();
        let called = self.call(Socket::new(stream, first.clone())).await;
        called.map_err(|error| first.other().map_or(error, |protocol| OtherProtocol(protocol).into()))
    }
}

impl<M: Method> GrpcConnector<M> {
    /// Makes a call on this connection.
    async fn call(&self, socket: Socket) -> io::Result<GrpcStream> {
        let connected = self.endpoint.connect_with_connector(Only::new(socket)).await;
        let mut channel = connected.map_err(|error| cause(&error))?;
        poll_fn(|cx| channel.poll_ready(cx))
            .await
            .map_err(|error| cause(&error))?;
        let (pipe, body) = Pipe::new(false);
        let request = Request::post(M::path().parse::<Uri>().map_err(io::Error::other)?)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .body(body)
            .map_err(io::Error::other)?;
        let response = channel.call(request).await.map_err(|error| cause(&error))?;
        let refusal = Status::from_header_map(response.headers());
        let unknown = refusal.is_some_and(|status| status.code() == Code::Unimplemented);
        if unknown || !response.status().is_success() {
            return Err(OtherProtocol(Some(Protocol::Http2)).into());
        }
        // A call that is refused at once has its status in its headers.
        check(Some(response.headers()))?;
        Ok(GrpcStream::new(response.into_body(), pipe, Some(channel)))
    }
}

impl<M> fmt::Debug for GrpcConnector<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcConnector")
            .field("endpoint", &self.endpoint)
            .finish()
    }
}

/// The system's error behind a transport's, if there is one.
fn cause(error: &tonic::transport::Error) -> io::Error {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return io::Error::new(io.kind(), io.to_string());
        }
        source = inner.source();
    }
    io::Error::other(error.to_string())
}
