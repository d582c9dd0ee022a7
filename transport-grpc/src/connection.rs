//! One HTTP/2 connection: its handshake, time-outs and end.

use std::convert::Infallible;
use std::io::{self, Cursor};
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::connection::ConnectionConfig;
use echosphere_driver::{BoxStream, Incoming, farewell};
use http::Request;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming as RequestBody;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, join, split};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use crate::config::GrpcConfig;
use crate::preface;
use crate::service::{Services, full};
use crate::shutdown::Shutdown;
use crate::stream::TRANSPORT;

/// The flow-control window of a stream. Messages are short, and read at once.
const STREAM_WINDOW: u32 = 16 * 1024;
/// Bytes in the window of a connection for each call. h2 closes a connection when unread frames shorter than 256 bytes miss
/// more than half of the window in total. So all calls can send a short frame at the same time.
const CALL_WINDOW: u32 = 512;
/// The smallest and the largest window of a connection in HTTP/2.
const WINDOWS: RangeInclusive<u32> = 65_535..=0x7fff_ffff;
/// The most bytes buffered on one stream for a peer that does not read.
const SEND_BUFFER: usize = 16 * 1024;
/// The time for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The shortest time between two pings.
const MIN_PING_INTERVAL: Duration = Duration::from_millis(1);

/// Serves HTTP/2 connections.
pub(crate) struct HttpServer {
    http: Builder<TokioExecutor>,
    services: Services,
    links: ConnectionConfig,
    drain: Shutdown,
}

impl HttpServer {
    pub(crate) fn new(config: GrpcConfig, services: Services, drain: Shutdown) -> Self {
        let GrpcConfig {
            connections: links,
            max_calls,
        } = config;
        let mut http = Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .keep_alive_interval(links.keepalive_interval.max(MIN_PING_INTERVAL))
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(max_calls)
            .initial_connection_window_size(
                max_calls
                    .saturating_mul(CALL_WINDOW)
                    .clamp(*WINDOWS.start(), *WINDOWS.end()),
            )
            .initial_stream_window_size(STREAM_WINDOW)
            .max_send_buf_size(SEND_BUFFER);
        Self {
            http,
            services,
            links,
            drain,
        }
    }

    /// Serves a connection until its peer closes it, it has had no call for the idle time-out, or the server ends. Without a
    /// place, answers its first call with `UNAVAILABLE` and closes it.
    ///
    /// # Errors
    ///
    /// If the peer does not complete the connection preface in time, or breaks HTTP/2's rules.
    pub(crate) async fn serve(self: Arc<Self>, incoming: Incoming<BoxStream>, is_place: bool) -> io::Result<()> {
        let until = Instant::now() + self.links.handshake_timeout;
        let (mut peer, mut stream) = timeout_at(until, incoming.finish()).await??;
        peer.transport = TRANSPORT;
        let start = match timeout_at(until, preface::read(&mut stream)).await? {
            Ok(start) => start.freeze(),
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    farewell(&mut stream, preface::REFUSAL, self.links.linger).await;
                }
                return Err(error);
            }
        };
        let leave = CancellationToken::new();
        let (calls, mut under_way) = watch::channel(0);
        let calls = Arc::new(calls);
        let service = service_fn(|request: Request<RequestBody>| {
            let this = Arc::clone(&self);
            let leave = leave.clone();
            let call = CallGuard::begin(&calls);
            let peer = peer.clone();
            async move {
                let leave = || leave.cancel();
                let response = if is_place {
                    this.services.answer(peer, request.map(Body::new), leave).await
                } else {
                    leave();
                    full()
                };
                Ok::<_, Infallible>(response.map(|body| CountedBody { body, _call: call }))
            }
        });
        let (rest, write) = split(stream);
        let io = TokioIo::new(join(Cursor::new(start).chain(rest), write));
        let mut connection = pin!(self.http.serve_connection(io, service));
        let idle_timeout = if is_place {
            self.links.idle_timeout
        } else {
            self.links.handshake_timeout
        };
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = leave.cancelled() => {}
            () = self.drain.over() => {}
            () = idle_for(idle_timeout, &mut under_way) => {}
        }
        connection.as_mut().graceful_shutdown();
        let time_is_over = async {
            self.drain.over().await;
            sleep(self.links.linger).await;
        };
        tokio::select! {
            biased;
            ended = connection => ended.map_err(io::Error::other),
            () = time_is_over => Ok(()),
            () = idle_for(self.links.linger, &mut under_way) => Ok(()),
        }
    }
}

/// Waits until no call has been under way for `time`.
async fn idle_for(time: Duration, under_way: &mut watch::Receiver<usize>) {
    loop {
        // The sender belongs to the service, which outlives this.
        let _ = under_way.wait_for(|calls| *calls == 0).await;
        if timeout(time, under_way.changed()).await.is_err() {
            return;
        }
    }
}

/// A call under way on a connection.
struct CallGuard(Arc<watch::Sender<usize>>);

impl CallGuard {
    fn begin(calls: &Arc<watch::Sender<usize>>) -> Self {
        calls.send_modify(|calls| *calls += 1);
        Self(Arc::clone(calls))
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls -= 1);
    }
}

/// A body that ends its call when it is dropped.
struct CountedBody {
    body: Body,
    _call: CallGuard,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
