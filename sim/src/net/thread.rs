//! The thread that a host's driver runs on. Its reactor tells a few streams at a time that they can be read, and none
//! while the thread is stopped, as the whole process is by a signal.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// One thread, shared by those who stop it and the streams that it reads.
#[derive(Clone, Debug, Default)]
pub struct Thread(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<u64, Stream>,
    last: u64,
    /// Streams that can be read and have not been told, oldest first.
    untold: VecDeque<u64>,
    /// Those of them whose `unread` is to be set: what wakes the thread does not know the time.
    new: Vec<u64>,
    waker: Option<Waker>,
    stopped_until: Duration,
    stopped_at: Option<Duration>,
}

#[derive(Debug, Default)]
struct Stream {
    /// Whoever waits for it to be readable.
    reader: Option<Waker>,
    /// Since when there may be something to read.
    unread: Option<Duration>,
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

    /// Runs `driver`. Its reactor tells `events` streams at a time, and `resumed` hears of each time that the thread goes on: how
    /// long it was stopped, and whether something had arrived.
    pub fn run<F: Future>(
        self,
        driver: F,
        events: usize,
        resumed: impl FnMut(Duration, bool),
    ) -> impl Future<Output = F::Output> {
        Running {
            thread: self,
            driver: Box::pin(driver),
            events,
            sleep: None,
            resumed,
        }
    }

    /// Checks that nothing is unread that had arrived before now.
    ///
    /// # Errors
    ///
    /// If something is.
    pub fn check_read(&self) -> Result<(), String> {
        let state = self.state();
        let unread = state.streams.values().filter_map(|stream| stream.unread);
        let first = unread.min().filter(|first| *first < now());
        first.map_or(Ok(()), |first| {
            Err(format!("a time is over, and what arrived at {first:?} is not read"))
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Running<F, R> {
    thread: Thread,
    driver: Pin<Box<F>>,
    events: usize,
    /// Until the thread goes on.
    sleep: Option<Pin<Box<Sleep>>>,
    resumed: R,
}

impl<F, R> Unpin for Running<F, R> {}

impl<F: Future, R: FnMut(Duration, bool)> Future for Running<F, R> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let thread = self.thread.clone();
        let mut state = thread.state();
        state.waker = Some(cx.waker().clone());
        for number in std::mem::take(&mut state.new) {
            if let Some(stream) = state.streams.get_mut(&number) {
                stream.unread.get_or_insert_with(now);
            }
        }
        let left = state.stopped_until.saturating_sub(now());
        if !left.is_zero() {
            drop(state);
            let mut wait = Box::pin(sleep(left));
            if wait.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            self.sleep = Some(wait);
            return Poll::Pending;
        }
        let stopped = state.stopped_at.take().map(|at| now() - at);
        // What ends a stop ends the reactor's wait with nothing to tell.
        let events = if stopped.is_some() { 0 } else { self.events };
        let count = events.min(state.untold.len());
        let told: Vec<u64> = state.untold.drain(..count).collect();
        let readers: Vec<Waker> = told
            .iter()
            .filter_map(|number| state.streams.get_mut(number)?.reader.take())
            .collect();
        let (more, arrived) = (!state.untold.is_empty(), !state.untold.is_empty());
        drop(state);
        if let Some(stopped) = stopped {
            (self.resumed)(stopped, arrived);
        }
        readers.into_iter().for_each(Waker::wake);
        let result = self.driver.as_mut().poll(cx);
        if more {
            cx.waker().wake_by_ref();
        }
        result
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

    /// Reads with `read`, unless the reactor has not told yet that there is something.
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
        let stream = self.stream(&mut state);
        match &result {
            Poll::Pending => {
                *stream = Stream {
                    reader: Some(cx.waker().clone()),
                    unread: None,
                }
            }
            Poll::Ready(Ok(1..)) => stream.unread = stream.unread.or(Some(now())),
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
        state.untold.push_back(self.number);
        state.new.push(self.number);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
