//! Connections and calls that fail at each byte, in each direction, in memory and with paused time: what each side makes of it,
//! and what is free afterwards.

use std::io;
use std::slice;
use std::sync::atomic::Ordering;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::numbers::{Message, Uuid};
use echosphere_core::wire::ErrorCode;
use echosphere_driver::settle::{Reactor, Settle};
use echosphere_driver::{Connector, Listener};
use echosphere_transport_grpc::numbers::GetNumbers;
use echosphere_transport_grpc::{GrpcConfig, GrpcConnector, GrpcListener, GrpcStream};
use echosphere_transport_tcp::TcpListener;
use futures_util::FutureExt;
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::memory::{Direction, End, Failure, Fault, Network, NetworkListener, OneConnection, network};
use crate::peer::preface;
use crate::support::{HttpClient, Running, message, path, replies, requests, serve, soon};

/// Long enough that a wait of a minute takes few steps.
const STEP: Duration = Duration::from_millis(250);

/// A server with two places for connections and one call on each.
fn start(listener: NetworkListener) -> Running {
    let connections = ConnectionConfig {
        max_connections: 2,
        ..ConnectionConfig::default()
    };
    let config = GrpcConfig {
        connections,
        max_calls: 1,
    };
    serve(listener, ConnectionConfig::default(), config)
}

/// A session of three numbers.
fn session(uuid: usize) -> Message {
    let uuid = Uuid::from_u128(uuid as u128);
    Message::StartSession { uuid, n: 3 }
}

async fn call(end: End) -> io::Result<GrpcStream> {
    let grpc = GrpcConnector::<GetNumbers, _>::over(OneConnection::new(end), "localhost");
    grpc.dial().await.map(|(_, stream)| stream)
}

/// What a client reads until its call ends cleanly.
async fn whole_call(end: End, request: &Message) -> io::Result<Vec<u8>> {
    let mut stream = call(end).await?;
    stream.write_all(&requests(slice::from_ref(request))).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    stream.shutdown().await?;
    Ok(bytes)
}

async fn assert_serving(http: &HttpClient) {
    for service in ["", "grpc.Comms"] {
        let service = service.to_owned();
        let request = message(&HealthCheckRequest { service }.encode_to_vec());
        let answer = http.post("/grpc.health.v1.Health/Check", &[], &request).await;
        assert_eq!(answer.code(), Code::Ok);
        let status = HealthCheckResponse::decode(&answer.body[5..]).unwrap().status();
        assert_eq!(status, ServingStatus::Serving);
    }
}

async fn http(network: &Network) -> HttpClient {
    HttpClient::over(network.connect(None).0).await
}

/// Waits until a connection gets a place.
async fn place(network: &Network) -> HttpClient {
    soon(async {
        loop {
            let http = http(network).await;
            match http.post("/", &[], &[]).await.code() {
                Code::Unimplemented => return http,
                code => assert_eq!(code, Code::Unavailable),
            }
            sleep(STEP).await;
        }
    })
    .await
}

async fn wait_for_no_calls(running: &Running) {
    soon(async {
        while running.calls().await > 0 {
            sleep(STEP).await;
        }
    })
    .await;
}

/// Has one connection after another fail one byte later, until one is whole.
async fn fail_at_each_byte(failure: Failure, direction: Direction) {
    let (network, listener) = network();
    let running = start(listener);
    for at in 0.. {
        let healthy = http(&network).await;
        assert_serving(&healthy).await;

        let (end, faults) = network.connect(Some(Fault { failure, direction, at }));
        let result = soon(whole_call(end, &session(at))).await;
        // Status OK never ends half a stream: a call ends with its whole stream, or with the error of a request that never came.
        if let Ok(bytes) = &result {
            let replies = replies(bytes);
            let is_complete = match replies[..] {
                [Message::Error(code, _)] => code == ErrorCode::HandshakeTimeout && failure == Failure::Stall,
                _ => replies.len() == 4,
            };
            assert!(is_complete, "{failure:?} {direction:?} at {at}: {replies:?}");
        }
        let is_whole = faults.load(Ordering::Relaxed) == 0;
        assert!(
            !is_whole || result.is_ok(),
            "{failure:?} {direction:?} at {at}: {result:?}"
        );

        assert_serving(&healthy).await;
        wait_for_no_calls(&running).await;
        let next = place(&network).await;
        let request = requests(&[session(usize::MAX - at)]);
        let answer = next.post(&path(), &[], &request).await;
        assert_eq!((answer.code(), replies(&answer.body).len()), (Code::Ok, 4));
        if is_whole {
            break;
        }
        drop((healthy, next));
        // Paused time advances when no task can run: both places are free then.
        sleep(STEP).await;
    }
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closes_frees_its_call_and_its_place() {
    for direction in [Direction::ToServer, Direction::ToClient] {
        fail_at_each_byte(Failure::Close, direction).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_half_closes_frees_its_call_and_its_place() {
    for direction in [Direction::ToServer, Direction::ToClient] {
        fail_at_each_byte(Failure::HalfClose, direction).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_reset_frees_its_call_and_its_place() {
    for direction in [Direction::ToServer, Direction::ToClient] {
        fail_at_each_byte(Failure::Reset, direction).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stalls_frees_its_call_and_its_place() {
    for direction in [Direction::ToServer, Direction::ToClient] {
        fail_at_each_byte(Failure::Stall, direction).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_at_any_byte_frees_its_place_on_the_connection() {
    let (network, listener) = network();
    let running = start(listener);
    let http = http(&network).await;
    let whole = requests(&[Message::Start]);
    for at in 0..=whole.len() {
        let mut cancelled = http.ask(&path(), &[]).await;
        cancelled.send(&whole[..at], false);
        running.wait_for_calls(1).await;
        drop(cancelled);
        let request = requests(&[session(at)]);
        let answer = soon(http.post(&path(), &[], &request)).await;
        assert_eq!((answer.code(), replies(&answer.body).len()), (Code::Ok, 4), "{at}");
    }
    wait_for_no_calls(&running).await;
    drop(http);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_silent_for_an_hour_stays() {
    let (network, listener) = network();
    let running = start(listener);
    let mut stream = call(network.connect(None).0).await.unwrap();
    stream.write_all(&requests(&[Message::Continue(0)])).await.unwrap();
    let mut answer = vec![0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    let mut rest = vec![0; usize::from(answer[4])];
    stream.read_exact(&mut rest).await.unwrap();
    answer.extend(rest);
    assert!(matches!(
        replies(&answer)[..],
        [Message::Error(ErrorCode::BadNumber, _)]
    ));

    sleep(Duration::from_secs(3600)).await;
    assert_eq!(running.calls().await, 1);
    let mut bytes = Vec::new();
    stream.write_all(&requests(&[session(1)])).await.unwrap();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(replies(&bytes).len(), 4);
    drop(stream);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn when_a_server_has_ended_its_connections_are_closed() {
    let (network, listener) = network();
    let Running {
        handle,
        driver,
        serving,
        ..
    } = start(listener);
    let mut idle = network.connect(None).0;
    idle.write_all(&preface()).await.unwrap();
    handle.drain(Duration::ZERO).await.unwrap();
    assert!(driver.await.unwrap().is_zero());
    serving.ended().await;
    let mut rest = Vec::new();
    let end = idle.read_to_end(&mut rest).now_or_never();
    assert!(matches!(end, Some(Ok(_))), "{end:?}");
}

#[tokio::test]
async fn a_listener_names_its_peers_and_passes_reach_as_many_connections_as_the_reactors() {
    let tcp = TcpListener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = tcp.local_addr().unwrap();
    let (mut listener, _serving) = GrpcListener::<GetNumbers>::over(tcp, GrpcConfig::default()).unwrap();
    let client = TcpStream::connect(addr).await.unwrap();
    let peer = client.local_addr().unwrap();
    let http = HttpClient::over(client).await;
    let _asking = http.ask(&path(), &[]).await;
    let call = soon(listener.accept()).await.unwrap();
    assert_eq!((call.peer().transport, call.peer().addr), ("grpc", Some(peer)));
    for connections in [0, 1024, 100_000] {
        let expected = Reactor::default().passes(connections);
        assert_eq!(listener.settle().passes(connections), expected);
    }
}
