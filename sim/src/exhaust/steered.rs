//! A server whose random choices are decisions.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;

use echosphere_core::echo::{Message, Server, ServerConfig};
use echosphere_core::{Action, Actions, Event, Machine, Time};
use rand_chacha::rand_core::TryRng;

use super::Search;

/// A generator of numbers that make the server's `below(n)` any of its results.
#[derive(Debug)]
pub(super) struct Steered {
    search: Rc<RefCell<Search>>,
    /// n.
    live: Rc<Cell<u32>>,
}

impl TryRng for Steered {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let n = u64::from(self.live.get().max(1));
        let choice = self.search.borrow_mut().draw(n as usize) as u64;
        // Multiplied by n this is `choice` and a small fraction, but not so small that the draw is rejected.
        Ok(((choice << 32) / n + 2) as u32)
    }

    /// Only for the keys of the server's hashes.
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(0);
        Ok(())
    }
}

/// Sees what the server does.
pub(super) type Observer =
    Box<dyn FnMut(&Server<Steered>, &Event<Message, Infallible>, &[Action<Message, Infallible>])>;

/// A server with that generator, which it tells among how many it will choose.
pub(super) struct SteeredServer {
    server: Server<Steered>,
    observer: Observer,
    live: Rc<Cell<u32>>,
}

impl SteeredServer {
    pub(super) fn new(search: Rc<RefCell<Search>>, observer: Observer) -> Self {
        let live = Rc::new(Cell::new(0));
        let random = Steered {
            search,
            live: Rc::clone(&live),
        };
        Self {
            server: Server::new(ServerConfig::default(), random),
            observer,
            live,
        }
    }
}

impl Machine for SteeredServer {
    type Message = Message;
    type Command = Infallible;
    type Notice = Infallible;

    fn handle(&mut self, now: Time, event: Event<Message, Infallible>, actions: &mut Actions<Message, Infallible>) {
        let gone = match event {
            Event::Closed(id, _) => Some(id),
            _ => None,
        };
        let live = self.server.connections().filter(|id| Some(*id) != gone).count();
        self.live.set(live as u32);
        let before = actions.as_slice().len();
        let seen = event.clone();
        self.server.handle(now, event, actions);
        (self.observer)(&self.server, &seen, &actions.as_slice()[before..]);
    }

    fn next_deadline(&self) -> Option<Time> {
        self.server.next_deadline()
    }

    fn is_zero(&self) -> bool {
        self.server.is_zero()
    }
}
