//! Reading everything that has arrived before a deadline expires.
//!
//! A process can be stopped, a host suspended, a turn long. Then deadlines are due while data that peers sent in time still
//! waits in the sockets. So before a deadline ends something, the owner of the streams holds the time and makes passes: in
//! each, the reactor reports which sockets are ready, and the owner reads them. [`Settling`] counts the passes and decides when
//! everything that had arrived is read.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::ready::{KeyWaker, Ready};

/// Sockets that tokio's reactor reports in one pass.
const EVENTS: usize = 1024;
/// The resolution of timers.
const TICK: Duration = Duration::from_millis(1);

/// A pass under way. Resolves to `false` if streams have no room for more of what has arrived.
pub type Pass = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Delivers data that has arrived at this host to the streams of one transport.
pub trait Settle: Send + Sync {
    /// Makes one pass. When it resolves, every stream and listener that was ready when it began has woken its task.
    fn pass(&self) -> Pass;

    /// The number of passes that reach every stream, for this number of connections.
    fn passes(&self, connections: usize) -> usize {
        let _ = connections;
        1
    }
}

/// Streams that the reactor of the runtime wakes: tokio's sockets.
#[derive(Clone, Copy, Debug)]
pub struct Reactor {
    events: usize,
}

impl Reactor {
    /// A reactor that reports at most this many sockets per pass. The default is that of tokio, 1,024.
    #[must_use]
    pub const fn reporting(events: usize) -> Self {
        Self { events }
    }
}

impl Default for Reactor {
    fn default() -> Self {
        Self::reporting(EVENTS)
    }
}

impl Settle for Reactor {
    fn pass(&self) -> Pass {
        Box::pin(async {
            if Handle::current().metrics().num_workers() == 1 {
                // The scheduler polls the reactor before it resumes a task that has yielded.
                yield_now().await;
            } else {
                // Another worker may poll the reactor. It handles sockets before timers.
                sleep(TICK).await;
            }
            true
        })
    }

    fn passes(&self, connections: usize) -> usize {
        connections / self.events.max(1) + 1
    }
}

/// The transports of a driver.
#[derive(Default)]
pub(crate) struct SettleAll(Vec<Arc<dyn Settle>>);

impl SettleAll {
    pub(crate) fn add(&mut self, settle: Arc<dyn Settle>) {
        self.0.push(settle);
    }

    /// All transports as one.
    pub(crate) fn one(&self) -> Arc<dyn Settle> {
        match &self.0[..] {
            [] => Arc::new(Reactor::default()),
            [one] => Arc::clone(one),
            several => Arc::new(Self(several.to_vec())),
        }
    }
}

/// Passes of all transports, one after the other.
impl Settle for SettleAll {
    fn pass(&self) -> Pass {
        let passes: Vec<_> = self.0.iter().map(|settle| settle.pass()).collect();
        Box::pin(async {
            let mut all = true;
            for pass in passes {
                all &= pass.await;
            }
            all
        })
    }

    fn passes(&self, connections: usize) -> usize {
        self.0
            .iter()
            .map(|settle| settle.passes(connections))
            .max()
            .unwrap_or(1)
    }
}

/// Passes, one after the other, until everything that had arrived at the beginning is read.
///
/// The owner takes keys off a queue that [`Ready`] fills. It reports each key of its own with [`Settling::saw`], and calls
/// [`Settling::advance`] and [`Settling::passed`] for the two keys given to [`Settling::begin`].
pub struct Settling<K> {
    settle: Arc<dyn Settle>,
    /// Wakes the owner when the pass is over.
    over: Arc<KeyWaker<K>>,
    /// Queued after everything that the pass woke.
    marker: Arc<KeyWaker<K>>,
    pass: Option<Pass>,
    /// Passes that can follow one that delivered something.
    passes: usize,
    /// Passes that can follow one that left something unread.
    rounds: usize,
    news: bool,
    left_over: bool,
}

impl<K: Copy + Send + Sync + 'static> Settling<K> {
    /// Begins the first pass for this number of connections. At most `rounds` more follow passes that leave something unread.
    /// Nothing else may use the keys of `over` and `marker`.
    pub fn begin(
        settle: &Arc<dyn Settle>,
        connections: usize,
        rounds: usize,
        (over, marker): (&Arc<KeyWaker<K>>, &Arc<KeyWaker<K>>),
        ready: &Ready<K>,
        keys: &mut VecDeque<(K, Arc<KeyWaker<K>>)>,
    ) -> Self {
        let mut settling = Self {
            settle: Arc::clone(settle),
            over: Arc::clone(over),
            marker: Arc::clone(marker),
            pass: None,
            passes: settle.passes(connections),
            rounds,
            news: false,
            left_over: false,
        };
        settling.start(ready, keys);
        settling
    }

    /// Reports that the owner handled a key. `left_over`: it did not read everything.
    pub fn saw(&mut self, left_over: bool) {
        self.news = true;
        self.left_over |= left_over;
    }

    /// Call this when the key `over` is taken off the queue.
    pub fn advance(&mut self, ready: &Ready<K>, keys: &mut VecDeque<(K, Arc<KeyWaker<K>>)>) {
        let Some(pass) = &mut self.pass else {
            return;
        };
        let waker = Waker::from(Arc::clone(&self.over));
        if let Poll::Ready(all) = pass.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.pass = None;
            self.left_over |= !all;
            ready.take(keys);
            keys.push_back((self.marker.key(), Arc::clone(&self.marker)));
        }
    }

    /// Call this when the key `marker` is taken off the queue. Returns whether everything that had arrived is read, or the limits
    /// are reached; otherwise the next pass begins.
    pub fn passed(&mut self, ready: &Ready<K>, keys: &mut VecDeque<(K, Arc<KeyWaker<K>>)>) -> bool {
        self.passes = self.passes.saturating_sub(1);
        let news = std::mem::take(&mut self.news) && self.passes > 0;
        let left_over = std::mem::take(&mut self.left_over) && self.rounds > 0;
        self.rounds -= usize::from(left_over);
        if news || left_over {
            self.start(ready, keys);
        }
        !(news || left_over)
    }

    fn start(&mut self, ready: &Ready<K>, keys: &mut VecDeque<(K, Arc<KeyWaker<K>>)>) {
        self.pass = Some(self.settle.pass());
        self.advance(ready, keys);
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    /// Passes that are over at once.
    struct Instant {
        passes: usize,
        has_room: bool,
    }

    impl Settle for Instant {
        fn pass(&self) -> Pass {
            Box::pin(ready(self.has_room))
        }

        fn passes(&self, _: usize) -> usize {
            self.passes
        }
    }

    #[tokio::test]
    async fn the_passes_of_several_transports_reach_the_streams_of_all() {
        for rooms in [[true, true], [true, false], [false, true], [false, false]] {
            let mut all = SettleAll::default();
            assert_eq!(all.one().passes(1), 1, "the reactor's");
            for (passes, has_room) in [(3, rooms[0]), (2, rooms[1])] {
                all.add(Arc::new(Instant { passes, has_room }));
            }
            let one = all.one();
            assert_eq!(one.passes(1), 3);
            assert_eq!(one.pass().await, rooms == [true, true]);
        }
    }
}
