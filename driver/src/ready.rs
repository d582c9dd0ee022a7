//! Which of the many things one future waits for has woken it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};

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
