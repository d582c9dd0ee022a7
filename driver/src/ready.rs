//! Which of the many things one future waits for has woken it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};

/// What a driver waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Listener,
    Timer,
    Commands,
    /// The connection in this slot.
    Conn(u32),
    /// The attempt to connect with this index.
    Dial(u32),
}

/// The keys that woke the future since its last turn, each once, and the future's own waker.
#[derive(Debug, Default)]
pub(crate) struct Ready(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    keys: Vec<(Key, Arc<KeyWaker>)>,
    root: Option<Waker>,
}

/// Puts its key on the ready list, and wakes the future at most once a turn.
#[derive(Debug)]
pub(crate) struct KeyWaker {
    key: Key,
    queued: AtomicBool,
    /// Weak, since the ready list holds wakers.
    ready: Weak<Ready>,
}

impl Ready {
    pub(crate) fn waker(self: &Arc<Self>, key: Key) -> Arc<KeyWaker> {
        Arc::new(KeyWaker {
            key,
            queued: AtomicBool::new(false),
            ready: Arc::downgrade(self),
        })
    }

    /// Moves the keys that are ready to the end of `keys`.
    pub(crate) fn take(&self, keys: &mut VecDeque<(Key, Arc<KeyWaker>)>) {
        keys.extend(self.inner().keys.drain(..));
    }

    /// Says whom to wake when the next key is ready. `false` if one is ready now.
    pub(crate) fn sleep(&self, root: &Waker) -> bool {
        let mut inner = self.inner();
        match &inner.root {
            Some(current) if current.will_wake(root) => {}
            _ => inner.root = Some(root.clone()),
        }
        inner.keys.is_empty()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyWaker {
    /// Allows the key to be queued again; to be called before polling what it stands for.
    pub(crate) fn rearm(&self) {
        // Not a mere store: whoever found it queued has made ready before what the poll after this must see.
        self.queued.swap(false, Ordering::AcqRel);
    }
}

impl Wake for KeyWaker {
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
