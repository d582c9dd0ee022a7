//! The baseline: a minimal echo server with one thread and one epoll instance. Per iteration it does one read per ready
//! socket and one write per connection. It records which connections wait for which X, and chooses receivers at random. It has
//! no lines, limits, time-outs, keepalives, re-forwarding or draining, does not close cleanly, and does not detect connections
//! that are gone.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::{io, iter};

use anyhow::Context;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use socket2::{Domain, Socket, Type};

use crate::process;
use crate::sockets::{Conn, Poll, READ_BYTES};
use crate::wire::{Incoming, echo};

/// The maximum number of connections that wait in the kernel to be accepted.
const BACKLOG: i32 = 4096;
/// The key of the listener. The key of a connection is its index.
const LISTENER: u32 = u32::MAX;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Listen on this port of 127.0.0.1
    #[arg(long)]
    port: u16,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    process::raise_open_files();
    let listener = listen(args.port).with_context(|| format!("cannot listen on port {}", args.port))?;
    Ok(Baseline::new(listener)?.run()?)
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

struct Baseline {
    listener: TcpListener,
    poll: Poll,
    buffer: Vec<u8>,
    table: Table,
}

/// The connections, and which of them wait for which X.
struct Table {
    conns: Vec<Option<Conn>>,
    free: Vec<u32>,
    /// The connections that wait for each X: the first one, and the others.
    waiting: HashMap<Vec<u8>, (u32, Vec<u32>)>,
    /// The connections with output to write.
    dirty: Vec<u32>,
    rng: SmallRng,
}

impl Baseline {
    fn new(listener: TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER)?;
        Ok(Self {
            listener,
            poll,
            buffer: vec![0; READ_BYTES],
            table: Table {
                conns: Vec::new(),
                free: Vec::new(),
                waiting: HashMap::new(),
                dirty: Vec::new(),
                rng: SmallRng::seed_from_u64(1),
            },
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut keys = Vec::new();
        loop {
            self.poll.wait(None, &mut keys)?;
            for &key in &keys {
                if key == LISTENER {
                    self.accept()?;
                } else if self.table.receive(key, &mut self.buffer).is_err() {
                    self.table.close(key);
                }
            }
            self.table.flush(&self.poll);
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let key = self.table.free.pop().unwrap_or(self.table.conns.len() as u32);
            self.poll.add(&stream, key)?;
            let conn = Some(Conn::new(stream)?);
            match self.table.conns.get_mut(key as usize) {
                Some(slot) => *slot = conn,
                None => self.table.conns.push(conn),
            }
        }
    }
}

impl Table {
    fn receive(&mut self, key: u32, buffer: &mut [u8]) -> anyhow::Result<()> {
        let Some(conn) = &mut self.conns[key as usize] else {
            return Ok(());
        };
        if conn.is_blocked() {
            conn.dirty = true;
            self.dirty.push(key);
        }
        let read = conn.read(buffer)?;
        let mut rest = &buffer[..read];
        while let Some((used, incoming)) = echo::decode(rest)? {
            rest = &rest[used..];
            match incoming {
                Incoming::Message(x) => self.forward(key, x),
                Incoming::Ok(x) => self.answer(x),
                Incoming::Ready | Incoming::Named(_) | Incoming::Nothing => {}
            }
        }
        if let Some(conn) = &mut self.conns[key as usize] {
            conn.keep(rest);
        }
        Ok(())
    }

    fn forward(&mut self, from: u32, x: &[u8]) {
        match self.waiting.entry_ref(x) {
            EntryRef::Occupied(mut entry) => entry.get_mut().1.push(from),
            EntryRef::Vacant(entry) => {
                entry.insert((from, Vec::new()));
            }
        }
        loop {
            let to = self.rng.random_range(0..self.conns.len() as u32);
            if let Some(output) = self.output(to) {
                echo::message(x, output);
                return;
            }
        }
    }

    fn answer(&mut self, x: &[u8]) {
        let Some((first, others)) = self.waiting.remove(x) else {
            return;
        };
        for to in iter::once(first).chain(others) {
            if let Some(output) = self.output(to) {
                echo::ok(x, output);
            }
        }
    }

    /// The output buffer of a connection, which the next [`Table::flush`] writes.
    fn output(&mut self, key: u32) -> Option<&mut Vec<u8>> {
        let conn = self.conns[key as usize].as_mut()?;
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(key);
        }
        Some(&mut conn.output)
    }

    fn flush(&mut self, poll: &Poll) {
        while let Some(key) = self.dirty.pop() {
            let conn = self.conns[key as usize].as_mut();
            if conn.is_some_and(|conn| conn.flush(poll, key).is_err()) {
                self.close(key);
            }
        }
    }

    fn close(&mut self, key: u32) {
        if self.conns[key as usize].take().is_some() {
            self.free.push(key);
        }
    }
}
