//! Which of its event sources have woken a future.

use std::collections::VecDeque;
#[cfg(not(echosphere_loom))]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
#[cfg(not(echosphere_loom))]
use std::sync::{Mutex, MutexGuard};
use std::task::{Wake, Waker};

#[cfg(echosphere_loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(echosphere_loom)]
use loom::sync::{Mutex, MutexGuard};

/// The keys that have woken a future since its last turn, each once, and the waker of the future.
#[derive(Debug)]
pub struct Ready<K>(Mutex<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    keys: Vec<(K, Arc<KeyWaker<K>>)>,
    root: Option<Waker>,
}

/// The waker of one event source: adds its key to the ready list, and wakes the future at most once per turn.
#[derive(Debug)]
pub struct KeyWaker<K> {
    key: K,
    queued: AtomicBool,
    /// Weak, as the ready list holds wakers.
    ready: Weak<Ready<K>>,
}

impl<K> Default for Ready<K> {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            keys: Vec::new(),
            root: None,
        }))
    }
}

impl<K> Ready<K> {
    /// A waker for the event source `key`.
    pub fn waker(self: &Arc<Self>, key: K) -> Arc<KeyWaker<K>> {
        Arc::new(KeyWaker {
            key,
            queued: AtomicBool::new(false),
            ready: Arc::downgrade(self),
        })
    }

    /// Moves the keys that are ready to the end of `keys`.
    pub fn take(&self, keys: &mut VecDeque<(K, Arc<KeyWaker<K>>)>) {
        keys.extend(self.inner().keys.drain(..));
    }

    /// Sets the waker of the future, to be woken by the next key. `false` if a key is ready now: then it is not woken.
    pub fn sleep(&self, root: &Waker) -> bool {
        let mut inner = self.inner();
        match &inner.root {
            Some(current) if current.will_wake(root) => {}
            _ => inner.root = Some(root.clone()),
        }
        inner.keys.is_empty()
    }

    fn inner(&self) -> MutexGuard<'_, Inner<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy> KeyWaker<K> {
    /// The key of its event source.
    #[must_use]
    pub const fn key(&self) -> K {
        self.key
    }
}

impl<K> KeyWaker<K> {
    /// Allows the key to be queued again. Call it before polling the event source.
    pub fn rearm(&self) {
        // Not a plain store: the poll that follows must see what was made ready before a wake that found the key queued.
        self.queued.swap(false, Ordering::AcqRel);
    }
}

impl<K: Copy + Send + Sync + 'static> Wake for KeyWaker<K> {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(ready) = self.ready.upgrade() else {
            return;
        };
        let mut inner = ready.inner();
        inner.keys.push((self.key, Arc::clone(self)));
        let root = inner.root.take();
        drop(inner);
        if let Some(root) = root {
            root.wake();
        }
    }
}

/// Every interleaving of the turns of a future with threads that wake it. `.ci/loom` runs these.
#[cfg(all(test, echosphere_loom))]
mod tests {
    use std::future::poll_fn;
    use std::task::{Context, Poll};

    use loom::future::block_on;
    use loom::sync::Arc as LoomArc;
    use loom::thread;

    use super::*;

    /// Takes turns, as a driver does, until all flags are seen set.
    fn see_all(ready: &Arc<Ready<usize>>, flags: &[LoomArc<AtomicBool>]) {
        let (mut keys, mut seen) = (VecDeque::new(), vec![false; flags.len()]);
        block_on(poll_fn(|cx: &mut Context<'_>| {
            ready.take(&mut keys);
            // One key per turn: the others wait for the next.
            if let Some((key, waker)) = keys.pop_front() {
                let waker: Arc<KeyWaker<usize>> = waker;
                waker.rearm();
                seen[key] |= flags[key].load(Ordering::Relaxed);
            }
            if seen.iter().all(|seen| *seen) {
                return Poll::Ready(());
            }
            if !ready.sleep(cx.waker()) || !keys.is_empty() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        }));
    }

    /// Checks every order with up to three preemptions: known faults need no more, and more would take too long.
    fn model(run: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(run);
    }

    #[test]
    fn a_wake_during_the_end_of_a_turn_is_not_lost() {
        model(|| {
            let ready = Arc::new(Ready::default());
            let flags: Vec<LoomArc<AtomicBool>> = (0..2).map(|_| LoomArc::new(AtomicBool::new(false))).collect();
            let others: Vec<_> = (0..2)
                .map(|key| {
                    let (waker, flag) = (ready.waker(key), LoomArc::clone(&flags[key]));
                    thread::spawn(move || {
                        flag.store(true, Ordering::Relaxed);
                        waker.wake();
                    })
                })
                .collect();
            see_all(&ready, &flags);
            others
                .into_iter()
                .for_each(|other| other.join().expect("it does not panic"));
        });
    }

    #[test]
    fn a_second_wake_while_the_first_is_handled_is_not_lost() {
        model(|| {
            let ready = Arc::new(Ready::default());
            let (waker, count) = (ready.waker(0), LoomArc::new(loom::sync::atomic::AtomicUsize::new(0)));
            let other = {
                let (waker, count) = (Arc::clone(&waker), LoomArc::clone(&count));
                thread::spawn(move || {
                    for _ in 0..2 {
                        count.fetch_add(1, Ordering::Relaxed);
                        waker.wake_by_ref();
                    }
                })
            };
            let mut keys = VecDeque::new();
            block_on(poll_fn(|cx: &mut Context<'_>| {
                ready.take(&mut keys);
                let mut last = 0;
                while let Some((_, waker)) = keys.pop_front() {
                    let waker: Arc<KeyWaker<usize>> = waker;
                    waker.rearm();
                    last = count.load(Ordering::Relaxed);
                }
                if last == 2 {
                    return Poll::Ready(());
                }
                if !ready.sleep(cx.waker()) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }));
            other.join().expect("it does not panic");
        });
    }
}
