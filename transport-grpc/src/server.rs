use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use echosphere_driver::Listener;
use futures_util::stream::unfold;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::ServingStatus;
use tower_service::Service;

use crate::method::Method;
use crate::stream::{GrpcStream, Pipe};

/// How often an HTTP/2 connection is asked whether it is still there, and how long its answer may take.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls that may wait for the driver's next turn.
const QUEUED_CALLS: usize = 256;
/// How long to wait before accepting again when there is nothing left to accept with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of a gRPC server. (Its calls have those of the endpoint that takes them.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcConfig {
    /// HTTP/2 connections held at once; one more waits in the kernel. Default 10,000.
    pub max_connections: usize,
    /// Calls under way on one of them. Default 1,000.
    pub max_calls: u32,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_calls: 1000,
        }
    }
}

/// Serves the calls of one method, health checks (`grpc.health.v1`) and reflection (`grpc.reflection.v1` and `v1alpha`), all
/// in HTTP/2 without TLS. When it is dropped, no new calls are taken, and the service is not healthy any more.
pub struct GrpcListener<M> {
    calls: mpsc::Receiver<GrpcStream>,
    addr: SocketAddr,
    _running: oneshot::Sender<Infallible>,
    method: PhantomData<M>,
}

/// The HTTP/2 server behind a [`GrpcListener`]. Once that is dropped, it ends when its last call has.
#[derive(Debug)]
pub struct Serving(JoinHandle<Result<(), tonic::transport::Error>>);

impl Serving {
    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// What made the server fail.
    pub async fn ended(self) -> io::Result<()> {
        self.0.await?.map_err(io::Error::other)
    }
}

impl<M: Method> GrpcListener<M> {
    /// Binds to `addr`, port 0 takes a free one, and serves there on tasks of their own.
    ///
    /// # Errors
    ///
    /// If the address is taken or not this host's.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn bind(addr: SocketAddr, config: GrpcConfig) -> io::Result<(Self, Serving)> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let (sender, calls) = mpsc::channel(QUEUED_CALLS);
        let (running, stopped) = oneshot::channel();
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status(M::SERVICE, ServingStatus::Serving).await;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(M::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let server = Server::builder()
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .max_concurrent_streams(config.max_calls)
            .add_service(Calls::<M> {
                calls: sender,
                method: PhantomData,
            })
            .add_service(health_service)
            .add_service(reflection().build_v1().map_err(io::Error::other)?)
            .add_service(reflection().build_v1alpha().map_err(io::Error::other)?)
            .serve_with_incoming_shutdown(incoming(listener, config.max_connections), async move {
                // Nothing is ever sent: that the listener is gone is what is waited for.
                let _ = stopped.await;
                for service in ["", M::SERVICE] {
                    health.set_service_status(service, ServingStatus::NotServing).await;
                }
            });
        let listener = Self {
            calls,
            addr,
            _running: running,
            method: PhantomData,
        };
        Ok((listener, Serving(tokio::spawn(server))))
    }

    /// The address it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

#[async_trait]
impl<M: Method> Listener for GrpcListener<M> {
    type Stream = GrpcStream;

    async fn accept(&mut self) -> io::Result<GrpcStream> {
        match self.calls.recv().await {
            Some(call) => Ok(call),
            // The HTTP/2 server ends before this listener only if it panics. Other listeners of the same driver go on.
            None => std::future::pending().await,
        }
    }
}

impl<M> fmt::Debug for GrpcListener<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcListener")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// Hands calls to the driver.
#[derive(Clone)]
struct Calls<M> {
    calls: mpsc::Sender<GrpcStream>,
    method: PhantomData<M>,
}

impl<M: Method> NamedService for Calls<M> {
    const NAME: &'static str = M::SERVICE;
}

impl<M: Method> Service<Request<Body>> for Calls<M> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let calls = self.calls.clone();
        Box::pin(async move {
            if request.uri().path() != M::path() {
                let known = format!("no such method; expected {}", M::path());
                return Ok(Status::unimplemented(known).into_http());
            }
            let (pipe, body) = Pipe::new(true);
            let call = GrpcStream::new(request.into_body(), pipe, None);
            if calls.send(call).await.is_err() {
                return Ok(Status::unavailable("the server is shutting down; call again later").into_http());
            }
            let mut response = Response::new(body);
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(CONTENT_TYPE, grpc);
            Ok(response)
        })
    }
}

/// The connections of `listener`, so many at once.
fn incoming(listener: TcpListener, at_once: usize) -> impl futures_util::Stream<Item = io::Result<Held>> {
    let places = Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS)));
    unfold((listener, places), |(listener, places)| async {
        loop {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            match accept(&listener).await {
                Ok(stream) => {
                    let held = Held { stream, _place: place };
                    return Some((Ok(held), (listener, places)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections, trying again; is the limit of open files reached?");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A TCP connection that has one of the places there are.
struct Held {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl Connected for Held {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Held {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
