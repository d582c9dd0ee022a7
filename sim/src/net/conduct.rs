//! Rules of a driver for its streams: it drops a stream after its end, writes when there is room, and
//! drops none without a cause.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::Thread;

/// What a driver may be late by: a few of turmoil's longest steps.
const SLACK: Duration = Duration::from_millis(30);

/// What all streams of a run share: where a broken rule is noted, and when rules are off.
#[derive(Debug)]
pub struct Rules {
    /// How long a stream may be kept after its peer's end was read.
    linger: Duration,
    /// Whether it may be kept as long as it is written to.
    goes_on: bool,
    /// Whether a few messages at once are more than may wait, so that a stream is dropped though its peer reads.
    tight: bool,
    broken: Mutex<Option<String>>,
    torn_down: AtomicBool,
    /// The ends that were dropped before their shutdown. turmoil closes such a connection cleanly, as the system does for a
    /// process that has died; a real transport resets it.
    aborted: Mutex<BTreeSet<Ends>>,
}

/// The addresses of an end and of its peer.
pub(super) type Ends = (SocketAddr, SocketAddr);

impl Rules {
    /// For drivers whose closing connections may take `linger`. If a stream `goes_on` whose peer has finished sending, that
    /// is from when something was written last. If bounds are `tight`, a stream may be dropped at any time.
    #[must_use]
    pub const fn new(linger: Duration, goes_on: bool, tight: bool) -> Self {
        Self {
            linger,
            goes_on,
            tight,
            broken: Mutex::new(None),
            torn_down: AtomicBool::new(false),
            aborted: Mutex::new(BTreeSet::new()),
        }
    }

    /// The first rule that was broken since this was last asked.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        lock(&self.broken).take()
    }

    /// Does something that takes streams from their driver: what happens to them then is not the driver's doing.
    pub fn tearing_down<T>(&self, act: impl FnOnce() -> T) -> T {
        self.torn_down.store(true, Ordering::Relaxed);
        let result = act();
        self.torn_down.store(false, Ordering::Relaxed);
        result
    }

    fn check(&self, kept: bool, rule: impl FnOnce() -> String) {
        if !kept && !self.torn_down.load(Ordering::Relaxed) {
            lock(&self.broken).get_or_insert_with(rule);
        }
    }
}

/// What a driver has done with one stream.
#[derive(Debug)]
pub(super) struct Conduct {
    rules: Arc<Rules>,
    thread: Thread,
    ends: Option<Ends>,
    has_read: bool,
    has_written: bool,
    shut_down: bool,
    failed: bool,
    /// When its peer's end was read, or, if it may stay open, something was written since.
    ended: Option<Duration>,
    /// Whether and when the driver, which had to wait before it wrote, was woken.
    waits: Option<Arc<Woken>>,
    /// Since when nothing could be written.
    stuck: Option<Duration>,
    /// Since when something waits for a flush that was not tried.
    unflushed: Option<Duration>,
}

impl Conduct {
    /// Without `ends`, the peer does not notice a drop.
    pub(super) fn new(rules: Arc<Rules>, thread: Thread, ends: Option<Ends>) -> Self {
        // An earlier connection may have had the same addresses.
        lock(&rules.aborted).retain(|aborted| Some(*aborted) != ends);
        Self {
            rules,
            thread,
            ends,
            has_read: false,
            has_written: false,
            shut_down: false,
            failed: false,
            ended: None,
            waits: None,
            stuck: None,
            unflushed: None,
        }
    }

    /// Bytes are kept until a flush.
    pub(super) fn buffers(&mut self) {
        self.has_written = true;
        self.unflushed = self.unflushed.or_else(turmoil::sim_elapsed);
    }

    /// A flush is tried.
    pub(super) fn flushes(&mut self) {
        self.check_unflushed();
        self.unflushed = None;
    }

    /// The stream is shut down, and everything was flushed before, or not.
    pub(super) fn check_flushed(&mut self, flushed: bool) {
        self.rules.check(flushed, || {
            "a stream was shut down before everything that was written was flushed".to_owned()
        });
        self.unflushed = None;
    }

    fn check_unflushed(&self) {
        if let Some(unflushed) = self.unflushed {
            let since = self.thread.ran_since(unflushed);
            self.rules.check(since <= SLACK, || {
                format!("a stream was written to, and its driver did not flush it for {since:?}")
            });
        }
    }

    /// A read is tried.
    pub(super) fn reads(&mut self) {
        self.has_read = true;
        self.check_waiting();
        self.check_unflushed();
    }

    /// Whether the end that was read is that of a connection that the peer has aborted.
    pub(super) fn is_aborted(&self) -> bool {
        self.ends
            .is_some_and(|(here, there)| lock(&self.rules.aborted).remove(&(there, here)))
    }

    /// It gave this number of bytes, or failed.
    pub(super) fn has_read<E>(&mut self, result: &Result<usize, E>) {
        match result {
            Ok(0) => self.ended = self.ended.or_else(turmoil::sim_elapsed),
            Ok(_) => {}
            Err(_) => self.failed = true,
        }
    }

    /// A write, or the shutdown, is tried with `attempt`.
    pub(super) fn writes<T, E>(
        &mut self,
        cx: &Context<'_>,
        shutdown: bool,
        attempt: impl FnOnce(&mut Context<'_>) -> Poll<Result<T, E>>,
    ) -> Poll<Result<T, E>> {
        let woken = Arc::new(Woken {
            driver: cx.waker().clone(),
            at: Mutex::new(None),
        });
        let result = attempt(&mut Context::from_waker(&Waker::from(Arc::clone(&woken))));
        self.stuck = result
            .is_pending()
            .then(|| self.stuck.or_else(turmoil::sim_elapsed))
            .flatten();
        self.waits = result.is_pending().then_some(woken);
        self.has_written |= !shutdown;
        self.shut_down |= shutdown;
        self.failed |= matches!(result, Poll::Ready(Err(_)));
        if self.rules.goes_on && self.ended.is_some() {
            self.ended = turmoil::sim_elapsed();
        }
        result
    }

    /// How long nothing could be written to a peer that has finished sending: a hole in what it gets would be noticed by the
    /// system, and by nobody here.
    pub(super) fn stuck(&self) -> Option<Duration> {
        self.ended?;
        Some(turmoil::sim_elapsed()?.saturating_sub(self.stuck?))
    }

    /// Does something that may leave the stream stuck. If so, its driver is woken after `time`.
    pub(super) fn stuck_for<T>(&mut self, time: Duration, act: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.stuck().is_some();
        let result = act(self);
        if let (false, Some(_), Some(woken)) = (before, self.stuck(), &self.waits) {
            let driver = woken.driver.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(time).await;
                driver.wake();
            });
        }
        result
    }

    fn check_waiting(&self) {
        let woken = self.waits.as_ref().and_then(|woken| *lock(&woken.at));
        if let Some(woken) = woken {
            let since = self.thread.ran_since(woken);
            self.rules.check(since <= SLACK, || {
                format!("a stream had room for {since:?}, and its driver, which waited for room, did not write")
            });
        }
    }
}

impl Drop for Conduct {
    fn drop(&mut self) {
        self.check_waiting();
        if let Some(ends) = self.ends
            && !self.shut_down
            && !self.rules.torn_down.load(Ordering::Relaxed)
        {
            lock(&self.rules.aborted).insert(ends);
        }
        if let Some(ended) = self.ended {
            let since = self.thread.ran_since(ended);
            let stuck = self.rules.goes_on && self.waits.is_some();
            self.rules.check(stuck || since <= self.rules.linger + SLACK, || {
                format!("a stream was not dropped for {since:?} after its end was read")
            });
        }
        // Who is not let in is told so, at most, and never read.
        let refused = self.has_written && !self.has_read;
        let cause = self.shut_down || self.failed || self.ended.is_some() || self.waits.is_some() || refused;
        self.rules.check(cause || self.rules.tight, || {
            "a stream was dropped without a cause".to_owned()
        });
    }
}

/// Wakes the driver, and notes when.
#[derive(Debug)]
struct Woken {
    driver: Waker,
    at: Mutex<Option<Duration>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut at = lock(&self.at);
        *at = at.or_else(turmoil::sim_elapsed);
        drop(at);
        self.driver.wake_by_ref();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
