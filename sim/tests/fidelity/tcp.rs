//! The cases on real sockets of the loopback interface.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use echosphere_core::Machine;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{Command, Message};
use echosphere_core::endpoint::Endpoint;
use echosphere_driver::{Connector, Driver, Handle, Incoming, Listener, Negotiated, Peer};
use sim::observe::{ActionOf, EventOf, Observable, Observed};
use sim::scenario::{LINK, RESPONSE_TIMEOUT};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cases::{Blow, Case};
use crate::log::{Outcome, SharedLog};
use crate::player::{self, Player, Server, Speech};

/// The simulator's time-outs pass in no time; these do not.
const FASTER: u32 = 4;

type Observer<M> = Box<dyn FnMut(&M, &EventOf<M>, &[ActionOf<M>]) + Send>;
type Running<M> = (JoinHandle<()>, Handle<Observed<M, Observer<M>>, Speech>);

pub(crate) fn play(case: &Case) -> Option<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // A safety net only.
    runtime.block_on(async { timeout(Duration::from_secs(60), run(case)).await.unwrap() })
}

async fn run(case: &Case) -> Option<Outcome> {
    let log = SharedLog::default();
    let (place, server) = match case.blow {
        Blow::NoListener | Blow::NoAnswer => (Place::without_server(case.blow).await, None),
        _ => {
            let listener = Sockets(TcpListener::bind(localhost()).await.unwrap());
            let to = listener.0.local_addr().unwrap();
            (Place::of(to), Some(serve(listener, &log)))
        }
    };
    let (client, handle) = dial(case, place.to, &log);
    let x = Bytes::from(vec![b'x'; case.x]);
    handle.command(Command::Send { key: 1, x }).await.unwrap();

    let dies = match (case.blow, &server) {
        (Blow::ClientDies | Blow::ClientResets, _) => Some(&client),
        (Blow::ServerDies, Some((server, _))) => Some(server),
        _ => None,
    };
    if let Some(dies) = dies {
        until(|| log.lock().unwrap().waits()).await;
        dies.abort();
    } else if let Some((_, handle)) = &server {
        // A client that is at zero before the server has accepted it does not count.
        let opened = |endpoint: &Endpoint<Observed<Server, Observer<Server>>, Speech>| endpoint.counters().accepted > 0;
        while !handle.inspect(opened).await.unwrap() {
            tokio::task::yield_now().await;
        }
    }
    zero(&handle).await;
    if let Some((_, handle)) = &server {
        zero(handle).await;
    }
    let said = log.lock().unwrap().said();
    Some(said)
}

/// An address, and the sockets that keep it as it is.
struct Place {
    to: SocketAddr,
    _kept: (Option<TcpSocket>, Option<TcpListener>, Option<TcpStream>),
}

impl Place {
    const fn of(to: SocketAddr) -> Self {
        let _kept = (None, None, None);
        Self { to, _kept }
    }

    async fn without_server(blow: Blow) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(localhost()).unwrap();
        let to = socket.local_addr().unwrap();
        let _kept = if blow == Blow::NoListener {
            (Some(socket), None, None)
        } else {
            // The queue of those who wait to be accepted is full: the system drops what else comes.
            let listener = socket.listen(0).unwrap();
            let first = TcpStream::connect(to).await.unwrap();
            (None, Some(listener), Some(first))
        };
        Self { to, _kept }
    }
}

fn localhost() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn link() -> ConnectionConfig {
    ConnectionConfig {
        handshake_timeout: LINK.handshake_timeout / FASTER,
        idle_timeout: LINK.idle_timeout / FASTER,
        idle_timeout_text: LINK.idle_timeout_text / FASTER,
        ..LINK
    }
}

fn serve(listener: Sockets, log: &SharedLog) -> Running<Server> {
    let log = Arc::clone(log);
    let (machine, codec) = player::server();
    let observer: Observer<Server> = Box::new(move |_, event, actions| log.lock().unwrap().server(event, actions));
    let endpoint = Endpoint::new(Observed::new(machine, observer), codec, link());
    let (driver, handle) = Driver::new(endpoint);
    let driver = driver.listen(listener);
    (tokio::spawn(async { drop(driver.run().await) }), handle)
}

fn dial(case: &Case, to: SocketAddr, log: &SharedLog) -> Running<Player> {
    let (log, raw) = (Arc::clone(log), case.script.is_some());
    let (machine, codec) = player::client(case.script, RESPONSE_TIMEOUT / FASTER);
    let observer: Observer<Player> = Box::new(move |_, event, actions| log.lock().unwrap().client(event, actions, raw));
    let endpoint = Endpoint::new(Observed::new(machine, observer), codec, link());
    let resets = case.blow == Blow::ClientResets;
    let (driver, handle) = Driver::new(endpoint);
    let driver = driver.connect(Dialler { to, resets });
    (tokio::spawn(async { drop(driver.run().await) }), handle)
}

/// Accepts sockets that close cleanly when they are dropped, as those of a process that dies.
struct Sockets(TcpListener);

#[async_trait]
impl Listener for Sockets {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<Incoming<TcpStream>> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok(Incoming::ready(Peer::new("tcp", Some(peer)), stream))
    }
}

/// Connects sockets that reset their connection when they are dropped, if that is wanted.
struct Dialler {
    to: SocketAddr,
    resets: bool,
}

#[async_trait]
impl Connector for Dialler {
    type Stream = TcpStream;

    async fn dial(&self) -> io::Result<Negotiated<TcpStream>> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        if self.resets {
            stream.set_zero_linger()?;
        }
        Ok((Peer::new("tcp", None), stream))
    }
}

/// Until an endpoint is at zero or its process is dead.
async fn zero<M: Observable + Machine<Message = Message>>(handle: &Handle<Observed<M, Observer<M>>, Speech>) {
    while let Ok(false) = handle.inspect(Endpoint::is_zero).await {
        tokio::task::yield_now().await;
    }
}

async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}
