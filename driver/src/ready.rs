//! Which of the many things one future waits for has woken it.

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

/// The keys that woke a future since its last turn, each once, and the future's own waker.
#[derive(Debug)]
pub struct Ready<K>(Mutex<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    keys: Vec<(K, Arc<KeyWaker<K>>)>,
    root: Option<Waker>,
}

/// Puts its key on the ready list, and wakes the future at most once a turn.
#[derive(Debug)]
pub struct KeyWaker<K> {
    key: K,
    queued: AtomicBool,
    /// Weak, since the ready list holds wakers.
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
    /// A waker for what `key` stands for.
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

    /// Says whom to wake when the next key is ready. `false` if one is ready now.
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
    /// What it is for.
    #[must_use]
    pub const fn key(&self) -> K {
        self.key
    }
}

impl<K> KeyWaker<K> {
    /// Allows the key to be queued again; to be called before polling what it stands for.
    pub fn rearm(&self) {
        // Not a mere store: whoever found it queued has made ready before what the poll after this must see.
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

/// Every interleaving of a future's turns with those that wake it: `.ci/loom` runs these.
#[cfg(all(test, echosphere_loom))]
mod tests {
    use std::future::poll_fn;
    use std::task::{Context, Poll};

    use loom::future::block_on;
    use loom::sync::Arc as LoomArc;
    use loom::thread;

    use super::*;

    /// Takes turns, as a driver does, until everything that `ready` stands for has been seen.
    fn see_all(ready: &Arc<Ready<usize>>, flags: &[LoomArc<AtomicBool>]) {
        let (mut keys, mut seen) = (VecDeque::new(), vec![false; flags.len()]);
        block_on(poll_fn(|cx: &mut Context<'_>| {
            ready.take(&mut keys);
            // One a turn: what is left over waits for the next.
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

    /// With up to three preemptions: those that faults need, and few enough to go through.
    fn model(run: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(run);
    }

    #[test]
    fn who_wakes_while_a_turn_ends_is_heard() {
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
    fn a_second_wake_is_heard_though_the_first_is_being_looked_at() {
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
