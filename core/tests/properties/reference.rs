//! The rules of an echo server in the simplest form: one list of flights, searched linearly. Checks the server's
//! actions for each event, and panics if they break a rule.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Debug;

use bytes::Bytes;
use echosphere_core::echo::{Message, Server, ServerConfig, ServerCounters};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, CloseReason, ConnId, Event, Machine};
use rand_chacha::ChaCha8Rng;

type Out = Action<Message, Infallible>;

pub(crate) struct Reference {
    config: ServerConfig,
    live: BTreeMap<ConnId, Conn>,
    flights: Vec<Flight>,
    draining: bool,
    counters: ServerCounters,
}

struct Conn {
    text: bool,
    late: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    x: Bytes,
    originator: Option<ConnId>,
    holder: Option<ConnId>,
}

impl Reference {
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self {
            config,
            live: BTreeMap::new(),
            flights: Vec::new(),
            draining: false,
            counters: ServerCounters::default(),
        }
    }

    pub(crate) fn is_slot_taken(&self, slot: u32) -> bool {
        self.live.keys().any(|id| id.slot == slot)
    }

    /// Checks the server's actions for an event.
    pub(crate) fn check(&mut self, event: &Event<Message, Infallible>, actions: &[Out]) {
        let expected = match event {
            Event::Opened(id, opened) => self.opened(*id, opened.text),
            Event::Received(id, message) if self.live.contains_key(id) => self.received(*id, message),
            Event::Received(_, Message::Error(..)) => {
                self.counters.errors_received += 1;
                Vec::new()
            }
            Event::Closed(id, _) => self.closed(*id),
            Event::Drain => {
                self.draining = true;
                Vec::new()
            }
            _ => Vec::new(),
        };

        let mut told = Vec::new();
        for action in actions {
            match action {
                Action::Send(to, Message::Message(x)) => {
                    assert!(self.can_be_sent(*to, x), "{to:?} cannot be sent {x:?}");
                    let unheld = |flight: &&mut Flight| flight.holder.is_none() && flight.x == x;
                    self.flights.iter_mut().find(unheld).unwrap().holder = Some(*to);
                }
                Action::Send(to, _) => {
                    assert!(self.live.contains_key(to), "{to:?} is not live");
                    told.push(match action {
                        Action::Send(_, Message::Error(code, _)) => Action::Send(*to, error(*code)),
                        _ => action.clone(),
                    });
                }
                Action::Close(id, reason) => {
                    assert_eq!(*reason, CloseReason::ShuttingDown);
                    assert!(self.draining && self.is_idle(*id), "{id:?} has something to wait for");
                    assert!(self.live.remove(id).is_some());
                }
                other => panic!("a server does not do {other:?}"),
            }
        }
        assert_eq!(sorted(told), sorted(expected));
        assert!(
            self.flights.iter().all(|flight| flight.holder.is_some()),
            "not forwarded"
        );
        let idle = self.live.keys().find(|&&id| self.draining && self.is_idle(id));
        assert_eq!(idle, None, "left open though it has nothing to wait for");
        if let (Event::Received(from, Message::Message(_)), [Action::Send(holder, Message::Message(_))]) =
            (event, actions)
        {
            self.counters.forwards_to_self += u64::from(from == holder);
        }
    }

    /// Compares the server's flights with these.
    pub(crate) fn compare(&self, server: &Server<ChaCha8Rng>) {
        server.audit().unwrap();
        let live: Vec<ConnId> = self.live.keys().copied().collect();
        assert_eq!(sorted(server.connections().collect()), sorted(live));
        let flights = server.flights().map(|flight| Flight {
            x: Bytes::copy_from_slice(flight.x),
            originator: flight.originator,
            holder: Some(flight.holder),
        });
        assert_eq!(sorted(flights.collect()), sorted(self.flights.clone()));
        assert_eq!(*server.counters(), self.counters);
        assert_eq!(server.is_zero(), self.live.is_empty());
    }

    fn opened(&mut self, id: ConnId, text: bool) -> Vec<Out> {
        if !self.is_slot_taken(id.slot) {
            self.live.insert(id, Conn { text, late: 0 });
            self.counters.opened += 1;
            self.counters.peak_connections = self.counters.peak_connections.max(self.live.len() as u64);
        }
        Vec::new()
    }

    fn received(&mut self, from: ConnId, message: &Message) -> Vec<Out> {
        match message {
            Message::Message(x) => self.message(from, x),
            Message::Ok(x) => self.ok(from, x),
            Message::Error(..) => {
                self.counters.errors_received += 1;
                Vec::new()
            }
        }
    }

    fn message(&mut self, from: ConnId, x: &Bytes) -> Vec<Out> {
        if let Some(code) = self.refusal(from, x) {
            self.counters.messages_refused += 1;
            return vec![Action::Send(from, error(code))];
        }
        self.counters.messages += 1;
        self.counters.forwards += 1;
        self.flights.push(Flight {
            x: x.clone(),
            originator: Some(from),
            holder: None,
        });
        Vec::new()
    }

    fn refusal(&self, from: ConnId, x: &Bytes) -> Option<ErrorCode> {
        let own: Vec<&Flight> = self.flights.iter().filter(|it| it.originator == Some(from)).collect();
        let own_bytes: usize = own.iter().map(|flight| flight.x.len()).sum();
        let bytes: usize = self.flights.iter().map(|flight| flight.x.len()).sum();
        if !self.can_be_sent(from, x) {
            Some(ErrorCode::UnknownRequest)
        } else if self.draining {
            Some(ErrorCode::ShuttingDown)
        } else if own.len() >= self.config.max_waiting || own_bytes + x.len() > self.config.max_waiting_bytes {
            Some(ErrorCode::TooManyWaiting)
        } else if self.flights.len() >= self.config.max_flights || bytes + x.len() > self.config.max_bytes {
            Some(ErrorCode::Busy)
        } else {
            None
        }
    }

    fn ok(&mut self, from: ConnId, x: &Bytes) -> Vec<Out> {
        let holds = |flight: &Flight| flight.x == *x && flight.holder == Some(from);
        if self.flights.iter().any(holds) {
            self.counters.oks += 1;
            let ended = self.end(x);
            // One late answer has arrived.
            self.live.get_mut(&from).unwrap().late -= 1;
            let waiting = ended.iter().filter_map(|flight| flight.originator);
            let oks: Vec<Out> = waiting.map(|id| Action::Send(id, Message::Ok(x.clone()))).collect();
            self.counters.oks_forwarded += oks.len() as u64;
            return oks;
        }
        let conn = self.live.get_mut(&from).unwrap();
        if conn.late > 0 {
            conn.late -= 1;
            self.counters.oks_late += 1;
            Vec::new()
        } else {
            self.counters.oks_unexpected += 1;
            vec![Action::Send(from, error(ErrorCode::NotHeld))]
        }
    }

    fn closed(&mut self, id: ConnId) -> Vec<Out> {
        if self.live.remove(&id).is_none() {
            return Vec::new();
        }
        for flight in &mut self.flights {
            if flight.originator == Some(id) {
                flight.originator = None;
                self.counters.abandoned += 1;
            }
        }
        for flight in self.flights.clone() {
            let same_x = |other: &Flight| other.x == flight.x;
            if !self
                .flights
                .iter()
                .any(|other| same_x(other) && other.originator.is_some())
            {
                self.end(&flight.x);
            }
        }
        let held = |flight: &Flight| flight.holder == Some(id);
        self.flights
            .retain(|flight| !held(flight) || flight.originator.is_some());
        // The end of the list: the flights of each holder stay in the order in which they were sent.
        let unheld: Vec<Flight> = self.flights.extract_if(.., |flight| held(flight)).collect();
        self.counters.reforwards += unheld.len() as u64;
        self.flights
            .extend(unheld.into_iter().map(|flight| Flight { holder: None, ..flight }));
        Vec::new()
    }

    /// Removes all flights of `x`. Each holder may still send a late answer.
    fn end(&mut self, x: &Bytes) -> Vec<Flight> {
        let ended: Vec<Flight> = self.flights.extract_if(.., |flight| flight.x == *x).collect();
        for flight in &ended {
            if let Some(conn) = self.live.get_mut(&flight.holder.unwrap()) {
                conn.late += 1;
            }
        }
        ended
    }

    fn is_idle(&self, id: ConnId) -> bool {
        let concerns = |flight: &Flight| flight.originator == Some(id) || flight.holder == Some(id);
        !self.flights.iter().any(concerns)
    }

    fn can_be_sent(&self, id: ConnId, x: &[u8]) -> bool {
        let fits_in_a_line = !x.contains(&b'\n') && !x.ends_with(b"\r");
        self.live.get(&id).is_some_and(|conn| !conn.text || fits_in_a_line)
    }
}

/// An error; texts are not compared.
fn error(code: ErrorCode) -> Message {
    Message::Error(code, Bytes::new())
}

fn sorted<T: Debug>(items: Vec<T>) -> Vec<String> {
    let mut items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    items.sort();
    items
}
