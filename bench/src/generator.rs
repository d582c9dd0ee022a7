//! Generates the load: connections that stay open, with a fixed number of round trips in flight on each. One loop for all
//! protocols.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;
use std::{io, process};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use socket2::{Domain, Socket, Type};

use crate::process::{cpu_time, now};
use crate::sockets::{Conn, Poll, READ_BYTES};
use crate::wire::{Incoming, Wire};

/// The number of connections from one address of the loopback network.
const PER_ADDRESS: u32 = 2000;
/// The number of connections made before waiting for the answers, so that no server's backlog overflows.
const AT_ONCE: u32 = 64;
/// If nothing arrives for this long, a message was lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// The number of round trips per place in each window before measuring.
const WARM_UP_ROUND_TRIPS: u64 = 3;
/// The bytes that make an X unique: connection, place in its window, sequence number.
pub(crate) const LEAST_SIZE: usize = 16;

/// The load to generate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// The number of connections that send.
    pub(crate) senders: u32,
    /// The number of round trips in flight on each sender.
    pub(crate) window: u32,
    /// The length of X in bytes.
    pub(crate) size: usize,
    /// The time before measuring. It is longer if not all connections have been used by then.
    pub(crate) warm_up: Duration,
    /// The measured time.
    pub(crate) duration: Duration,
}

/// The result of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    /// The round-trip times in nanoseconds.
    pub(crate) round_trips: Histogram<u64>,
    pub(crate) server_cpu: Duration,
    pub(crate) generator_cpu: Duration,
}

/// Connections to a server.
pub(crate) struct Generator {
    wire: Wire,
    poll: Poll,
    conns: Vec<Conn>,
    /// The address of each connection, for senders.
    addresses: Vec<u64>,
    ready: u32,
    buffer: Vec<u8>,
    keys: Vec<u32>,
    dirty: Vec<u32>,
    flights: Flights,
}

/// The round trips in flight.
struct Flights {
    window: u32,
    x: Vec<u8>,
    /// The time of sending, by connection and place in its window.
    sent: Vec<u64>,
    sequence: u64,
    round_trips: Histogram<u64>,
    rng: SmallRng,
}

impl Generator {
    /// Opens this many connections. Waits until the server confirms that each can receive, if its protocol can do that.
    ///
    /// # Errors
    ///
    /// If a connection fails.
    pub(crate) fn connect(wire: Wire, server: SocketAddr, connections: u32) -> anyhow::Result<Self> {
        let mut generator = Self {
            wire,
            poll: Poll::new()?,
            conns: Vec::with_capacity(connections as usize),
            addresses: (0..connections.into()).collect(),
            ready: 0,
            buffer: vec![0; READ_BYTES],
            keys: Vec::new(),
            dirty: Vec::new(),
            flights: Flights::new()?,
        };
        for me in 0..connections {
            let stream = connect_from(me / PER_ADDRESS, server)
                .with_context(|| format!("connection {me} of {connections} to {server}"))?;
            generator.poll.add(&stream, me)?;
            let mut conn = Conn::new(stream)?;
            wire.hello(me, &mut conn.output);
            conn.flush(&generator.poll, me)?;
            generator.conns.push(conn);
            if me % AT_ONCE == AT_ONCE - 1 || me == connections - 1 {
                generator.wait_until_ready()?;
            }
        }
        Ok(generator)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        while self.wire != Wire::Echo && self.ready < self.conns.len() as u32 {
            self.turn()?;
        }
        Ok(())
    }

    /// Runs the load against the process `server`.
    ///
    /// # Errors
    ///
    /// If a connection fails, the server sends something unexpected, or nothing arrives for ten seconds.
    pub(crate) fn run(&mut self, load: &Load, server: u32) -> anyhow::Result<Outcome> {
        ensure!(load.size >= LEAST_SIZE, "an X of less than {LEAST_SIZE} bytes");
        self.flights.begin(load);
        for from in 0..load.senders {
            for place in 0..load.window {
                self.send(from, place, now());
            }
        }
        self.warm_up(load)?;
        let before = (now(), cpu_time(server)?, cpu_time(process::id())?);
        self.turns_until(before.0 + load.duration.as_nanos() as u64)?;
        let after = (now(), cpu_time(server)?, cpu_time(process::id())?);
        Ok(Outcome {
            elapsed: Duration::from_nanos(after.0 - before.0),
            round_trips: self.flights.round_trips.clone(),
            server_cpu: after.1 - before.1,
            generator_cpu: after.2 - before.2,
        })
    }

    /// Runs until the warm-up time is over and each place in each window has been used a few times on average. The kernel
    /// allocates memory for a connection at its first messages.
    fn warm_up(&mut self, load: &Load) -> anyhow::Result<()> {
        self.turns_until(now() + load.warm_up.as_nanos() as u64)?;
        while self.flights.round_trips.len() < u64::from(load.senders * load.window) * WARM_UP_ROUND_TRIPS {
            self.turn()?;
        }
        self.flights.round_trips.reset();
        Ok(())
    }

    fn turns_until(&mut self, end: u64) -> anyhow::Result<()> {
        while now() < end {
            self.turn()?;
        }
        Ok(())
    }

    /// Writes pending output, waits for input, and processes it.
    fn turn(&mut self) -> anyhow::Result<()> {
        while let Some(key) = self.dirty.pop() {
            self.conns[key as usize].flush(&self.poll, key).context("writing")?;
        }
        self.poll.wait(Some(PATIENCE), &mut self.keys)?;
        ensure!(
            !self.keys.is_empty(),
            "nothing arrived for {PATIENCE:?}: a message was lost"
        );
        for at in 0..self.keys.len() {
            self.receive(self.keys[at])?;
        }
        Ok(())
    }

    fn receive(&mut self, key: u32) -> anyhow::Result<()> {
        let conn = &mut self.conns[key as usize];
        if conn.is_blocked() {
            self.dirty.push(key);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = conn.read(&mut buffer).context("the server ended a connection")?;
        let now = now();
        let mut rest = &buffer[..read];
        while let Some((used, incoming)) = self.wire.decode(rest)? {
            rest = &rest[used..];
            match incoming {
                Incoming::Ready => self.ready += 1,
                Incoming::Named(address) => {
                    self.addresses[key as usize] = address;
                    self.ready += 1;
                }
                Incoming::Nothing => {}
                Incoming::Message(x) => {
                    let (from, _) = names(x)?;
                    let (wire, to) = (self.wire, self.addresses[from as usize]);
                    wire.ok(to, x, self.output(key));
                }
                Incoming::Ok(x) => {
                    let (from, place) = names(x)?;
                    if from != key {
                        bail!("connection {key} received the answer to a message of connection {from}");
                    }
                    self.flights.record(from, place, now);
                    self.send(from, place, now);
                }
            }
        }
        self.conns[key as usize].keep(rest);
        self.buffer = buffer;
        Ok(())
    }

    fn send(&mut self, from: u32, place: u32, now: u64) {
        let connections = self.conns.len() as u32;
        let to = self.flights.next(from, place, connections, now);
        let to = self.addresses[to as usize];
        let conn = &mut self.conns[from as usize];
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(from);
        }
        self.wire.message(to, &self.flights.x, &mut conn.output);
    }

    fn output(&mut self, key: u32) -> &mut Vec<u8> {
        let conn = &mut self.conns[key as usize];
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(key);
        }
        &mut conn.output
    }
}

impl Flights {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            window: 0,
            x: Vec::new(),
            sent: Vec::new(),
            sequence: 0,
            round_trips: Histogram::new_with_max(Duration::from_secs(60).as_nanos() as u64, 3)?,
            rng: SmallRng::seed_from_u64(2),
        })
    }

    fn begin(&mut self, load: &Load) {
        self.window = load.window;
        self.x = vec![b'.'; load.size];
        self.sent = vec![0; (load.senders * load.window) as usize];
    }

    /// Makes the next X of a connection. Returns a random receiver, for protocols in which the sender chooses it.
    fn next(&mut self, from: u32, place: u32, connections: u32, now: u64) -> u32 {
        self.sent[(from * self.window + place) as usize] = now;
        self.sequence += 1;
        self.x[..4].copy_from_slice(&from.to_be_bytes());
        self.x[4..8].copy_from_slice(&place.to_be_bytes());
        self.x[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        self.rng.random_range(0..connections)
    }

    fn record(&mut self, from: u32, place: u32, now: u64) {
        let sent = self.sent[(from * self.window + place) as usize];
        self.round_trips.saturating_record(now.saturating_sub(sent));
    }
}

/// The sender of an X, and the place in the sender's window.
fn names(x: &[u8]) -> anyhow::Result<(u32, u32)> {
    let (from, rest) = x.split_first_chunk::<4>().context("a short X")?;
    let (place, _) = rest.split_first_chunk::<4>().context("a short X")?;
    Ok((u32::from_be_bytes(*from), u32::from_be_bytes(*place)))
}

/// Connects from one of the loopback addresses. Closing resets the connection, so that no port stays in use.
fn connect_from(address: u32, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let from = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + address);
    socket.set_reuse_address(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}
