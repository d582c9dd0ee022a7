//! The cases on real sockets of the loopback interface.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{Command, Message};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::{DialToken, Machine};
use echosphere_driver::{Connector, Driver, Handle};
use echosphere_transport_tcp::TcpListener;
use sim::observe::{ActionOf, EventOf, Observable, Observed};
use sim::scenario::{LINK, RESPONSE_TIMEOUT};
use tokio::net::{TcpSocket, TcpStream};
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
            let listener = TcpListener::bind(localhost()).unwrap();
            let to = listener.local_addr().unwrap();
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
    _kept: (Option<TcpSocket>, Option<tokio::net::TcpListener>, Option<TcpStream>),
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

fn serve(listener: TcpListener, log: &SharedLog) -> Running<Server> {
    let log = Arc::clone(log);
    let (machine, codec) = player::server();
    let observer: Observer<Server> = Box::new(move |_, event, actions| log.lock().unwrap().server(event, actions));
    let endpoint = Endpoint::new(Observed::new(machine, observer), codec, link());
    let (driver, handle) = Driver::serve(endpoint, listener);
    (tokio::spawn(async { drop(driver.run().await) }), handle)
}

fn dial(case: &Case, to: SocketAddr, log: &SharedLog) -> Running<Player> {
    let (log, raw) = (Arc::clone(log), case.script.is_some());
    let (machine, codec) = player::client(case.script, RESPONSE_TIMEOUT / FASTER);
    let observer: Observer<Player> = Box::new(move |_, event, actions| log.lock().unwrap().client(event, actions, raw));
    let endpoint = Endpoint::new(Observed::new(machine, observer), codec, link());
    let resets = case.blow == Blow::ClientResets;
    let (driver, handle) = Driver::dial(endpoint, Dialler { to, resets }, drop);
    (tokio::spawn(async { drop(driver.run().await) }), handle)
}

/// Connects sockets that reset their connection when they are dropped, if that is wanted.
struct Dialler {
    to: SocketAddr,
    resets: bool,
}

#[async_trait]
impl Connector for Dialler {
    type Stream = TcpStream;

    async fn dial(&self, _: DialToken) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        if self.resets {
            stream.set_zero_linger()?;
        }
        Ok(stream)
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
