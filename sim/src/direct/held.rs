//! What a server holds at the end of a run, or in the middle of one, for tests that count memory.

use std::any::Any;
use std::rc::Rc;
use std::time::Duration;

use super::case::nanos;
use super::{Case, Options, World};
use crate::marks::Marks;
use crate::oracle::System;
use crate::panics::caught;
use crate::run::Failure;
use crate::trace::Lines;

/// A server after everything else in its run was dropped.
pub struct Held {
    /// Its endpoint, with its machine and its connections. Dropping it frees their memory.
    pub endpoint: Box<dyn Any>,
    /// How many connections it has, and the most that it had at once.
    pub connections: (usize, usize),
    /// What the observers of the machine share with it, and is none of its own memory.
    _observers: Box<dyn Any>,
}

/// Runs `case` to its end or, once its faults have ended, up to `stop`, and keeps the server alone.
///
/// # Errors
///
/// The first rule that was broken.
pub fn server_after<S: System>(case: &Case, system: &S, stop: Option<Duration>) -> Result<Held, Failure> {
    let plain = (Lines::None, None);
    let mut world = World::new(case, system, Options::default(), plain, Marks::default());
    world.stop = stop.map(nanos);
    let result = caught(|| world.through());
    let at = Duration::from_nanos(world.net.now);
    let World { watch, server, .. } = world;
    result.map_err(|rule| Failure::new(case.seed, rule, at, &watch.borrow().trace))?;
    {
        // The model is as large as the run, and its clients' bodies are shared with the server.
        let watch = &mut *watch.borrow_mut();
        watch.oracle = system.oracle(false, &Marks::default());
        watch.history = None;
    }
    let (endpoint, view, connections) = server.into_endpoint();
    Ok(Held {
        endpoint,
        connections,
        _observers: Box::new((Rc::clone(&watch), view)),
    })
}
