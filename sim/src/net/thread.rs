//! The simulated thread of a host's driver. Its reactor reports a few ready streams at a time, and none
//! while the thread is paused, as SIGSTOP pauses a process.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use echosphere_driver::settle::{Pass, Reactor, Settle};
use tokio::task::yield_now;
use tokio::time::sleep;

/// One thread, shared by those who stop it and the streams that it reads.
#[derive(Clone, Debug, Default)]
pub struct Thread(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<u64, Stream>,
    last: u64,
    /// Streams that can be read and were not reported, oldest first.
    untold: VecDeque<u64>,
    /// How often something has arrived.
    arrivals: u64,
    /// Turns of the driver.
    turns: u64,
    /// How often something had arrived when the driver began to read all that had.
    settling: Option<u64>,
    /// The same of the last deadline that its machine received, and its turn.
    judged: (u64, u64),
    waker: Option<Waker>,
    stopped_until: Duration,
    stopped_at: Option<Duration>,
}

#[derive(Debug, Default)]
struct Stream {
    /// The waker of the task that waits for it to be readable.
    reader: Option<Waker>,
    /// There may be something to read: the number of its arrival.
    unread: Option<u64>,
}

impl Thread {
    /// Stops it from now until then.
    pub fn stop(&self, now: Duration, until: Duration) {
        let mut state = self.state();
        state.stopped_until = state.stopped_until.max(until);
        state.stopped_at.get_or_insert(now);
    }

    /// When it was last stopped, until when.
    #[must_use]
    pub fn stopped_until(&self) -> Duration {
        self.state().stopped_until
    }

    /// How long it could run since then, at most.
    #[must_use]
    pub fn ran_since(&self, then: Duration) -> Duration {
        now().saturating_sub(self.stopped_until().max(then))
    }

    /// Runs `driver`. Its reactor reports `events` streams at a time. `resumed` is called when the thread continues: how
    /// long it was stopped, and whether something had arrived.
    pub fn run<F: Future>(
        self,
        driver: F,
        events: usize,
        resumed: impl FnMut(Duration, bool),
    ) -> impl Future<Output = F::Output> {
        Running {
            woken: Arc::new(Woken {
                thread: self.clone(),
                again: AtomicBool::new(false),
            }),
            thread: self,
            driver: Box::pin(driver),
            events,
            wait: None,
            resumed,
        }
    }

    /// Checks that the driver has begun to read, since its machine's last deadline, and has read whatever
    /// had arrived when it began. Now it tells its machine so again.
    ///
    /// # Errors
    ///
    /// If not so.
    pub fn check_read(&self) -> Result<(), String> {
        let mut state = self.state();
        if let Some(settling) = state.settling.take() {
            state.judged = (state.turns, settling);
        }
        let (turn, arrived) = state.judged;
        if turn != state.turns {
            return Err("a deadline is due, and the driver has not looked for what has arrived".to_owned());
        }
        let unread = |stream: &&Stream| stream.unread.is_some_and(|arrival| arrival <= arrived);
        match state.streams.values().filter(unread).count() {
            0 => Ok(()),
            count => Err(format!(
                "a deadline is due, and {count} streams have unread bytes that had arrived"
            )),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Running<F, R> {
    thread: Thread,
    driver: Pin<Box<F>>,
    woken: Arc<Woken>,
    events: usize,
    /// Until the thread continues after a pause, or after its reactor was polled.
    wait: Option<Wait>,
    resumed: R,
}

type Wait = Pin<Box<dyn Future<Output = ()>>>;

impl<F, R> Unpin for Running<F, R> {}

impl<F, R: FnMut(Duration, bool)> Running<F, R> {
    /// The readers of the streams that the reactor tells now; `None` if the thread is stopped.
    fn told(&mut self) -> Option<Vec<Waker>> {
        let mut state = self.thread.state();
        let left = state.stopped_until.saturating_sub(now());
        if !left.is_zero() {
            self.wait = Some(Box::pin(sleep(left)));
            return None;
        }
        // What ends a stop ends the reactor's wait with nothing to tell.
        let stopped = state.stopped_at.take().map(|at| now() - at);
        let count = stopped.map_or(self.events, |_| 0).min(state.untold.len());
        let told: Vec<u64> = state.untold.drain(..count).collect();
        let reader = |number| state.streams.get_mut(&number)?.reader.take();
        let readers = told.into_iter().filter_map(reader).collect();
        let arrived = !state.untold.is_empty();
        state.turns += 1;
        drop(state);
        if let Some(stopped) = stopped {
            (self.resumed)(stopped, arrived);
        }
        Some(readers)
    }
}

impl<F: Future, R: FnMut(Duration, bool)> Future for Running<F, R> {
    type Output = F::Output;

    /// One turn of the driver, each after the reactor was polled.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.thread.state().waker = Some(cx.waker().clone());
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let Some(readers) = self.told() else {
                continue;
            };
            readers.into_iter().for_each(Waker::wake);
            self.woken.again.store(false, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&self.woken));
            if let Poll::Ready(output) = self.driver.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(output);
            }
            let more = !self.thread.state().untold.is_empty();
            if !more && !self.woken.again.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            self.wait = Some(Box::pin(yield_now()));
        }
    }
}

/// Wakes a driver's thread.
struct Woken {
    thread: Thread,
    again: AtomicBool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.again.store(true, Ordering::Relaxed);
        let waker = self.thread.state().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// One stream's place in its thread.
#[derive(Debug)]
pub(super) struct Arrivals {
    thread: Thread,
    number: u64,
    waker: Waker,
}

impl Arrivals {
    pub(super) fn new(thread: &Thread) -> Self {
        let mut state = thread.state();
        state.last += 1;
        let number = state.last;
        state.streams.insert(number, Stream::default());
        drop(state);
        let arrived = Arrived {
            thread: thread.clone(),
            number,
        };
        Self {
            thread: thread.clone(),
            number,
            waker: Waker::from(Arc::new(arrived)),
        }
    }

    /// Reads with `read`, unless the reactor has not reported yet that there is something.
    pub(super) fn read<E>(
        &self,
        cx: &Context<'_>,
        read: impl FnOnce(&mut Context<'_>) -> Poll<Result<usize, E>>,
    ) -> Poll<Result<usize, E>> {
        if let Some(reader) = &mut self.stream(&mut self.thread.state()).reader {
            reader.clone_from(cx.waker());
            return Poll::Pending;
        }
        let result = read(&mut Context::from_waker(&self.waker));
        let mut state = self.thread.state();
        let arrivals = state.arrivals;
        let stream = self.stream(&mut state);
        match &result {
            Poll::Pending => {
                *stream = Stream {
                    reader: Some(cx.waker().clone()),
                    unread: None,
                }
            }
            Poll::Ready(Ok(1..)) => stream.unread = stream.unread.or(Some(arrivals)),
            Poll::Ready(_) => stream.unread = None,
        }
        result
    }

    /// There is nothing to read, whatever has arrived.
    pub(super) fn hold_back(&self) {
        self.stream(&mut self.thread.state()).unread = None;
    }

    fn stream<'a>(&self, state: &'a mut State) -> &'a mut Stream {
        state.streams.entry(self.number).or_default()
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.thread.state().streams.remove(&self.number);
    }
}

/// Wakes the thread when something has arrived on a stream.
struct Arrived {
    thread: Thread,
    number: u64,
}

impl Wake for Arrived {
    fn wake(self: Arc<Self>) {
        let mut state = self.thread.state();
        state.arrivals += 1;
        let (arrival, thread) = (state.arrivals, state.waker.clone());
        let Some(stream) = state.streams.get_mut(&self.number) else {
            return;
        };
        stream.unread.get_or_insert(arrival);
        let Some(waker) = thread else {
            // It does not run here: streams wake their readers themselves.
            let reader = stream.reader.take();
            drop(state);
            reader.into_iter().for_each(Waker::wake);
            return;
        };
        state.untold.push_back(self.number);
        drop(state);
        waker.wake();
    }
}

/// A thread's reactor, as its driver asks it for what has arrived.
pub(super) struct SimulatedSettle {
    pub(super) thread: Thread,
    pub(super) reactor: Reactor,
}

impl Settle for SimulatedSettle {
    fn pass(&self) -> Pass {
        self.reactor.pass()
    }

    /// Asked once, when the first pass begins.
    fn passes(&self, connections: usize) -> usize {
        let mut state = self.thread.state();
        state.settling = Some(state.arrivals);
        self.reactor.passes(connections)
    }
}

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
