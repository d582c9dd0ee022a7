use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::connection::SocketAction;
use echosphere_core::endpoint::{Effects, Endpoint};
use echosphere_core::wire::Codec;
use echosphere_core::{CloseReason, ConnId, DialToken, Machine, Time};
use slab::Slab;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::io::poll_read_buf;
use tracing::field::display;

use crate::accepting::LogLimit;
use crate::budgets::Budgets;
use crate::handle::{Handle, QUEUED_REQUESTS, Request};
use crate::net::{Connector, Listener, Stream};
use crate::ready::{KeyWaker, Ready};
use crate::settle::{Settle, Settling};
use crate::write::poll_write;

/// Most bytes of one read.
const READ_BYTES: usize = 64 * 1024;

mod accepts;
mod deadlines;
mod dials;

use self::accepts::{AcceptFuture, Acceptor};
use self::deadlines::DrainStage;
use self::dials::Dial;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type ChooseCodec<S, C> = Box<dyn Fn(&S) -> C + Send>;

/// Owns an endpoint and the streams of its connections, and moves bytes and time between them.
pub struct Driver<M: Machine, C: Codec<Message = M::Message>, S> {
    endpoint: Endpoint<M, C>,
    effects: Effects<M::Notice>,
    notify: Box<dyn FnMut(M::Notice) + Send>,

    conns: Vec<Option<OpenConnection<S>>>,
    accept: Option<AcceptFuture<S>>,
    refusals: LogLimit,
    /// Chooses the codec of an accepted connection, if they differ.
    choose_codec: Option<ChooseCodec<S, C>>,
    connector: Option<Arc<dyn Connector<Stream = S>>>,
    dials: Slab<Dial<S>>,
    dial_of: BTreeMap<DialToken, usize>,
    requests: Option<mpsc::Receiver<Request<M, C>>>,
    drain: Option<DrainStage>,
    budgets: Budgets,

    start: Instant,
    sleep: Pin<Box<Sleep>>,
    armed: Option<Time>,
    settle: Arc<dyn Settle>,
    /// The held time and the passes under way, while a due deadline waits for data that has arrived.
    settling: Option<(Time, Settling<DriverKey>)>,
    scratch: BytesMut,
    /// The connections read in this turn.
    heard: Vec<ConnId>,

    ready: Arc<Ready<DriverKey>>,
    /// Event sources that are ready and not handled yet, oldest first.
    keys: VecDeque<(DriverKey, Arc<KeyWaker<DriverKey>>)>,
    own: OwnWakers,
}

struct OpenConnection<S> {
    id: ConnId,
    /// The address of an accepted connection.
    peer: Option<SocketAddr>,
    stream: S,
    waker: Waker,
    reading: bool,
    write_blocked: bool,
}

impl<S> OpenConnection<S> {
    fn log_end(&self, reason: CloseReason) {
        let (peer, told) = (self.peer.map(display), reason.error_code().map(display));
        tracing::info!(conn = ?self.id, peer, reason = reason.name(), told, "connection closed");
    }
}

/// An event source of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriverKey {
    Listener,
    Timer,
    Commands,
    /// The pass under way is over.
    Pass,
    /// Everything that the pass woke has been handled.
    Passed,
    /// The connection in this slot.
    Conn(u32),
    /// The attempt to connect at this index.
    Dial(u32),
}

/// The wakers of event sources of which there is one.
struct OwnWakers {
    listener: Arc<KeyWaker<DriverKey>>,
    timer: Arc<KeyWaker<DriverKey>>,
    commands: Arc<KeyWaker<DriverKey>>,
    pass: Arc<KeyWaker<DriverKey>>,
    passed: Arc<KeyWaker<DriverKey>>,
}

impl<M, C, S> Driver<M, C, S>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
    M::Notice: 'static,
    S: Stream,
{
    /// A driver that serves the connections of `listener`, and its handle. It ends when drained.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with its clock enabled; so does [`Driver::dial`].
    pub fn serve(endpoint: Endpoint<M, C>, listener: impl Listener<Stream = S> + 'static) -> (Self, Handle<M, C>) {
        let (mut driver, handle) = Self::new(endpoint, listener.settle());
        driver.accept = Some(Acceptor::on(listener).next());
        (driver, handle)
    }

    /// A driver that connects through `connector` when the machine asks for it, and its handle. It calls `notify` with each
    /// notice. It ends when drained, or when all handles are dropped and nothing is left to do.
    pub fn dial(
        endpoint: Endpoint<M, C>,
        connector: impl Connector<Stream = S> + 'static,
        notify: impl FnMut(M::Notice) + Send + 'static,
    ) -> (Self, Handle<M, C>) {
        let (mut driver, handle) = Self::new(endpoint, connector.settle());
        driver.connector = Some(Arc::new(connector));
        driver.notify = Box::new(notify);
        (driver, handle)
    }

    /// Calls `notify` with each notice of the machine, for a driver that serves.
    #[must_use]
    pub fn with_notices(mut self, notify: impl FnMut(M::Notice) + Send + 'static) -> Self {
        self.notify = Box::new(notify);
        self
    }

    /// Calls `choose` for the codec of each accepted connection, for a listener whose connections differ.
    #[must_use]
    pub fn with_codecs(mut self, choose: impl Fn(&S) -> C + Send + 'static) -> Self {
        self.choose_codec = Some(Box::new(choose));
        self
    }

    /// Sets the limits of one turn.
    #[must_use]
    pub const fn with_budgets(mut self, budgets: Budgets) -> Self {
        self.budgets = budgets;
        self
    }

    fn new(endpoint: Endpoint<M, C>, settle: Arc<dyn Settle>) -> (Self, Handle<M, C>) {
        let (sender, requests) = mpsc::channel(QUEUED_REQUESTS);
        let ready = Arc::new(Ready::default());
        let own = OwnWakers {
            listener: ready.waker(DriverKey::Listener),
            timer: ready.waker(DriverKey::Timer),
            commands: ready.waker(DriverKey::Commands),
            pass: ready.waker(DriverKey::Pass),
            passed: ready.waker(DriverKey::Passed),
        };
        for waker in [&own.listener, &own.commands] {
            Waker::from(Arc::clone(waker)).wake();
        }
        let driver = Self {
            endpoint,
            effects: Effects::default(),
            notify: Box::new(drop),
            conns: Vec::new(),
            accept: None,
            refusals: LogLimit::default(),
            choose_codec: None,
            connector: None,
            dials: Slab::new(),
            dial_of: BTreeMap::new(),
            requests: Some(requests),
            drain: None,
            budgets: Budgets::default(),
            start: Instant::now(),
            sleep: Box::pin(sleep(Duration::ZERO)),
            armed: None,
            settle,
            settling: None,
            scratch: BytesMut::new(),
            heard: Vec::new(),
            ready,
            keys: VecDeque::new(),
            own,
        };
        (driver, Handle::new(sender))
    }

    /// Runs until drained or, for a driver that dials, until all handles are dropped and nothing is left to do. Returns the
    /// endpoint with its counters. Dropping the future closes all connections.
    pub async fn run(mut self) -> Endpoint<M, C> {
        // tokio's budget of a task is meant for one socket, and this task has all of them. Turns have budgets of their own.
        tokio::task::unconstrained(std::future::poll_fn(|cx| self.turn(cx))).await;
        self.endpoint
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.now();
        let mut settled = false;
        self.ready.take(&mut self.keys);
        for _ in 0..self.budgets.keys.max(1) {
            let Some((key, waker)) = self.keys.pop_front() else {
                break;
            };
            waker.rearm();
            let all_read = match key {
                DriverKey::Listener => self.accept(),
                DriverKey::Commands => self.take_requests(now),
                DriverKey::Conn(slot) => self.conn_ready(now, slot),
                DriverKey::Dial(index) => self.poll_dial(now, index),
                DriverKey::Timer => {
                    self.armed = None;
                    continue;
                }
                DriverKey::Pass | DriverKey::Passed => {
                    settled |= self.pass_on(key);
                    continue;
                }
            };
            if let Some((_, settling)) = &mut self.settling {
                settling.saw(!all_read);
            }
        }
        self.note_heard();
        self.judge(now, settled);
        self.carry_out(now);
        if self.settling.is_none() {
            self.arm(now);
        }

        if self.is_done() {
            return Poll::Ready(());
        }
        if !self.ready.sleep(cx.waker()) || !self.keys.is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn is_done(&self) -> bool {
        self.accept.is_none() && self.requests.is_none() && self.endpoint.is_zero()
    }

    /// Takes requests of handles. `false` if there may be more.
    fn take_requests(&mut self, now: Time) -> bool {
        let waker = Waker::from(Arc::clone(&self.own.commands));
        for _ in 0..self.budgets.requests.max(1) {
            let Some(requests) = &mut self.requests else {
                return true;
            };
            match requests.poll_recv(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(Request::Command(command))) => {
                    self.endpoint.command(now, command, &mut self.effects);
                }
                Poll::Ready(Some(Request::Drain(within))) => {
                    // Requests sent before this point are still answered.
                    requests.close();
                    self.accept = None;
                    self.begin_drain(now, within);
                }
                Poll::Ready(Some(Request::Inspect(look))) => look(&self.endpoint),
                Poll::Ready(None) => self.requests = None,
                Poll::Pending => return true,
            }
        }
        waker.wake();
        false
    }

    fn insert(&mut self, id: ConnId, peer: Option<SocketAddr>, stream: S) {
        let slot = id.slot as usize;
        if slot >= self.conns.len() {
            self.conns.resize_with(slot + 1, || None);
        }
        let waker = Waker::from(self.ready.waker(DriverKey::Conn(id.slot)));
        // Data may have arrived, and no waker is registered with the stream yet.
        waker.wake_by_ref();
        let before = self.conns[slot].replace(OpenConnection {
            id,
            peer,
            stream,
            waker,
            reading: true,
            write_blocked: false,
        });
        // The connection that had this slot may still wait for its release.
        if let Some(before) = before
            && let Some((_, reason)) = self.effects.release.iter().find(|(id, _)| *id == before.id)
        {
            before.log_end(*reason);
        }
    }

    /// Reads a connection that is ready. `false` if there may be more to read.
    fn conn_ready(&mut self, now: Time, slot: u32) -> bool {
        let Some(conn) = self.conns.get_mut(slot as usize).and_then(Option::as_mut) else {
            return true;
        };
        if mem::take(&mut conn.write_blocked) {
            self.effects.flush.push(conn.id);
        }
        for _ in 0..self.budgets.reads.max(1) {
            if !conn.reading {
                return true;
            }
            self.scratch.clear();
            self.scratch.reserve(READ_BYTES);
            let mut cx = Context::from_waker(&conn.waker);
            match poll_read_buf(Pin::new(&mut conn.stream), &mut cx, &mut self.scratch) {
                Poll::Pending => return true,
                Poll::Ready(Ok(0)) => {
                    conn.reading = false;
                    self.endpoint.peer_closed(now, conn.id, &mut self.effects);
                }
                Poll::Ready(Ok(_)) => {
                    self.heard.push(conn.id);
                    let (scratch, effects) = (&mut self.scratch, &mut self.effects);
                    self.endpoint.receive(now, conn.id, scratch, effects);
                }
                Poll::Ready(Err(_)) => {
                    conn.reading = false;
                    self.endpoint.failed(now, conn.id, &mut self.effects);
                }
            }
        }
        conn.waker.wake_by_ref();
        false
    }

    /// Executes the effects that the endpoint requests, until there are none.
    fn carry_out(&mut self, now: Time) {
        loop {
            for notice in self.effects.notices.drain(..) {
                (self.notify)(notice);
            }
            if let Some(token) = self.effects.abandon.pop() {
                if let Some(index) = self.dial_of.remove(&token) {
                    self.dials.remove(index);
                }
                self.effects.dial.retain(|&dial| dial != token);
            } else if let Some((id, reason)) = self.effects.release.pop() {
                if let Some(conn) = self.conns[id.slot as usize].take_if(|conn| conn.id == id) {
                    conn.log_end(reason);
                }
            } else if !self.effects.flush.is_empty() {
                let flush = mem::take(&mut self.effects.flush);
                for id in flush {
                    self.flush(now, id);
                }
            } else if !self.effects.dial.is_empty() {
                for token in mem::take(&mut self.effects.dial) {
                    self.start_dial(now, token);
                }
            } else {
                return;
            }
        }
    }

    fn flush(&mut self, now: Time, id: ConnId) {
        self.endpoint.begin_flush(id);
        let Some(conn) = self.conns[id.slot as usize].as_mut().filter(|conn| conn.id == id) else {
            return;
        };
        while !conn.write_blocked {
            let mut cx = Context::from_waker(&conn.waker);
            let stream = Pin::new(&mut conn.stream);
            let result = match self.endpoint.socket_action(id) {
                SocketAction::Nothing => return,
                SocketAction::Write => match self.endpoint.outbox(id) {
                    Some(outbox) => poll_write(stream, &mut cx, outbox.chunks()),
                    None => return,
                },
                SocketAction::Shutdown => stream.poll_shutdown(&mut cx).map_ok(|()| None),
            };
            match result {
                Poll::Pending => conn.write_blocked = true,
                Poll::Ready(Ok(Some(written))) => self.endpoint.wrote(id, written),
                Poll::Ready(Ok(None)) => self.endpoint.shut_down(now, id, &mut self.effects),
                Poll::Ready(Err(_)) => {
                    self.endpoint.failed(now, id, &mut self.effects);
                    return;
                }
            }
        }
    }
}

impl<M: Machine, C: Codec<Message = M::Message>, S> fmt::Debug for Driver<M, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
