//! A process that is kept from running for longer than its time-outs: what arrived meanwhile counts, and what did not
//! does not.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use echosphere_core::chat::{ChatCodec, Server, ServerConfig};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, Notice};
use echosphere_core::endpoint::Endpoint;
use echosphere_driver::{Budgets, Driver, Incoming, Listener};
use echosphere_transport_tcp::{TcpConnector, TcpListener, ThreadedListener};
use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::SockRef;
use support::{Dialler, Framing, MAX_MESSAGE, Relay, frame, localhost, patient, rng, soon};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpSocket;
use tokio::task::unconstrained;

/// Longer than a turn of a driver, and shorter than a stall.
const TIMEOUT: Duration = Duration::from_secs(1);
/// More than a driver looks at in one turn, and more than tokio's reactor tells at once.
const MANY: usize = 1500;
/// Peers that send nothing.
const SILENT: usize = 10;

/// Keeps the runtime from running, which has one thread and is here, for longer than [`TIMEOUT`]. `act` is what peers do
/// meanwhile.
fn stall(act: impl FnOnce()) {
    stall_beyond(TIMEOUT, act);
}

fn stall_beyond(timeout: Duration, act: impl FnOnce()) {
    thread::sleep(timeout * 3 / 4);
    act();
    thread::sleep(timeout * 3 / 4);
}

fn idle_after(timeout: Duration) -> ConnectionConfig {
    ConnectionConfig {
        idle_timeout: timeout,
        ..ConnectionConfig::default()
    }
}

/// Over sockets of the driver's own thread, and over those of other threads.
fn both(config: ConnectionConfig) -> [Relay; 2] {
    allow_files();
    [Relay::start(config), Relay::threaded(config, 3)]
}

/// A process may have fewer files open than it could have.
fn allow_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

async fn connect(relay: &Relay, count: usize) -> Vec<StdStream> {
    let mut peers = Vec::new();
    for _ in 0..count {
        peers.push(StdStream::connect(relay.addr).unwrap());
        if peers.len() % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    relay.connections(count).await;
    peers
}

fn all_say(peers: &mut [StdStream], payload: &str) {
    for peer in peers {
        peer.write_all(&frame(Framing::Length, payload)).unwrap();
    }
}

#[tokio::test]
async fn only_silent_peers_are_given_up_after_a_stall() {
    for relay in both(idle_after(TIMEOUT)) {
        let mut peers = connect(&relay, MANY + SILENT).await;
        all_say(&mut peers, "");
        let opened = |count| move |endpoint: &support::Echo| endpoint.machine().counters().opened == count as u64;
        relay.until(opened(MANY + SILENT)).await;

        stall(|| all_say(&mut peers[SILENT..], ""));
        relay.until(|endpoint| endpoint.counters().idle_timeouts > 0).await;
        let counters = relay.handle.inspect(|endpoint| *endpoint.counters()).await.unwrap();
        assert_eq!(counters.idle_timeouts, SILENT as u64);
        drop(peers);
        relay.finish().await;
    }
}

#[tokio::test]
async fn only_those_who_have_not_begun_are_given_up_after_a_stall() {
    // Beside all of them connecting.
    const TIMEOUT: Duration = Duration::from_secs(3);
    let config = ConnectionConfig {
        handshake_timeout: TIMEOUT,
        ..ConnectionConfig::default()
    };
    for relay in both(config) {
        let mut peers = connect(&relay, MANY + SILENT).await;
        stall_beyond(TIMEOUT, || all_say(&mut peers[SILENT..], ""));
        relay.until(|endpoint| endpoint.counters().handshake_timeouts > 0).await;
        let counters = relay.handle.inspect(|endpoint| *endpoint.counters()).await.unwrap();
        assert_eq!(counters.handshake_timeouts, SILENT as u64);
        drop(peers);
        relay.finish().await;
    }
}

#[tokio::test]
async fn an_end_of_stream_that_came_in_a_stall_closes_in_order() {
    let config = ConnectionConfig {
        linger: TIMEOUT,
        ..ConnectionConfig::default()
    };
    for relay in both(config) {
        let mut peers = connect(&relay, MANY).await;
        all_say(&mut peers, "");
        relay
            .until(|endpoint| endpoint.machine().counters().opened == MANY as u64)
            .await;
        relay.handle.drain(Duration::from_secs(60)).await.unwrap();
        let mut closed = 0;
        for peer in &mut peers {
            let mut peer = peer.try_clone().unwrap();
            closed += soon(tokio::task::spawn_blocking(move || {
                let mut rest = Vec::new();
                peer.read_to_end(&mut rest).unwrap();
                usize::from(rest.windows(14).any(|part| part == b"shutting-down "))
            }))
            .await
            .unwrap();
        }
        assert_eq!(closed, MANY);
        stall(|| peers.iter().for_each(|peer| peer.shutdown(Shutdown::Write).unwrap()));
        assert_eq!(relay.ended().await.counters().lingered, 0);
    }
}

/// Echo clients of a server that answers while they cannot run.
#[tokio::test]
async fn an_ok_that_came_in_a_stall_is_in_time() {
    // Beside all of them connecting.
    const TIMEOUT: Duration = Duration::from_secs(3);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(localhost()).unwrap();
    let server = socket.listen(MANY as u32).unwrap().into_std().unwrap();
    server.set_nonblocking(false).unwrap();
    allow_files();
    let config = ClientConfig {
        response_timeout: TIMEOUT,
        ..patient()
    };
    let mut clients = Dialler::start(TcpConnector::new(server.local_addr().unwrap()), config);
    for id in 0..MANY {
        clients.send(id as u64, "x").await;
    }
    let mut peers = soon(tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        for _ in 0..MANY {
            let (mut peer, _) = server.accept().unwrap();
            let expected = [frame(Framing::Length, ""), frame(Framing::Length, "message x")].concat();
            let mut said = vec![0; expected.len()];
            peer.read_exact(&mut said).unwrap();
            assert_eq!(said, expected);
            all.push(peer);
        }
        all
    }))
    .await
    .unwrap();
    stall_beyond(TIMEOUT, || all_say(&mut peers, "ok x"));
    for _ in 0..MANY {
        let notice = clients.notice().await;
        assert!(matches!(notice, Notice::Acknowledged { retries: 0, .. }), "{notice:?}");
    }
    drop(peers);
    clients.finish().await;
}

/// What counts is behind more than a driver reads in one turn.
#[tokio::test]
async fn an_ok_behind_much_else_is_in_time() {
    let server = StdListener::bind(localhost()).unwrap();
    let config = ClientConfig {
        response_timeout: TIMEOUT,
        ..patient()
    };
    let client = Client::new(config, rng(1));
    let endpoint = Endpoint::new(client, EchoCodec::dialled(MAX_MESSAGE), ConnectionConfig::default());
    let (notify, mut notices) = tokio::sync::mpsc::unbounded_channel();
    let connector = TcpConnector::new(server.local_addr().unwrap());
    let (driver, handle) = Driver::new(endpoint);
    let driver = driver
        .connect(connector)
        .with_notices(move |notice| notify.send(notice).unwrap());
    let few = Budgets {
        keys: 1,
        reads: 1,
        ..Budgets::default()
    };
    let running = tokio::spawn(driver.with_budgets(few).run());
    let x = "x".into();
    handle.command(Command::Send { key: 1, x }).await.unwrap();
    let accept = move || server.accept().unwrap().0;
    let mut peer = soon(tokio::task::spawn_blocking(accept)).await.unwrap();
    SockRef::from(&peer).set_send_buffer_size(1024 * 1024).unwrap();
    stall(|| {
        // Three reads of 64 KiB.
        let other = frame(Framing::Length, format!("message {}", "y".repeat(150_000)));
        peer.write_all(&[other, frame(Framing::Length, "ok x")].concat())
            .unwrap();
    });
    let notice = soon(notices.recv()).await.unwrap();
    assert!(matches!(notice, Notice::Acknowledged { retries: 0, .. }), "{notice:?}");
    drop((peer, handle));
    soon(running).await.unwrap();
}

/// A chat's peer comes back while the server cannot run: its connection waits to be accepted.
#[tokio::test]
async fn a_session_is_resumed_by_who_came_back_in_a_stall() {
    let config = ServerConfig {
        session_ttl: TIMEOUT,
        ..ServerConfig::default()
    };
    for threads in [None, NonZeroUsize::new(3)] {
        let endpoint = Endpoint::new(
            Server::new(config.clone()),
            ChatCodec::accepted(),
            ConnectionConfig::default(),
        );
        let (addr, (running, handle)) = match threads {
            None => {
                let listener = TcpListener::bind(localhost()).unwrap();
                let addr = listener.local_addr().unwrap();
                let (driver, handle) = Driver::new(endpoint);
                let driver = driver.listen(listener);
                (addr, (tokio::spawn(driver.run()), handle))
            }
            Some(threads) => {
                let listener = ThreadedListener::bind(localhost(), threads).unwrap();
                let addr = listener.local_addr();
                let (driver, handle) = Driver::new(endpoint);
                let driver = driver.listen(listener);
                (addr, (tokio::spawn(driver.run()), handle))
            }
        };
        let until = async |wanted: fn(&Endpoint<Server, ChatCodec>) -> bool| {
            while !soon(handle.inspect(wanted)).await.unwrap() {
                tokio::task::yield_now().await;
            }
        };
        let begin = || {
            let mut peer = StdStream::connect(addr).unwrap();
            // Session 7.
            let begin = frame(Framing::Length, [1, 0, 0, 0, 0, 0, 0, 0, 7]);
            peer.write_all(&[frame(Framing::Length, ""), begin].concat()).unwrap();
            peer
        };
        let peer = begin();
        until(|endpoint| endpoint.machine().counters().sessions == 1).await;
        drop(peer);
        until(|endpoint| endpoint.machine().counters().lost == 1).await;

        let mut back = None;
        stall(|| back = Some(begin()));
        until(|endpoint| endpoint.machine().peer().is_some()).await;
        let counters = handle.inspect(|endpoint| *endpoint.machine().counters()).await.unwrap();
        assert_eq!((counters.sessions, counters.resumed), (1, 1));
        drop(back);
        handle.drain(Duration::ZERO).await.unwrap();
        soon(running).await.unwrap();
    }
}

/// Its socket is full when the server stops, and then it reads.
#[tokio::test]
async fn a_peer_that_reads_is_not_slow_because_the_server_was_kept_from_writing() {
    let config = ConnectionConfig {
        max_backlog: 256 * 1024,
        backlog_timeout: TIMEOUT,
        ..ConnectionConfig::default()
    };
    for relay in both(config) {
        // Alone, it is sent what it sends.
        let mut peer = connect(&relay, 1).await.remove(0);
        let message = frame(Framing::Length, format!("message {}", "x".repeat(1_000_000)));
        let mut writing = peer.try_clone().unwrap();
        const MESSAGES: usize = 32;
        let sent = message.len() * MESSAGES;
        let write = move || (0..MESSAGES).for_each(|_| writing.write_all(&message).unwrap());
        let writing = tokio::task::spawn_blocking(write);
        relay
            .until(|endpoint| endpoint.machine().counters().messages == MESSAGES as u64)
            .await;
        soon(writing).await.unwrap();

        peer.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; 64 * 1024];
        let mut read = 0;
        let mut read_on = |read: &mut usize| loop {
            match peer.read(&mut buffer) {
                Ok(0) => panic!("dropped after {read} bytes of {sent}"),
                Ok(len) => *read += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        };
        stall(|| read_on(&mut read));
        soon(async {
            while read < sent {
                tokio::task::yield_now().await;
                read_on(&mut read);
            }
        })
        .await;
        let slow = relay.handle.inspect(|endpoint| endpoint.counters().slow_consumers);
        assert_eq!(slow.await.unwrap(), 0);
        drop(peer);
        relay.finish().await;
    }
}

/// A stream that has something to read once, and is stopped with the whole process just before that is read.
struct Sleepy {
    said: bool,
}

impl AsyncRead for Sleepy {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.said {
            return Poll::Pending;
        }
        self.said = true;
        stall(|| {});
        buffer.put_slice(&frame(Framing::Length, ""));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sleepy {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct OneSleepy(bool);

#[async_trait::async_trait]
impl Listener for OneSleepy {
    type Stream = Sleepy;

    async fn accept(&mut self) -> std::io::Result<Incoming<Sleepy>> {
        if std::mem::replace(&mut self.0, true) {
            return std::future::pending().await;
        }
        Ok(Incoming::ready(
            echosphere_driver::Peer::new("test", None),
            Sleepy { said: false },
        ))
    }
}

#[tokio::test]
async fn silence_counts_from_when_something_was_read_and_not_from_when_the_turn_began() {
    let relay = Relay::over(OneSleepy(false), idle_after(TIMEOUT), MAX_MESSAGE);
    relay.until(|endpoint| endpoint.machine().counters().opened == 1).await;
    // It is given its turns, in which it could be given up.
    for _ in 0..10 {
        let silent = relay.handle.inspect(|endpoint| endpoint.counters().idle_timeouts);
        assert_eq!(silent.await.unwrap(), 0);
    }
}

async fn passes_bring_everything<L: Listener>(mut listener: L, addr: SocketAddr) {
    let mut peers = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..MANY {
        peers.push(StdStream::connect(addr).unwrap());
        streams.push(stream_of(&mut listener).await);
    }
    // Each is found empty, and so has to be told.
    let mut bytes = [0; 64];
    let mut read = |stream: &mut L::Stream| {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut bytes))
    };
    let settle = listener.settle();
    let pass = async || {
        for _ in 0..settle.passes(MANY) {
            assert!(soon(settle.pass()).await);
        }
    };
    pass().await;
    assert!(streams.iter_mut().all(|stream| read(stream).is_pending()));
    all_say(&mut peers, "");
    pass().await;
    assert!(streams.iter_mut().all(|stream| read(stream).is_ready()));
}

async fn stream_of<L: Listener>(listener: &mut L) -> L::Stream {
    let incoming = soon(listener.accept()).await.unwrap();
    incoming.finish().await.unwrap().1
}

#[tokio::test]
async fn passes_bring_everything_that_has_arrived() {
    let one = TcpListener::bind(localhost()).unwrap();
    let addr = one.local_addr().unwrap();
    // As the driver: a task's share of reads is meant for one socket.
    unconstrained(passes_bring_everything(one, addr)).await;
    let threads = ThreadedListener::bind(localhost(), NonZeroUsize::new(3).unwrap()).unwrap();
    let addr = threads.local_addr();
    unconstrained(passes_bring_everything(threads, addr)).await;
}

#[tokio::test]
async fn a_pass_tells_that_there_is_more_than_a_pipe_takes() {
    const MUCH: usize = 500_000;
    let mut listener = ThreadedListener::bind(localhost(), NonZeroUsize::new(2).unwrap()).unwrap();
    let mut peer = StdStream::connect(listener.local_addr()).unwrap();
    let mut stream = stream_of(&mut listener).await;
    SockRef::from(&peer).set_send_buffer_size(MUCH).unwrap();
    let settle = listener.settle();
    peer.write_all(&[1; MUCH]).unwrap();
    let (mut read, mut passes) = (0, 0);
    loop {
        let all = soon(settle.pass()).await;
        let mut bytes = [0; 64 * 1024];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while Pin::new(&mut stream).poll_read(&mut cx, &mut buffer).is_ready() {
            read += buffer.filled().len();
            buffer.clear();
        }
        passes += 1;
        if all {
            break;
        }
    }
    assert!(passes > 1, "{passes}");
    assert_eq!(read, MUCH);
}
