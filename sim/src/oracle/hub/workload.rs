//! The workload of the hub: sessions and requests.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::hub::{ClientConfig, MAX_RECEIVERS, Request, UserIds};
use echosphere_core::random::Backoff;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Hub;
use super::planned::Planned;
use crate::dice::{Dice, Purpose};
use crate::oracle::silence::{self, SILENCE};
use crate::oracle::{Workload, connections, partial};
use crate::scenario::{BACKOFF_MAX, RESPONSE_TIMEOUT, Scenario};

/// More than a driver reads from one connection in one turn.
pub(super) const LARGE: usize = 256 * 1024;
/// Longer bodies are not made text.
const SHORT: usize = 100;
/// One seed in this number has far more users than the others.
const CROWDED: usize = 400;
/// What a user may take to connect in these runs, all pauses and time-outs on the way included.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(4000);
/// What one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

impl Hub {
    /// Users with the time-outs of these runs.
    #[must_use]
    pub const fn new(planned: Vec<Planned>) -> Self {
        Self {
            client: ClientConfig {
                response_timeout: RESPONSE_TIMEOUT,
                connect_timeout: CONNECT_TIMEOUT,
                attempt_timeout: ATTEMPT_TIMEOUT,
                retry_refused: true,
                reconnect: false,
                backoff: Backoff {
                    first: Duration::from_millis(50),
                    max: BACKOFF_MAX,
                },
            },
            planned,
            max_backlog: None,
            max_partial_bytes: None,
            max_connections: None,
            silence: Duration::ZERO,
            lines: Vec::new(),
            come_back: Vec::new(),
            meek: Vec::new(),
        }
    }

    /// The workload of the scenario's seed.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        Self::draw(scenario.seed, scenario.hosts, scenario.safety, None)
    }
}

impl Workload for Hub {
    const NAME: &'static str = "hub";

    fn draw(seed: u64, hosts: usize, window: Duration, clients: Option<usize>) -> Self {
        let mut dice = Dice::new(seed, Purpose::Workload);
        if clients.is_none() && dice.below(CROWDED) == 0 {
            return Self::crowded(&mut dice, hosts, window);
        }
        let users = clients.unwrap_or_else(|| match dice.below(6) {
            0 => dice.among(1, 2),
            1..5 => dice.among(2, 10),
            _ => dice.among(10, 40),
        });
        let busy = dice.among(1, 12);
        let mut planned = Vec::new();
        for session in 0..users as u64 {
            let host = dice.below(hosts);
            let (one, other) = (window.mul_f64(dice.unit()), window.mul_f64(1.3 * dice.unit()));
            let (at, leaves) = (one.min(other), one.max(other));
            planned.push(Planned::Session {
                host,
                session,
                at,
                leaves,
            });
            // Most while the session lasts, some too late; many at once, or one by one.
            let stretch = if dice.chance(0.3) { 0.0 } else { 1.1 };
            for _ in 0..dice.below(busy + 1) {
                let at = at + (leaves - at).mul_f64(stretch * dice.unit());
                let request = draw_request(&mut dice, users);
                planned.push(Planned::Ask {
                    host,
                    session,
                    at,
                    request,
                });
            }
        }
        let mut hub = Self::new(planned);
        // A session's number is its place, so that both can be looked up by it.
        hub.number();
        hub.max_backlog = dice.chance(0.2).then(|| dice.among(1000, 70_000));
        hub.lines = (0..hosts).filter(|_| dice.chance(0.2)).collect();
        hub.come_back = (0..hosts).filter(|_| dice.chance(0.4)).collect();
        hub.meek = (0..hosts).filter(|_| dice.chance(0.15)).collect();
        hub.mind_lines();
        // A refused user may be refused again and again: users do not retry.
        hub.max_partial_bytes = partial::draw(seed, partial::rounded(hub.longest()) / 8);
        hub.max_connections = connections::draw(seed, clients);
        hub
    }

    fn draw_silent(seed: u64, hosts: usize, window: Duration) -> Self {
        let mut dice = Dice::new(seed, Purpose::Workload);
        let mut planned = Vec::new();
        for session in 0..3 {
            let (host, at) = (dice.below(hosts), window.mul_f64(0.5 * dice.unit()));
            planned.push(Planned::Session {
                host,
                session,
                at,
                leaves: at + SILENCE + window,
            });
            let to: UserIds = (1..=3).collect();
            let len = dice.among(1, silence::LONGEST);
            let body = Bytes::from(dice.bytes(len));
            for at in [at, window + SILENCE] {
                let request = Request::Relay {
                    to: to.clone(),
                    body: body.clone(),
                };
                planned.push(Planned::Ask {
                    host,
                    session,
                    at,
                    request,
                });
            }
        }
        let mut hub = Self::new(planned);
        hub.number();
        hub.come_back = (0..hosts).filter(|_| dice.chance(0.5)).collect();
        hub.silence = SILENCE + 2 * window;
        hub
    }

    fn len(&self) -> usize {
        self.planned.len()
    }

    fn most_host(&self) -> usize {
        self.planned.iter().map(Planned::host).max().unwrap_or_default()
    }

    fn keep(&self, keep: &dyn Fn(usize) -> bool) -> Self {
        let kept = self.planned.iter().enumerate().filter(|(at, _)| keep(*at));
        let mut hub = Self {
            planned: kept.map(|(_, planned)| planned.clone()).collect(),
            ..self.clone()
        };
        hub.number();
        hub
    }

    fn bodies(&mut self) -> Vec<&mut Bytes> {
        let bodies = self.planned.iter_mut().filter_map(|planned| match planned {
            Planned::Ask {
                request: Request::Echo(body) | Request::Relay { body, .. },
                ..
            } => Some(body),
            _ => None,
        });
        bodies.collect()
    }

    fn to_json(&self) -> Value {
        json!({
            "max_backlog": self.max_backlog,
            "max_partial_bytes": self.max_partial_bytes,
            "max_connections": self.max_connections,
            "silence": self.silence,
            "lines": self.lines,
            "come_back": self.come_back,
            "meek": self.meek,
            "planned": self.planned,
        })
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WrittenWorkload {
            #[serde(default)]
            max_backlog: Option<usize>,
            #[serde(default)]
            max_partial_bytes: Option<usize>,
            #[serde(default)]
            max_connections: Option<usize>,
            #[serde(default)]
            silence: Duration,
            #[serde(default)]
            lines: Vec<usize>,
            #[serde(default)]
            come_back: Vec<usize>,
            #[serde(default)]
            meek: Vec<usize>,
            planned: Vec<Planned>,
        }
        let written_workload = WrittenWorkload::deserialize(value).map_err(|error| error.to_string())?;
        Ok(Self {
            max_backlog: written_workload.max_backlog,
            max_partial_bytes: written_workload.max_partial_bytes,
            max_connections: written_workload.max_connections,
            silence: written_workload.silence,
            lines: written_workload.lines,
            come_back: written_workload.come_back,
            meek: written_workload.meek,
            ..Self::new(written_workload.planned)
        })
    }
}

impl Hub {
    /// Many users at once, for a short time, of whom a few relay to as many as there may be.
    fn crowded(dice: &mut Dice, hosts: usize, window: Duration) -> Self {
        const STAY: Duration = Duration::from_millis(1000);
        let users = if dice.chance(0.25) {
            dice.among(130, 256)
        } else {
            dice.among(66, 130)
        };
        let begin = window.mul_f64(0.7 * dice.unit());
        let mut planned = Vec::new();
        for session in 0..users as u64 {
            let at = begin + dice.millis(0, 200);
            planned.push(Planned::Session {
                host: dice.below(hosts),
                session,
                at,
                leaves: at + STAY,
            });
        }
        for _ in 0..3 {
            let session = dice.below(users);
            let host = planned[session].host();
            // User ids are given in the order in which users connect, so each run relays to other users.
            let to: UserIds = (0..dice.among(65, MAX_RECEIVERS))
                .map(|place| 1 + (place % users) as u64)
                .collect();
            planned.push(Planned::Ask {
                host,
                session: session as u64,
                at: begin + dice.millis(400, 800),
                request: Request::Relay {
                    to,
                    body: dice.bytes(20).into(),
                },
            });
        }
        let mut hub = Self::new(planned);
        hub.number();
        hub.lines = (0..hosts).filter(|_| dice.chance(0.2)).collect();
        hub.mind_lines();
        hub
    }

    /// The bytes of the longest request, by length or typed.
    fn longest(&self) -> usize {
        /// What a request has beside its body and receivers, and an id and a comma in decimal.
        const WORDS: usize = 32;
        const ID: usize = 22;
        let sizes = self.planned.iter().map(|planned| match planned {
            Planned::Ask {
                request: Request::Relay { to, body },
                ..
            } => WORDS + to.len() * ID + body.len(),
            Planned::Ask {
                request: Request::Echo(body),
                ..
            } => WORDS + body.len(),
            Planned::Ask { .. } | Planned::Session { .. } => WORDS,
        });
        sizes.max().unwrap_or(WORDS)
    }

    /// Gives typing users echo bodies that a line can carry, and relay bodies that several lines can carry.
    fn mind_lines(&mut self) {
        for planned in &mut self.planned {
            if let Planned::Ask { host, request, .. } = planned
                && self.lines.contains(host)
            {
                match request {
                    Request::Echo(body) => {
                        let fits = |byte: &u8| if b"\r\n".contains(byte) { b' ' } else { *byte };
                        *body = body.iter().map(fits).collect();
                    }
                    Request::Relay { body, .. } if body.len() < SHORT => {
                        // Every other short body is text, some of it in paragraphs.
                        if let [first, ..] = body[..]
                            && first.is_multiple_of(2)
                        {
                            let text = |byte: &u8| b"ab \n"[usize::from(byte % 4)];
                            *body = body.iter().map(text).collect();
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Gives each session the number of its place in the plan. What asks of one that is not planned any more keeps a number
    /// that no session has.
    fn number(&mut self) {
        let mut places = std::collections::BTreeMap::new();
        for (place, planned) in (0..).zip(&mut self.planned) {
            match planned {
                Planned::Session { session, .. } => {
                    places.insert(*session, place);
                    *session = place;
                }
                Planned::Ask { session, .. } => *session = places.get(session).copied().unwrap_or(u64::MAX),
            }
        }
    }
}

/// User ids are given in order, so that most ids up to the number of users are taken.
fn draw_request(dice: &mut Dice, users: usize) -> Request {
    match dice.below(8) {
        0 => Request::Identity,
        1 => Request::List,
        2 => Request::Echo(draw_body(dice)),
        _ => {
            let count = match dice.below(80) {
                // Most of these are not taken.
                0 => dice.among(13, MAX_RECEIVERS),
                1..20 => dice.among(1, 12),
                _ => dice.among(1, 3),
            };
            let most = if count > 12 { users + 2 * count } else { users + 1 };
            let to: UserIds = (0..count).map(|_| dice.among(1, most) as u64).collect();
            let body = draw_body(dice);
            Request::Relay { to, body }
        }
    }
}

fn draw_body(dice: &mut Dice) -> Bytes {
    let len = match dice.below(12) {
        0 => 0,
        // About the size from which a body is shared and not copied, and that of a read.
        1 => dice.among(2000, 2100),
        2 | 3 => dice.among(65_500, 65_560),
        4 if dice.chance(0.7) => dice.among(LARGE + 1, LARGE + 100_000),
        _ => dice.among(1, 40),
    };
    dice.bytes(len).into()
}
