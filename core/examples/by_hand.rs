//! An echo server and a client without sockets, runtime or clock. Every run is the same.
//!
//!     cargo run -p echosphere-core --example by_hand
//!
//! An [`Endpoint`] takes what happened (a connection, bytes, an end of stream, the time) and returns what to do: bytes
//! to write are in the connection's outbox, everything else is in [`Effects`]. A driver for sockets does the same.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, MAX_MESSAGE, Message, Server, ServerConfig};
use echosphere_core::endpoint::{Effects, Endpoint};
use echosphere_core::random::Delay;
use echosphere_core::{ConnId, Machine, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// An endpoint with its effects and its only connection.
struct Party<M: Machine<Message = Message>> {
    name: &'static str,
    endpoint: Endpoint<M, EchoCodec>,
    effects: Effects<M::Notice>,
    conn: Option<ConnId>,
}

fn main() {
    // The machines contain the rules; all randomness comes from the RNGs that they are given.
    let machine = Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(1));
    let mut server = party("server", machine, EchoCodec::accepted(MAX_MESSAGE));
    let config = ClientConfig {
        ack_delay: Delay::Constant(Duration::from_millis(250)),
        ..ClientConfig::default()
    };
    let machine = Client::new(config, ChaCha8Rng::seed_from_u64(2));
    let mut client = party("client", machine, EchoCodec::dialled(MAX_MESSAGE));

    // The caller sends a command, and the client starts an attempt to connect. Time is an argument.
    let mut now = Time::ZERO;
    let x = "hello".into();
    let command = Command::Send { key: 7, x };
    client.endpoint.command(now, command, &mut client.effects);
    let token = client.effects.dial.pop().expect("an attempt to connect");

    // With sockets, one would connect to the other here.
    client.conn = Some(client.endpoint.dialled(now, token, &mut client.effects));
    server.conn = Some(server.endpoint.accept(now).expect("a server that is not full"));

    // Exchange bytes. When none are in transit, continue at the next deadline.
    while !(client.endpoint.is_zero() && server.endpoint.is_zero()) {
        let moved = carry(now, &mut client, &mut server) | carry(now, &mut server, &mut client);
        if !moved {
            let deadlines = [client.endpoint.next_deadline(), server.endpoint.next_deadline()];
            now = deadlines.into_iter().flatten().min().expect("something to wait for");
            client.endpoint.expire(now, &mut client.effects);
            server.endpoint.expire(now, &mut server.effects);
        }
        for notice in client.effects.notices.drain(..) {
            println!("{:>6?}  {notice:?}", now.since(Time::ZERO));
        }
    }
    println!("Both sides are at zero: no connection, no message and no timer is left.");
}

fn party<M: Machine<Message = Message>>(name: &'static str, machine: M, codec: EchoCodec) -> Party<M> {
    Party {
        name,
        endpoint: Endpoint::new(machine, codec, ConnectionConfig::default()),
        effects: Effects::default(),
        conn: None,
    }
}

/// Performs one side's socket action and passes bytes to the other side. Returns whether there was anything to do.
fn carry<A, B>(now: Time, from: &mut Party<A>, to: &mut Party<B>) -> bool
where
    A: Machine<Message = Message>,
    B: Machine<Message = Message>,
{
    let (conn, peer) = (from.conn.expect("connected"), to.conn.expect("connected"));
    let label = format!("{:>6?}  {} > {}", now.since(Time::ZERO), from.name, to.name);
    match from.endpoint.socket_action(conn) {
        SocketAction::Write => {
            let outbox = from.endpoint.outbox(conn).expect("connected");
            let mut bytes: BytesMut = outbox.chunks().flatten().collect();
            println!("{label}  {}", bytes.escape_ascii());
            from.endpoint.wrote(conn, bytes.len());
            to.endpoint.receive(now, peer, &mut bytes, &mut to.effects);
        }
        SocketAction::Shutdown => {
            println!("{label}  FIN");
            from.endpoint.shut_down(now, conn, &mut from.effects);
            to.endpoint.peer_closed(now, peer, &mut to.effects);
        }
        SocketAction::Nothing => return false,
    }
    true
}
