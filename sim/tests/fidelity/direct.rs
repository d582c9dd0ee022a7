//! The cases on modelled streams with several seeds; all different results are listed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::echo::{Command, Message, Notice};
use rand_chacha::ChaCha8Rng;
use sim::direct::{self, Fault, Options, Rates, run_direct};
use sim::marks::Marks;
use sim::observe::{ActionOf, EventOf};
use sim::oracle::{Carried, Oracle, System};
use sim::scenario::RESPONSE_TIMEOUT;

use crate::cases::{Blow, Case};
use crate::log::{Outcome, SharedLog};
use crate::player::{self, Do, Player, Server, Speech};

const SEEDS: u64 = 8;
/// When the client connects.
const COMMAND: Duration = Duration::from_millis(100);
/// When the event in between happens, long after everything sent has arrived.
const BLOW: Duration = Duration::from_millis(500);
/// Longer than any time-out.
const SAFETY: Duration = Duration::from_secs(8);

pub(crate) fn play(case: &Case) -> Option<Outcome> {
    let said: Vec<Outcome> = (0..SEEDS).map(|seed| play_seed(case, seed)).collect();
    let either = |side: fn(&Outcome) -> &str| {
        let different: BTreeSet<&str> = said.iter().map(side).collect();
        different.into_iter().collect::<Vec<_>>().join(" — or: ")
    };
    Some(Outcome {
        server: either(|said| &said.server),
        client: either(|said| &said.client),
    })
}

fn play_seed(case: &Case, seed: u64) -> Outcome {
    let log = SharedLog::default();
    let fault = match case.blow {
        Blow::None => None,
        Blow::ClientDies => Some((BLOW, Fault::ClientCrash(0, SAFETY))),
        Blow::ClientResets => Some((BLOW, Fault::Reset(0, 1.0))),
        Blow::ServerDies => Some((BLOW, Fault::ServerCrash(SAFETY))),
        Blow::NoListener => Some((Duration::ZERO, Fault::ServerCrash(SAFETY))),
        Blow::NoAnswer => Some((Duration::ZERO, Fault::ServerPowerLoss(SAFETY))),
    };
    let plan = direct::Case {
        // A window of another size than that of a calm run: here, connections may end as they like.
        rates: Rates {
            window: 100_000,
            ..Rates::SOUND
        },
        safety: SAFETY,
        faults: fault.into_iter().collect(),
        ..direct::Case::calm(seed, 1)
    };
    let pair = Pair {
        script: case.script,
        x: case.x,
        log: Arc::clone(&log),
    };
    let outcome = run_direct(&plan, &pair, Options::default());
    outcome
        .result
        .unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
    log.lock().unwrap().said()
}

/// The two machines of a case as a system without a model.
struct Pair {
    script: Option<&'static [Do]>,
    x: usize,
    log: SharedLog,
}

struct Listener {
    raw: bool,
    x: usize,
    lives: u32,
    log: SharedLog,
}

impl System for Pair {
    type Server = Server;
    type Client = Player;
    type Codec = Speech;
    type Oracle = Listener;

    fn server(&self, _: ChaCha8Rng) -> (Server, Speech) {
        player::server()
    }

    fn client(&self, _: usize, _: ChaCha8Rng) -> (Player, Speech) {
        player::client(self.script, RESPONSE_TIMEOUT)
    }

    /// A script sends bytes, and its peer receives messages: they are not compared.
    fn size(message: &Message) -> (usize, Carried) {
        let (Message::Message(bytes) | Message::Ok(bytes) | Message::Error(_, bytes)) = message;
        (bytes.len() + 64, Carried::ByConnections)
    }

    fn oracle(&self, _: bool, _: &Marks) -> Listener {
        // A failed run is run again.
        *self.log.lock().unwrap() = Default::default();
        Listener {
            raw: self.script.is_some(),
            x: self.x,
            lives: 0,
            log: Arc::clone(&self.log),
        }
    }

    fn is_roomy(&self) -> bool {
        true
    }
}

impl Oracle<Pair> for Listener {
    fn server_starts(&mut self) {}

    fn client_starts(&mut self, _: usize) -> Vec<(Duration, Command)> {
        self.lives += 1;
        let x = Bytes::from(vec![b'x'; self.x]);
        let plan = (self.lives == 1).then_some((COMMAND, Command::Send { key: 1, x }));
        plan.into_iter().collect()
    }

    fn server_did(&mut self, _: &Server, event: &EventOf<Server>, actions: &[ActionOf<Server>]) -> Result<(), String> {
        self.log.lock().unwrap().server(event, actions);
        Ok(())
    }

    fn client_did(
        &mut self,
        _: usize,
        _: &Player,
        event: &EventOf<Player>,
        actions: &[ActionOf<Player>],
    ) -> Result<(), String> {
        self.log.lock().unwrap().client(event, actions, self.raw);
        Ok(())
    }

    fn client_told(&mut self, _: usize, _: &Notice) -> Result<(), String> {
        Ok(())
    }

    fn unfinished(&self) -> Option<String> {
        None
    }

    fn ends(&self) -> Result<(), String> {
        Ok(())
    }
}
