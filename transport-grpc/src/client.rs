use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use echosphere_core::wire::Protocol;
use echosphere_driver::settle::Settle;
use echosphere_driver::{Connector, Negotiated, OtherProtocol, Stream};
use http::header::{CONTENT_TYPE, TE};
use http::uri::Scheme;
use http::{HeaderMap, Request, StatusCode, Uri};
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;

use crate::method::Method;
use crate::settle::SettleTasks;
use crate::socket::{FirstBytes, noting};
use crate::stream::{CallPipe, ClientConnection, GRPC, GrpcStream, TRANSPORT, check, is_grpc};

/// The time between two pings, and the time for an answer. A client must notice a loss before the server forgets the session
/// that it could resume.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes calls of one method, each on an HTTP/2 connection of its own.
pub struct GrpcConnector<M, C> {
    connector: C,
    authority: String,
    scheme: Scheme,
    http: Builder<TokioExecutor>,
    method: PhantomData<M>,
}

impl<M: Method, C: Connector> GrpcConnector<M, C> {
    /// Calls the server to which `connector` connects. `authority` is the `HOST:PORT` of the server, for HTTP/2's `:authority`.
    #[must_use]
    pub fn over(connector: C, authority: impl Into<String>) -> Self {
        let mut http = Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        Self {
            connector,
            authority: authority.into(),
            scheme: Scheme::HTTP,
            http,
            method: PhantomData,
        }
    }

    /// Calls with the scheme `https`, for a connector that negotiates TLS.
    #[must_use]
    pub fn with_https(mut self) -> Self {
        self.scheme = Scheme::HTTPS;
        self
    }

    fn request(&self, body: Body) -> Result<Request<Body>, http::Error> {
        let to = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(&*self.authority)
            .path_and_query(M::path())
            .build()?;
        Request::post(to)
            .header(CONTENT_TYPE, GRPC)
            .header(TE, "trailers")
            .body(body)
    }

    /// Makes a call on this connection.
    async fn call(&self, socket: impl Stream) -> io::Result<GrpcStream> {
        let (mut requests, connection) = self.http.handshake(TokioIo::new(socket)).await.map_err(cause)?;
        let running = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the HTTP/2 connection failed");
            }
        });
        let running = AbortOnDropHandle::new(running);
        let (pipe, body) = CallPipe::new(false);
        let request = self.request(body).map_err(io::Error::other)?;
        let response = requests.send_request(request).await.map_err(cause)?;
        check_start(response.status(), response.headers())?;
        let connection = ClientConnection::new(requests, running);
        Ok(GrpcStream::dialled(Body::new(response.into_body()), pipe, connection))
    }
}

#[async_trait]
impl<M: Method, C: Connector> Connector for GrpcConnector<M, C> {
    type Stream = GrpcStream;

    async fn dial(&self) -> io::Result<Negotiated<GrpcStream>> {
        let (mut peer, stream) = self.connector.dial().await?;
        peer.transport = TRANSPORT;
        let first = FirstBytes::default();
        let called = self.call(noting(stream, first.clone())).await;
        let stream = called.map_err(|error| match first.other() {
            Some(protocol) => OtherProtocol(protocol).into(),
            None if error.kind() == io::ErrorKind::InvalidData => {
                tracing::debug!(%error, "the server speaks HTTP/2, but does not serve the method");
                OtherProtocol(Some(Protocol::Http2)).into()
            }
            None => error,
        })?;
        Ok((peer, stream))
    }

    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(SettleTasks::default())
    }
}

impl<M, C> fmt::Debug for GrpcConnector<M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcConnector")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// Checks the head of a response. An error of kind `InvalidData` means that the server does not serve the method.
fn check_start(status: StatusCode, headers: &HeaderMap) -> io::Result<()> {
    if !status.is_success() {
        // gRPC's "HTTP to gRPC Status Code Mapping".
        let kind = match status.as_u16() {
            429 | 502..=504 => io::ErrorKind::ResourceBusy,
            _ => io::ErrorKind::InvalidData,
        };
        return Err(io::Error::new(kind, format!("not a gRPC server: HTTP status {status}")));
    }
    if !is_grpc(headers) {
        let wrong = "not a gRPC server: the content-type of its response is not application/grpc";
        return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
    }
    // The status of a call that is refused at once is in the headers.
    check(Some(headers))
}

/// The IO error that caused an HTTP/2 error, if there is one.
fn cause(error: hyper::Error) -> io::Error {
    let mut kind = io::ErrorKind::Other;
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return io::Error::new(io.kind(), io.to_string());
        }
        // The peer broke the rules of HTTP/2.
        if inner.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_library) {
            kind = io::ErrorKind::InvalidData;
        }
        source = inner.source();
    }
    io::Error::new(kind, error)
}
