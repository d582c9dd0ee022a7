//! The answers to the requests of HTTP/2 connections.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_driver::Peer;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic_health::pb::health_server::HealthServer;
use tower_service::Service;

use crate::health::Health;
use crate::method::Method;
use crate::reflection;
use crate::shutdown::{PendingCall, Shutdown};
use crate::stream::{GRPC, is_grpc};

/// The most bytes of a request to health or reflection, which holds a name.
const MAX_STANDARD_MESSAGE: usize = 4096;
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Standard = Box<dyn Fn(Request<Body>) -> Answer + Send + Sync>;

/// The calls of one method, and gRPC's standard services.
pub(crate) struct Services {
    path: String,
    drain: Shutdown,
    health: Standard,
    reflection: Standard,
    handshake_timeout: Duration,
}

impl Services {
    /// # Errors
    ///
    /// If the descriptors of the method are not a `FileDescriptorSet`.
    pub(crate) fn new<M: Method>(drain: Shutdown, links: ConnectionConfig) -> io::Result<Self> {
        let health = HealthServer::new(Health::new(M::SERVICE, drain.clone()));
        let reflection = reflection::server(M::DESCRIPTORS, links.idle_timeout, drain.clone())?;
        Ok(Self {
            path: M::path(),
            drain,
            health: standard(health.max_decoding_message_size(MAX_STANDARD_MESSAGE)),
            reflection: standard(reflection.max_decoding_message_size(MAX_STANDARD_MESSAGE)),
            handshake_timeout: links.handshake_timeout,
        })
    }

    /// Answers a request. Calls `leave` if the client should connect elsewhere.
    pub(crate) async fn answer(&self, peer: Peer, mut request: Request<Body>, leave: impl FnOnce()) -> Response<Body> {
        if let Some(refusal) = unreadable(&request) {
            return refusal;
        }
        if request.uri().path() == self.path {
            let answer = self.call(peer, request.into_body()).await;
            if answer.is_none() {
                leave();
            }
            return answer
                .unwrap_or_else(|| Status::unavailable("the server is shutting down; try again later").into_http());
        }
        let answer = match request.uri().path().rsplit_once('/') {
            Some(("/grpc.health.v1.Health", _)) => (self.health)(request),
            Some(("/grpc.reflection.v1.ServerReflection", _)) => (self.reflection)(request),
            // It has the same messages.
            Some(("/grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo")) => {
                *request.uri_mut() = Uri::from_static("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
                (self.reflection)(request)
            }
            _ => {
                let known = format!("no such method; expected {}", self.path);
                return Status::unimplemented(known).into_http();
            }
        };
        let in_time = timeout(self.handshake_timeout, answer).await;
        in_time.unwrap_or_else(|_| Status::deadline_exceeded("no request arrived in time").into_http())
    }

    /// Passes a call to the driver. `None` if the server drains.
    async fn call(&self, peer: Peer, incoming: Body) -> Option<Response<Body>> {
        let (taken, outgoing) = oneshot::channel();
        let call = PendingCall { peer, incoming, taken };
        self.drain.ask(call).await.then_some(())?;
        let mut response = Response::new(outgoing.await.ok()?);
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        Some(response)
    }
}

/// The answer to a request that is not gRPC or is compressed.
fn unreadable<B>(request: &Request<B>) -> Option<Response<Body>> {
    let headers = request.headers();
    if !is_grpc(headers) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Some(response);
    }
    let encoding = headers.get("grpc-encoding").filter(|encoding| *encoding != IDENTITY)?;
    let refusal = format!("messages encoded as {encoding:?} are not supported; expected identity");
    let mut response = Status::unimplemented(refusal).into_http();
    response.headers_mut().insert("grpc-accept-encoding", IDENTITY);
    Some(response)
}

/// The answer to requests over the limit of connections.
pub(crate) fn full() -> Response<Body> {
    Status::unavailable("the server is at its limit of connections; try again later").into_http()
}

fn standard<S>(server: S) -> Standard
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    Box::new(move |request| {
        let mut server = server.clone();
        Box::pin(async move {
            let Ok(response) = server.call(request).await;
            response
        })
    })
}
