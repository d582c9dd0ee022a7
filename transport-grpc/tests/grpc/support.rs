//! A numbers server behind gRPC, and clients of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use echosphere_core::DialError;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::numbers::{
    Client, ClientConfig, Command, Failure, Message, Notice, Server, ServerConfig, StreamSpec, Uuid,
};
use echosphere_core::wire::{Codec, Decoded, Outbox};
use echosphere_driver::{Connector, Driver, Handle, Listener, Stream};
use echosphere_transport_grpc::numbers::{GetNumbers, NumbersGrpcCodec};
use echosphere_transport_grpc::{GrpcConfig, GrpcConnector, GrpcListener, GrpcStream, Method, Serving};
use echosphere_transport_tcp::{TcpConnector, TcpListener};
use http::{HeaderMap, HeaderName, Request, Response};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};

pub(crate) const UUID: Uuid = Uuid::from_u128(7);

pub(crate) type ServerEndpoint = Endpoint<Server<ChaCha8Rng>, NumbersGrpcCodec>;

pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) handle: Handle<Server<ChaCha8Rng>, NumbersGrpcCodec>,
    pub(crate) driver: JoinHandle<ServerEndpoint>,
    pub(crate) serving: Serving,
}

impl Running {
    /// Calls that the server's driver has.
    pub(crate) async fn calls(&self) -> usize {
        self.handle.inspect(|endpoint| endpoint.connections()).await.unwrap()
    }

    /// Waits until the driver has so many calls.
    pub(crate) async fn wait_for_calls(&self, calls: usize) {
        wait(async || self.calls().await == calls).await;
    }

    /// Waits until the driver has so many calls. There is one session all the time.
    pub(crate) async fn wait_for_calls_of_the_session(&self, calls: usize) {
        wait(async || {
            let look = |endpoint: &ServerEndpoint| (endpoint.connections(), endpoint.machine().sessions());
            let (connections, sessions) = self.handle.inspect(look).await.unwrap();
            assert_eq!(sessions, 1);
            connections == calls
        })
        .await;
    }

    /// Drains, and checks that nothing is left.
    pub(crate) async fn end(self) {
        self.handle.drain(Duration::from_secs(5)).await.unwrap();
        let endpoint = self.driver.await.unwrap();
        assert!(endpoint.is_zero(), "{endpoint:?}");
        self.serving.ended().await;
    }
}

pub(crate) fn start() -> Running {
    start_with(ConnectionConfig::default(), GrpcConfig::default())
}

/// A server over TCP whose calls and connections have these bounds.
pub(crate) fn start_with(calls: ConnectionConfig, connections: GrpcConfig) -> Running {
    let tcp = TcpListener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = tcp.local_addr().unwrap();
    Running {
        addr,
        ..serve(tcp, calls, connections)
    }
}

/// A server over any listener; `addr` means nothing. It sends a number every millisecond.
pub(crate) fn serve(listener: impl Listener + 'static, calls: ConnectionConfig, connections: GrpcConfig) -> Running {
    let config = ServerConfig {
        period: Duration::from_millis(1),
        ..ServerConfig::default()
    };
    let server = Server::new(config, ChaCha8Rng::seed_from_u64(1));
    let endpoint = Endpoint::new(server, NumbersGrpcCodec::accepted(), calls);
    let (listener, serving) = GrpcListener::<GetNumbers>::over(listener, connections).unwrap();
    let (driver, handle) = Driver::new(endpoint);
    let driver = driver.listen(listener);
    Running {
        addr: ([127, 0, 0, 1], 0).into(),
        handle,
        driver: tokio::spawn(driver.run()),
        serving,
    }
}

/// Makes calls over TCP.
pub(crate) fn connector(to: SocketAddr) -> GrpcConnector<GetNumbers, TcpConnector> {
    GrpcConnector::over(TcpConnector::new(to), to.to_string())
}

/// Our client, and what it is told.
pub(crate) fn ask(
    addr: SocketAddr,
    want: StreamSpec,
    config: ClientConfig,
) -> (JoinHandle<()>, mpsc::UnboundedReceiver<Notice>) {
    let client = Client::new(config, ChaCha8Rng::seed_from_u64(2));
    let endpoint = Endpoint::new(client, NumbersGrpcCodec::dialled(), ConnectionConfig::default());
    let (sender, notices) = mpsc::unbounded_channel();
    let grpc = connector(addr);
    let (driver, handle) = Driver::new(endpoint);
    let driver = driver
        .connect(grpc)
        .with_notices(move |notice| drop(sender.send(notice)));
    let running = tokio::spawn(async move {
        handle.command(Command::Get { key: 1, stream: want }).await.unwrap();
        drop(handle);
        driver.run().await;
    });
    (running, notices)
}

/// Waits until something is so.
pub(crate) async fn wait(is_so: impl AsyncFn() -> bool) {
    soon(async {
        while !is_so().await {
            // Time must pass where it is paused.
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// What comes of `future`, which a fault could keep from ending.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(90), future).await.expect("it comes soon")
}

/// What our client is told until the stream is over.
pub(crate) async fn get(addr: SocketAddr, want: StreamSpec, config: ClientConfig) -> Vec<Notice> {
    let (running, mut notices) = ask(addr, want, config);
    running.await.unwrap();
    let mut all = Vec::new();
    while let Some(notice) = notices.recv().await {
        all.push(notice);
    }
    all
}

/// Why our client's first attempt to connect fails.
pub(crate) async fn dial_error(addr: SocketAddr) -> DialError {
    let (running, mut notices) = ask(addr, session(3, None), ClientConfig::default());
    let first = notices.recv().await.unwrap();
    running.abort();
    match first {
        Notice::Retrying {
            failure: Failure::Dial(error),
            ..
        } => error,
        other => panic!("{other:?}"),
    }
}

/// A client that gives up after this time.
pub(crate) fn within(give_up: Duration) -> ClientConfig {
    ClientConfig {
        give_up_after: give_up,
        ..ClientConfig::default()
    }
}

pub(crate) const fn session(n: u16, after: Option<u64>) -> StreamSpec {
    StreamSpec::Session { uuid: UUID, n, after }
}

/// gRPC's bytes of requests.
pub(crate) fn requests(requests: &[Message]) -> Vec<u8> {
    let mut outbox = Outbox::new();
    for request in requests {
        NumbersGrpcCodec::dialled().encode(request, &mut outbox);
    }
    outbox.chunks().collect::<Vec<_>>().concat()
}

/// The numbers and errors in gRPC's bytes.
pub(crate) fn replies(bytes: &[u8]) -> Vec<Message> {
    let mut input = BytesMut::from(bytes);
    let mut all = Vec::new();
    while let Some(decoded) = NumbersGrpcCodec::dialled().decode(&mut input).unwrap() {
        let Decoded::Message(message) = decoded else {
            panic!("{decoded:?}")
        };
        all.push(message);
    }
    assert!(input.is_empty(), "{input:?}");
    all
}

/// A call of our own client's, whose messages are sent by hand.
pub(crate) async fn call(addr: SocketAddr) -> GrpcStream {
    let grpc = connector(addr);
    grpc.dial().await.unwrap().1
}

/// A client of tonic's.
pub(crate) async fn channel(addr: SocketAddr) -> Channel {
    let channel = Channel::from_shared(format!("http://{addr}")).unwrap();
    channel.connect().await.unwrap()
}

/// An HTTP/2 connection on which requests have any headers and bodies.
#[derive(Clone)]
pub(crate) struct HttpClient(h2::client::SendRequest<Bytes>);

/// A response, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// gRPC's status, if there is one.
    pub(crate) status: Option<Status>,
}

impl Answer {
    pub(crate) fn code(&self) -> Code {
        self.status.as_ref().unwrap().code()
    }
}

/// A request under way.
pub(crate) struct PendingAnswer {
    pub(crate) response: h2::client::ResponseFuture,
    pub(crate) body: h2::SendStream<Bytes>,
}

impl HttpClient {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        // Where time is paused, what Nagle's algorithm holds back comes late.
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    pub(crate) async fn over(stream: impl Stream) -> Self {
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        // It fails when the server closes it, and then its requests do.
        tokio::spawn(async move { drop(connection.await) });
        Self(requests)
    }

    /// Begins a request with these headers beside gRPC's own.
    pub(crate) async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> PendingAnswer {
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let mut requests = self.0.clone().ready().await.unwrap();
        let (response, body) = requests.send_request(request, false).unwrap();
        PendingAnswer { response, body }
    }

    /// Waits until the server has closed it.
    pub(crate) async fn closed(&self) {
        wait(async || self.0.clone().ready().await.is_err()).await;
    }

    /// Makes a request with this body, whole.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut asking = self.ask(path, headers).await;
        asking.send(body, true);
        asking.told().await
    }
}

impl PendingAnswer {
    pub(crate) fn send(&mut self, bytes: &[u8], end: bool) {
        // The server may have answered already.
        let _ = self.body.send_data(Bytes::copy_from_slice(bytes), end);
    }

    pub(crate) async fn told(self) -> Answer {
        soon(async { whole(self.response.await.unwrap()).await }).await
    }
}

async fn whole(response: Response<h2::RecvStream>) -> Answer {
    let (head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await.unwrap();
    let status = trailers
        .as_ref()
        .or(Some(&head.headers))
        .and_then(Status::from_header_map);
    Answer {
        http: head.status.as_u16(),
        headers: head.headers,
        body,
        status,
    }
}

/// The path of the calls.
pub(crate) fn path() -> String {
    GetNumbers::path()
}

/// One of gRPC's messages.
pub(crate) fn message(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], payload].concat()
}
