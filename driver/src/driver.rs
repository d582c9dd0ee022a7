use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::endpoint::{Effect, Endpoint};
use echosphere_core::wire::Codec;
use echosphere_core::{ConnId, DialToken, Machine, Time};
use slab::Slab;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

use crate::accepting::LogLimit;
use crate::budgets::Budgets;
use crate::handle::{Handle, QUEUED_REQUESTS, Request};
use crate::net::{Connector, Listener};
use crate::ready::{KeyWaker, Ready};
use crate::settle::{SettleAll, Settling};

mod accepts;
mod connections;
mod deadlines;
mod dials;

use self::accepts::Listening;
use self::connections::OpenConnection;
use self::deadlines::DrainStage;
use self::dials::{Dial, Dialler};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Owns an endpoint and the streams of its connections, and moves bytes and time between them.
pub struct Driver<M: Machine, C: Codec<Message = M::Message>> {
    endpoint: Endpoint<M, C>,
    notify: Box<dyn FnMut(M::Notice) + Send>,

    conns: Vec<Option<OpenConnection>>,
    listening: Vec<Listening<C>>,
    refusals: LogLimit,
    failures: LogLimit,
    diallers: Vec<Dialler<C>>,
    dials: Slab<Dial>,
    dial_of: BTreeMap<DialToken, usize>,
    requests: Option<mpsc::Receiver<Request<M, C>>>,
    drain: Option<DrainStage>,
    budgets: Budgets,

    start: Instant,
    sleep: Pin<Box<Sleep>>,
    armed: Option<Time>,
    settle: SettleAll,
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

/// An event source of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriverKey {
    /// The listener at this index.
    Listener(u32),
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
    timer: Arc<KeyWaker<DriverKey>>,
    commands: Arc<KeyWaker<DriverKey>>,
    pass: Arc<KeyWaker<DriverKey>>,
    passed: Arc<KeyWaker<DriverKey>>,
}

impl<M, C> Driver<M, C>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
    M::Notice: 'static,
{
    /// A driver without listeners and connectors, and its handle. Add those with [`Driver::listen`] and [`Driver::connect`],
    /// then [`Driver::run`] it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with its clock enabled.
    pub fn new(endpoint: Endpoint<M, C>) -> (Self, Handle<M, C>) {
        let (sender, requests) = mpsc::channel(QUEUED_REQUESTS);
        let ready = Arc::new(Ready::default());
        let own = OwnWakers {
            timer: ready.waker(DriverKey::Timer),
            commands: ready.waker(DriverKey::Commands),
            pass: ready.waker(DriverKey::Pass),
            passed: ready.waker(DriverKey::Passed),
        };
        Waker::from(Arc::clone(&own.commands)).wake();
        let driver = Self {
            endpoint,
            notify: Box::new(drop),
            conns: Vec::new(),
            listening: Vec::new(),
            refusals: LogLimit::default(),
            failures: LogLimit::default(),
            diallers: Vec::new(),
            dials: Slab::new(),
            dial_of: BTreeMap::new(),
            requests: Some(requests),
            drain: None,
            budgets: Budgets::default(),
            start: Instant::now(),
            sleep: Box::pin(sleep(Duration::ZERO)),
            armed: None,
            settle: SettleAll::default(),
            settling: None,
            scratch: BytesMut::new(),
            heard: Vec::new(),
            ready,
            keys: VecDeque::new(),
            own,
        };
        (driver, Handle::new(sender))
    }

    /// Accepts the connections of `listener`. A driver can have several listeners.
    #[must_use]
    pub fn listen(self, listener: impl Listener + 'static) -> Self {
        let codec = self.endpoint.codec().clone();
        self.listen_with(listener, codec)
    }

    /// As [`Driver::listen`]. Each connection gets a clone of `codec` instead of the codec of the endpoint.
    #[must_use]
    pub fn listen_with(mut self, listener: impl Listener + 'static, codec: C) -> Self {
        self.settle.add(listener.settle());
        let waker = self.ready.waker(DriverKey::Listener(self.listening.len() as u32));
        self.listening.push(Listening::new(listener, codec, waker.into()));
        self
    }

    /// Connects through `connector` when the machine dials its target. The first connector that is added is
    /// [`DialTarget`](echosphere_core::DialTarget) 0, the next is 1.
    #[must_use]
    pub fn connect(self, connector: impl Connector + 'static) -> Self {
        let codec = self.endpoint.codec().clone();
        self.connect_with(connector, codec)
    }

    /// As [`Driver::connect`]. Each connection gets a clone of `codec` instead of the codec of the endpoint.
    #[must_use]
    pub fn connect_with(mut self, connector: impl Connector + 'static, codec: C) -> Self {
        self.settle.add(connector.settle());
        self.diallers.push(Dialler::new(connector, codec));
        self
    }

    /// Calls `notify` with each notice of the machine. Without it, notices are dropped.
    #[must_use]
    pub fn with_notices(mut self, notify: impl FnMut(M::Notice) + Send + 'static) -> Self {
        self.notify = Box::new(notify);
        self
    }

    /// Sets the limits of one turn.
    #[must_use]
    pub const fn with_budgets(mut self, budgets: Budgets) -> Self {
        self.budgets = budgets;
        self
    }

    /// Runs until drained or, without listeners, until all handles are dropped and nothing is left to do. Returns the
    /// endpoint with its counters. Dropping the future aborts all connections.
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
                DriverKey::Listener(index) => self.accept(index),
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
        self.listening.is_empty() && self.requests.is_none() && self.endpoint.is_zero()
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
                    self.endpoint.command(now, command);
                }
                Poll::Ready(Some(Request::Drain(within))) => {
                    // Requests sent before this point are still answered.
                    requests.close();
                    self.listening.clear();
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

    /// Executes the effects that the endpoint requests, until there are none.
    fn carry_out(&mut self, now: Time) {
        while let Some(effect) = self.endpoint.poll_effect() {
            match effect {
                Effect::Notify(notice) => (self.notify)(notice),
                Effect::AbandonDial(token) => {
                    if let Some(index) = self.dial_of.remove(&token) {
                        self.dials.remove(index);
                    }
                }
                Effect::Release(id, reason) => {
                    if let Some(conn) = self.conns[id.slot as usize].take_if(|conn| conn.id == id) {
                        conn.log_end(reason);
                    }
                }
                Effect::Flush(id) => self.flush(now, id),
                Effect::Dial(token, target) => self.start_dial(now, token, target),
            }
        }
    }
}

impl<M: Machine, C: Codec<Message = M::Message>> fmt::Debug for Driver<M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
