//! An echo server and a client without sockets, runtime or clock. Every run is the same.
//!
//!     cargo run -p echosphere-core --example by_hand
//!
//! An [`Endpoint`] takes what happened (a connection, bytes, an end of stream, the time) and returns what to do: bytes
//! to write are in the connection's outbox, everything else is an [`Effect`]. A driver for sockets does the same.

#![allow(clippy::print_stdout)]

use std::fmt::Debug;
use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, MAX_MESSAGE, Message, Server, ServerConfig};
use echosphere_core::endpoint::{Effect, Endpoint};
use echosphere_core::random::Delay;
use echosphere_core::{ConnId, Machine, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// An endpoint with its only connection.
struct Party<M: Machine<Message = Message>> {
    name: &'static str,
    endpoint: Endpoint<M, EchoCodec>,
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
    client.endpoint.command(now, command);

    // Execute what the endpoints request. When there is nothing more, continue at the next deadline.
    while !(client.endpoint.is_zero() && server.endpoint.is_zero()) {
        let moved = execute(now, &mut client, &mut server) | execute(now, &mut server, &mut client);
        if !moved {
            let deadlines = [client.endpoint.next_deadline(), server.endpoint.next_deadline()];
            now = deadlines.into_iter().flatten().min().expect("something to wait for");
            client.endpoint.expire(now);
            server.endpoint.expire(now);
        }
    }
    println!("Both sides are at zero: no connection, no message and no timer is left.");
}

fn party<M: Machine<Message = Message>>(name: &'static str, machine: M, codec: EchoCodec) -> Party<M> {
    Party {
        name,
        endpoint: Endpoint::new(machine, codec, ConnectionConfig::default()),
        conn: None,
    }
}

/// Executes the effects of one side. Its peer is the other. Returns whether there were any.
fn execute<A, B>(now: Time, from: &mut Party<A>, to: &mut Party<B>) -> bool
where
    A: Machine<Message = Message, Notice: Debug>,
    B: Machine<Message = Message>,
{
    let time = now.since(Time::ZERO);
    let mut any = false;
    while let Some(effect) = from.endpoint.poll_effect() {
        any = true;
        match effect {
            // With sockets, one would connect to the other here.
            Effect::Dial(token, _) => {
                from.conn = from.endpoint.dialled(now, token);
                to.conn = to.endpoint.accept(now).ok();
            }
            Effect::Flush(conn) => flush(now, conn, from, to),
            Effect::Notify(notice) => println!("{time:>6?}  {notice:?}"),
            // There is no socket to drop, and no attempt lasts.
            Effect::Release(..) | Effect::AbandonDial(_) => {}
        }
    }
    any
}

/// Passes what waits to be written to the other side.
fn flush<A, B>(now: Time, conn: ConnId, from: &mut Party<A>, to: &mut Party<B>)
where
    A: Machine<Message = Message>,
    B: Machine<Message = Message>,
{
    let peer = to.conn.expect("connected");
    let label = format!("{:>6?}  {} > {}", now.since(Time::ZERO), from.name, to.name);
    loop {
        match from.endpoint.socket_action(conn) {
            SocketAction::Write => {
                let outbox = from.endpoint.outbox(conn).expect("connected");
                let mut bytes: BytesMut = outbox.chunks().flatten().collect();
                println!("{label}  {}", bytes.escape_ascii());
                from.endpoint.wrote(conn, bytes.len());
                to.endpoint.receive(now, peer, &mut bytes);
            }
            SocketAction::Shutdown => {
                println!("{label}  FIN");
                from.endpoint.shut_down(now, conn);
                to.endpoint.peer_closed(now, peer);
            }
            SocketAction::Nothing => return,
        }
    }
}
