//! Sockets on an epoll instance with their buffers, for the baseline and the generator.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// The size of a read buffer in bytes.
pub(crate) const READ_BYTES: usize = 256 * 1024;
/// The maximum number of events of one wait.
const EVENTS: usize = 1024;

/// A level-triggered epoll instance.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
        })
    }

    /// Watches a socket for input. `key` identifies it in [`Poll::wait`].
    pub(crate) fn add(&self, socket: impl AsFd, key: u32) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(key.into()),
            EventFlags::IN,
        )?)
    }

    /// Waits for input, and for writable sockets that are watched for output. Sets `keys` to the ready sockets; none if the
    /// wait was interrupted.
    pub(crate) fn wait(&mut self, at_most: Option<Duration>, keys: &mut Vec<u32>) -> io::Result<()> {
        let timeout = at_most.map(|time| Timespec {
            tv_sec: time.as_secs().cast_signed(),
            tv_nsec: time.subsec_nanos().into(),
        });
        keys.clear();
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => keys.extend(self.events.iter().map(|event| event.data.u64() as u32)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn watch_output(&self, socket: impl AsFd, key: u32, watch: bool) -> io::Result<()> {
        let flags = if watch {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        };
        Ok(epoll::modify(
            &self.epoll,
            socket,
            EventData::new_u64(key.into()),
            flags,
        )?)
    }
}

/// A connection with its unprocessed input and unwritten output.
pub(crate) struct Conn {
    stream: TcpStream,
    partial: Vec<u8>,
    pub(crate) output: Vec<u8>,
    written: usize,
    blocked: bool,
    /// For the owner: whether the connection is in the list of connections to flush.
    pub(crate) dirty: bool,
}

impl Conn {
    /// Takes over a connected socket.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            partial: Vec::new(),
            output: Vec::new(),
            written: 0,
            blocked: false,
            dirty: false,
        })
    }

    /// Reads once into `buffer`, after the bytes kept from earlier reads. Returns the number of valid bytes in the buffer, 0 if
    /// nothing arrived. Pass bytes that are not used yet to [`Conn::keep`].
    ///
    /// # Errors
    ///
    /// If the connection is broken, or has ended.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let kept = self.partial.len();
        buffer[..kept].copy_from_slice(&self.partial);
        match self.stream.read(&mut buffer[kept..]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.partial = Vec::new();
                Ok(kept + read)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Keeps the beginning of a message for the next read.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.partial = rest.to_vec();
        }
    }

    /// Writes as much output as the socket accepts. If some is left, `poll` watches until the socket is writable.
    ///
    /// # Errors
    ///
    /// If the connection is broken.
    pub(crate) fn flush(&mut self, poll: &Poll, key: u32) -> io::Result<()> {
        self.dirty = false;
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.block(poll, key, true);
                }
                Err(error) => return Err(error),
            }
        }
        self.written = 0;
        self.output.clear();
        self.block(poll, key, false)
    }

    fn block(&mut self, poll: &Poll, key: u32, blocked: bool) -> io::Result<()> {
        if self.blocked != blocked {
            self.blocked = blocked;
            poll.watch_output(&self.stream, key, blocked)?;
        }
        Ok(())
    }

    /// Whether output waits until the socket is writable.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked
    }
}
