//! Reading what has arrived before a deadline is judged.
//!
//! A process can be stopped, a machine suspended, a turn long. Afterwards deadlines are due, and what peers sent in time
//! still lies in the sockets: not even known to the reactor, or known and not read. So before a deadline ends something,
//! whoever owns the streams lets time stand still and makes passes: each has the reactor say what is ready and reads
//! that. [`Settling`] counts them, and says when everything that had arrived is read.

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
/// A timer's shortest time.
const TICK: Duration = Duration::from_millis(1);

/// A pass under way. Resolves to `false` if more has arrived than the streams have room for.
pub type Pass = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Brings what has arrived at this host to the streams of one transport.
pub trait Settle: Send + Sync {
    /// Makes one pass: when it resolves, streams that could be read, written or accepted when it began have woken their
    /// tasks.
    fn pass(&self) -> Pass;

    /// How many passes reach every stream, if there are this many connections.
    fn passes(&self, connections: usize) -> usize {
        let _ = connections;
        1
    }
}

/// Streams that the reactor of the runtime wakes: sockets of tokio's own.
#[derive(Clone, Copy, Debug)]
pub struct Reactor {
    events: usize,
}

impl Reactor {
    /// A reactor that reports at most this many sockets in one pass. tokio's, which is the default, reports 1,024.
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
                // The scheduler polls the reactor before it wakes who has yielded.
                yield_now().await;
            } else {
                // Another worker may have the reactor. It looks at timers after sockets.
                sleep(TICK).await;
            }
            true
        })
    }

    fn passes(&self, connections: usize) -> usize {
        connections / self.events.max(1) + 1
    }
}

/// Two transports, one after the other.
pub(crate) struct SettleBoth(pub(crate) Arc<dyn Settle>, pub(crate) Arc<dyn Settle>);

impl Settle for SettleBoth {
    fn pass(&self) -> Pass {
        let (first, second) = (self.0.pass(), self.1.pass());
        Box::pin(async {
            let first = first.await;
            second.await && first
        })
    }

    fn passes(&self, connections: usize) -> usize {
        self.0.passes(connections).max(self.1.passes(connections))
    }
}

/// Passes, one after the other, until everything that had arrived at the beginning is read.
///
/// Its owner takes keys off a queue that [`Ready`] fills, and gives them to this: [`Settling::saw`] each key of its own,
/// and its two keys to [`Settling::advance`].
pub struct Settling<K> {
    settle: Arc<dyn Settle>,
    /// Wakes the owner when a pass is over.
    over: Arc<KeyWaker<K>>,
    /// Comes after everything that the pass woke.
    marker: Arc<KeyWaker<K>>,
    pass: Option<Pass>,
    /// Passes that may follow because the one before brought something.
    passes: usize,
    /// Passes that may follow because something was left unread.
    rounds: usize,
    news: bool,
    left_over: bool,
}

impl<K: Copy + Send + Sync + 'static> Settling<K> {
    /// Begins the first pass for this many connections. If it leaves something unread, at most `rounds` more follow.
    /// `over` and `marker` are of keys that nothing else uses.
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

    /// Something was ready, and its owner has looked at it. `left_over` says that it has not read it to the end.
    pub fn saw(&mut self, left_over: bool) {
        self.news = true;
        self.left_over |= left_over;
    }

    /// The key `over` was taken off the queue.
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

    /// The key `marker` was taken off the queue. Returns whether everything that had arrived is read, or as much of it
    /// as is waited for; otherwise the next pass begins.
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
