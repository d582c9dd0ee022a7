//! How many passes there are before a deadline is judged.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use echosphere_driver::ready::{KeyWaker, Ready};
use echosphere_driver::settle::{Pass, Reactor, Settle, Settling};
use echosphere_driver::{Gone, OtherProtocol};
use tokio::time::Instant;

/// Makes passes that are over at once, and counts them.
#[derive(Default)]
struct Passes {
    begun: AtomicUsize,
    /// How many passes reach every stream.
    enough: usize,
    /// The number of the pass that finds more than the streams have room for.
    without_room: Option<usize>,
}

impl Settle for Passes {
    fn pass(&self) -> Pass {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        Box::pin(ready(Some(number) != self.without_room))
    }

    fn passes(&self, _connections: usize) -> usize {
        self.enough
    }
}

/// How many passes are made if `saw` says what the owner sees in each: nothing, or something with or without a rest.
fn passes(settle: Passes, rounds: usize, saw: impl Fn(usize) -> Option<bool>) -> usize {
    let (ready, mut keys) = (Arc::new(Ready::default()), VecDeque::new());
    let wakers: [Arc<KeyWaker<&str>>; 2] = [ready.waker("over"), ready.waker("marker")];
    let passes = Arc::new(settle);
    let settle: Arc<dyn Settle> = passes.clone();
    let mut settling = Settling::begin(&settle, 1, rounds, (&wakers[0], &wakers[1]), &ready, &mut keys);
    loop {
        let (key, _) = keys.pop_front().unwrap();
        assert_eq!(key, "marker");
        let begun = passes.begun.load(Ordering::Relaxed);
        if let Some(left_over) = saw(begun) {
            settling.saw(left_over);
        }
        if settling.passed(&ready, &mut keys) {
            return begun;
        }
    }
}

fn enough(enough: usize) -> Passes {
    Passes {
        enough,
        ..Passes::default()
    }
}

#[test]
fn a_pass_that_brings_nothing_is_the_last() {
    assert_eq!(passes(enough(5), 5, |_| None), 1);
    assert_eq!(passes(enough(5), 5, |pass| (pass < 3).then_some(false)), 3);
}

#[test]
fn news_has_as_many_passes_as_reach_every_stream() {
    for count in 1..5 {
        assert_eq!(passes(enough(count), 0, |_| Some(false)), count);
    }
    assert_eq!(passes(enough(0), 5, |_| Some(false)), 1);
}

#[test]
fn what_is_left_over_has_as_many_more_passes_as_there_are_rounds() {
    for rounds in 0..5 {
        assert_eq!(passes(enough(1), rounds, |_| Some(true)), 1 + rounds);
    }
    assert_eq!(passes(enough(1), 5, |pass| Some(pass < 3)), 3);
    let without_room = Passes {
        without_room: Some(1),
        ..enough(1)
    };
    assert_eq!(passes(without_room, 5, |_| None), 2);
}

#[test]
fn a_rest_that_a_later_reader_does_not_have_is_still_left_over() {
    let (ready, mut keys) = (Arc::new(Ready::default()), VecDeque::new());
    let wakers: [Arc<KeyWaker<u8>>; 2] = [ready.waker(0), ready.waker(1)];
    let settle: Arc<dyn Settle> = Arc::new(enough(1));
    let mut settling = Settling::begin(&settle, 1, 1, (&wakers[0], &wakers[1]), &ready, &mut keys);
    settling.saw(true);
    settling.saw(false);
    assert!(!settling.passed(&ready, &mut keys));
    assert!(settling.passed(&ready, &mut keys));
}

#[tokio::test(start_paused = true)]
async fn a_pass_of_the_reactor_takes_no_time_in_a_runtime_of_one_thread() {
    let begun = Instant::now();
    assert!(Reactor::default().pass().await);
    assert_eq!(begun.elapsed().as_nanos(), 0);
}

#[test]
fn a_reactor_that_reports_few_sockets_has_many_passes() {
    let counts = |events| [0, 1, 2, 5].map(|connections| Reactor::reporting(events).passes(connections));
    assert_eq!(counts(2), [1, 1, 2, 3]);
    assert_eq!(counts(0), [1, 2, 3, 6]);
}

#[test]
fn errors_say_what_is_wrong() {
    assert_eq!(Gone.to_string(), "the driver has ended");
    assert_eq!(OtherProtocol(None).to_string(), "the server speaks another protocol");
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(Mutex<usize>);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}

#[test]
fn a_future_that_moves_to_another_task_is_woken_there() {
    let ready = Arc::new(Ready::default());
    let key = ready.waker(());
    let tasks = [Arc::new(Count::default()), Arc::new(Count::default())];
    for task in &tasks {
        assert!(ready.sleep(&Waker::from(Arc::clone(task))));
    }
    key.wake();
    assert_eq!(tasks.map(|task| *task.0.lock().unwrap()), [0, 1]);
}
