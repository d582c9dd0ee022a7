//! turmoil's sockets as the driver uses them, wrapped in streams that behave as awkwardly as real ones
//! can.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use echosphere_driver as transport;
use echosphere_driver::settle::{Reactor, Settle};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::dice::Dice;
use crate::marks::{Mark, Marks};

use self::buffer::Unsent;
use self::conduct::Conduct;
pub use self::conduct::Rules;
pub use self::thread::Thread;
use self::thread::{Arrivals, SimulatedSettle};

mod buffer;
mod conduct;
mod thread;

/// Where the server listens.
pub const PORT: u16 = 8000;

/// The most milliseconds of a negotiation: of most, and of those that the handshake time-out may end.
const QUICK: u64 = 100;
const SLOW: u64 = 1500;

/// How long a host's system waits for room to write to a peer that has finished sending.
const GIVE_UP: Duration = Duration::from_millis(2000);

/// How streams are chopped. The default leaves them alone, but for vectored writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chop {
    /// How likely a write takes only a part of what it is given.
    pub partial_write: f64,
    /// How likely a read gives only a part of what there is.
    pub short_read: f64,
    /// How likely a socket reports that it is not ready though it is.
    pub pending: f64,
    /// How likely it then stays so for some milliseconds.
    pub stall: f64,
    /// The most bytes that one write takes or one read gives; turmoil itself has no largest segment.
    pub segment: usize,
    /// Whether streams take several slices in one write.
    pub vectored: bool,
    /// The most bytes that a stream keeps until it is flushed; 0: it sends at once.
    pub buffer: usize,
    /// How likely an accepted connection has a negotiation, which takes its time.
    pub negotiation: f64,
    /// How likely a negotiation fails.
    pub failed_negotiation: f64,
}

impl Default for Chop {
    fn default() -> Self {
        Self {
            partial_write: 0.0,
            short_read: 0.0,
            pending: 0.0,
            stall: 0.0,
            segment: usize::MAX,
            vectored: true,
            buffer: 0,
            negotiation: 0.0,
            failed_negotiation: 0.0,
        }
    }
}

impl Chop {
    /// A mix for one run: each kind on or off, and its rate.
    #[must_use]
    pub fn draw(dice: &mut Dice) -> Self {
        let mut rate = |most| if dice.chance(0.6) { dice.scaled(0.01, most) } else { 0.0 };
        let (partial_write, short_read, pending) = (rate(1.0), rate(1.0), rate(0.5));
        let segment = match dice.below(3) {
            0 => usize::MAX,
            1 => 16 * 1024,
            _ => 1460,
        };
        Self {
            partial_write,
            short_read,
            pending,
            stall: if dice.chance(0.5) { dice.scaled(0.01, 0.3) } else { 0.0 },
            segment,
            vectored: dice.chance(0.7),
            buffer: match dice.below(5) {
                0 => 1 << dice.below(8),
                1 => 64 * 1024,
                _ => 0,
            },
            negotiation: if dice.chance(0.3) { dice.scaled(0.05, 1.0) } else { 0.0 },
            failed_negotiation: if dice.chance(0.5) { dice.scaled(0.01, 0.3) } else { 0.0 },
        }
    }
}

/// Decides how one host's streams are chopped. They share it: one RNG for each host, not for each connection.
#[derive(Clone, Debug)]
pub struct Chopper {
    chop: Chop,
    healed: Arc<AtomicBool>,
    dice: Arc<Mutex<Dice>>,
    marks: Marks,
    rules: Arc<Rules>,
    thread: Thread,
    events: usize,
}

impl Chopper {
    /// Decides by `dice`, and counts what it does in `marks`. Once `healed` is set it leaves streams alone. What the
    /// driver does with them is held against `rules`.
    #[must_use]
    pub fn new(chop: Chop, healed: Arc<AtomicBool>, dice: Dice, marks: Marks, rules: Arc<Rules>) -> Self {
        Self {
            chop,
            healed,
            dice: Arc::new(Mutex::new(dice)),
            marks,
            rules,
            thread: Thread::default(),
            events: usize::MAX,
        }
    }

    /// Has the reactor of `thread`, which must run, tell `events` streams at a time that they can be read.
    #[must_use]
    pub fn on(mut self, thread: &Thread, events: usize) -> Self {
        self.thread = thread.clone();
        self.events = events;
        self
    }

    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(SimulatedSettle {
            thread: self.thread.clone(),
            reactor: Reactor::reporting(self.events),
        })
    }

    fn chance(&self, rate: f64) -> bool {
        rate > 0.0 && !self.healed.load(Ordering::Relaxed) && self.dice().chance(rate)
    }

    fn dice(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds_back(&self, cx: &Context<'_>, mark: Mark) -> bool {
        if !self.chance(self.chop.pending) {
            return false;
        }
        self.marks.hit(mark);
        if self.chance(self.chop.stall) {
            self.marks.hit(Mark::Stall);
            let stall = self.dice().millis(1, 50);
            let waker = cx.waker().clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(stall).await;
                waker.wake();
            });
        } else {
            cx.waker().wake_by_ref();
        }
        true
    }

    fn read(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let part = self.part(buf.remaining(), self.chop.short_read, Mark::ShortRead);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(part));
        ready!(Pin::new(stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        Poll::Ready(Ok(read))
    }

    fn write(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.holds_back(cx, Mark::SpuriousWritePending) {
            return Poll::Pending;
        }
        let part = self.part(buf.len(), self.chop.partial_write, Mark::PartialWrite);
        let written = Pin::new(stream).poll_write(cx, &buf[..part]);
        if written.is_pending() {
            self.marks.hit(Mark::BackPressure);
        }
        written
    }

    /// How long the negotiation of the next connection takes, and whether it fails; `None` without one.
    fn negotiation(&self) -> Option<(Duration, bool)> {
        if !self.chance(self.chop.negotiation) {
            return None;
        }
        self.marks.hit(Mark::Negotiated);
        let mut dice = self.dice();
        let most = if dice.chance(0.8) { QUICK } else { SLOW };
        let time = dice.millis(1, most);
        drop(dice);
        let fails = self.chance(self.chop.failed_negotiation);
        if fails {
            self.marks.hit(Mark::FailedNegotiation);
        }
        Some((time, fails))
    }

    /// How many of `len` bytes, which are at least one, go through.
    fn part(&self, len: usize, rate: f64, mark: Mark) -> usize {
        let len = len.min(self.chop.segment);
        if len < 2 || !self.chance(rate) {
            return len;
        }
        self.marks.hit(mark);
        // Every length is possible, and those of a few bytes, which split headers, are frequent.
        let mut dice = self.dice();
        let most = if dice.chance(0.5) { len.min(16) } else { len };
        dice.among(1, most - 1)
    }
}

/// A stream with the bad habits that a [`Chopper`] gives it.
#[derive(Debug)]
pub struct Chopped<S> {
    inner: S,
    chopper: Chopper,
    arrivals: Arrivals,
    conduct: Conduct,
    unsent: Unsent,
}

impl<S> Chopped<S> {
    fn new(inner: S, chopper: Chopper) -> Self {
        let arrivals = Arrivals::new(&chopper.thread);
        let conduct = Conduct::new(Arc::clone(&chopper.rules), chopper.thread.clone());
        let unsent = Unsent::up_to(chopper.chop.buffer);
        Self {
            inner,
            chopper,
            arrivals,
            conduct,
            unsent,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Chopped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.conduct.reads();
        if self.chopper.holds_back(cx, Mark::SpuriousReadPending) {
            self.arrivals.hold_back();
            return Poll::Pending;
        }
        let Self {
            inner,
            chopper,
            arrivals,
            ..
        } = &mut *self;
        let result = ready!(arrivals.read(cx, |cx| chopper.read(inner, cx, buf)));
        self.conduct.stuck_for(GIVE_UP, |conduct| conduct.has_read(&result));
        Poll::Ready(result.map(drop))
    }
}

impl<S: AsyncWrite + Unpin> Chopped<S> {
    /// Writes to the network.
    fn poll_send(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self {
            inner,
            chopper,
            conduct,
            ..
        } = self;
        if conduct.stuck().is_some_and(|stuck| stuck >= GIVE_UP) {
            let failed = Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            return conduct.writes(cx, false, |_| failed);
        }
        conduct.stuck_for(GIVE_UP, |conduct| {
            conduct.writes(cx, false, |cx| chopper.write(inner, cx, buf))
        })
    }

    /// Sends what waits for a flush.
    fn poll_send_buffered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(first) = self.unsent.first() {
            let sent = ready!(self.poll_send(cx, &first))?;
            self.unsent.sent(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Chopped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.unsent.buffers() {
            return self.poll_send(cx, buf);
        }
        if self.unsent.is_full() {
            self.conduct.flushes();
            ready!(self.poll_send_buffered(cx))?;
        }
        let taken = self.unsent.take(buf);
        self.conduct.buffers();
        self.chopper.marks.hit(Mark::BufferedWrite);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [one] = slices {
            return self.poll_write(cx, one);
        }
        // Which part of it all is taken is decided by `poll_write`.
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let marks = self.chopper.marks.clone();
        let written = self.poll_write(cx, &all);
        if let Poll::Ready(Ok(written)) = written
            && written < all.len()
            && written > slices[0].len()
        {
            marks.hit(Mark::PartialVectoredWrite);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.chopper.chop.vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conduct.flushes();
        ready!(self.poll_send_buffered(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            inner,
            chopper,
            conduct,
            unsent,
            ..
        } = &mut *self;
        // A stream that is not flushed before loses what it has buffered.
        conduct.check_flushed(unsent.is_empty());
        unsent.clear();
        conduct.writes(cx, true, |cx| {
            if chopper.holds_back(cx, Mark::SpuriousWritePending) {
                return Poll::Pending;
            }
            Pin::new(inner).poll_shutdown(cx)
        })
    }
}

/// Listens on [`PORT`] of the host it is made on.
pub struct Listener {
    inner: turmoil::net::TcpListener,
    chopper: Chopper,
}

impl Listener {
    /// Binds.
    ///
    /// # Errors
    ///
    /// If something listens there.
    pub async fn bind(chopper: Chopper) -> io::Result<Self> {
        let inner = turmoil::net::TcpListener::bind(("0.0.0.0", PORT)).await?;
        Ok(Self { inner, chopper })
    }
}

#[async_trait]
impl transport::Listener for Listener {
    type Stream = Chopped<turmoil::net::TcpStream>;

    async fn accept(&mut self) -> io::Result<transport::Incoming<Self::Stream>> {
        let (inner, addr) = self.inner.accept().await?;
        let (peer, chopper) = (transport::Peer::new("sim", Some(addr)), self.chopper.clone());
        let Some((time, fails)) = chopper.negotiation() else {
            return Ok(transport::Incoming::ready(peer, Chopped::new(inner, chopper)));
        };
        Ok(transport::Incoming::negotiating(peer.clone(), async move {
            tokio::time::sleep(time).await;
            if fails {
                return Err(io::Error::other("the peer breaks the rules of the handshake"));
            }
            Ok((peer, Chopped::new(inner, chopper)))
        }))
    }

    fn settle(&self) -> Arc<dyn Settle> {
        self.chopper.settle()
    }
}

/// Connects to [`PORT`] of one host.
pub struct Connector {
    to: &'static str,
    chopper: Chopper,
}

impl Connector {
    /// Connects to the host of this name.
    #[must_use]
    pub const fn new(to: &'static str, chopper: Chopper) -> Self {
        Self { to, chopper }
    }
}

#[async_trait]
impl transport::Connector for Connector {
    type Stream = Chopped<turmoil::net::TcpStream>;

    async fn dial(&self) -> io::Result<transport::Negotiated<Self::Stream>> {
        let connected = turmoil::net::TcpStream::connect((self.to, PORT)).await;
        if connected.is_err() {
            self.chopper.marks.hit(Mark::DialRefused);
        }
        let stream = Chopped::new(connected?, self.chopper.clone());
        Ok((transport::Peer::new("sim", None), stream))
    }

    fn settle(&self) -> Arc<dyn Settle> {
        self.chopper.settle()
    }
}
