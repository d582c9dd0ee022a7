//! Draws the streams of a run from its seed.

use std::time::Duration;

use echosphere_core::numbers::{Mode, ServerConfig};

use super::Numbers;
use super::planned::{Ask, Name, Planned, REPEATING, Wanted};
use crate::dice::{Dice, Purpose};
use crate::oracle::silence::SILENCE;
use crate::oracle::{connections, partial};

/// How long a stream lasts at most, if nothing goes wrong.
const LONGEST: Duration = Duration::from_secs(3);
/// The same of one that several claim, who take it from each other at each number.
const CONTESTED: usize = 25;

/// Longer than a run has faults, all time-outs included: whatever happens to its connections, no session is lost.
pub(super) const PATIENT: Duration = Duration::from_secs(30);

/// Draws one run's streams.
struct Drawing {
    dice: Dice,
    hosts: usize,
    window: Duration,
    server: ServerConfig,
    /// The most numbers of one stream.
    most: usize,
    names: u64,
    /// Sessions that several claim, and how many numbers they have.
    shared: Vec<(Name, u16)>,
    planned: Vec<Planned>,
}

pub(super) fn draw(seed: u64, hosts: usize, window: Duration, clients: Option<usize>) -> Numbers {
    let mut dice = Dice::new(seed, Purpose::Workload);
    let period = dice.scaled(1.0, 50.0) as u64;
    let server = ServerConfig {
        mode: match dice.below(12) {
            0 => Mode::Stateless,
            1 => Mode::Stateful,
            _ => Mode::Both,
        },
        period: Duration::from_millis(period),
        session_ttl: match dice.below(8) {
            0 => PATIENT,
            _ => dice.millis(30, 1500),
        },
        unacknowledged_ttl: dice.millis(0, 1500),
        max_sessions: if dice.chance(0.25) { dice.among(1, 4) } else { 1000 },
    };
    let response_timeout = dice.millis(300, 1500);
    let give_up = if dice.chance(0.8) {
        Duration::from_secs(60)
    } else {
        dice.millis(400, 3000)
    };
    let max_backlog = dice.chance(0.3).then(|| dice.among(120, 600));
    let count = clients.unwrap_or_else(|| dice.among(1, 10));
    let mut drawing = Drawing {
        dice,
        hosts,
        window,
        most: (LONGEST.as_millis() as u64 / period).min(300) as usize,
        server: server.clone(),
        names: 0,
        shared: Vec::new(),
        planned: Vec::new(),
    };
    for _ in 0..count {
        drawing.one();
    }
    let lines = (0..hosts).filter(|_| drawing.dice.chance(0.2)).collect();
    let meek = (0..hosts).filter(|_| drawing.dice.chance(0.15)).collect();
    Numbers {
        max_backlog,
        // All requests are short.
        max_partial_bytes: partial::draw(seed, 0),
        max_connections: connections::draw(seed, clients),
        lines,
        meek,
        ..Numbers::new(drawing.planned, server, response_timeout, give_up)
    }
}

/// Streams whose next number comes more than an hour after the one before.
pub(super) fn draw_silent(seed: u64, hosts: usize, window: Duration) -> Numbers {
    let mut dice = Dice::new(seed, Purpose::Workload);
    let server = ServerConfig {
        mode: Mode::Both,
        period: SILENCE,
        session_ttl: PATIENT,
        unacknowledged_ttl: PATIENT,
        max_sessions: 1000,
    };
    let name = Name(dice.number(), 1);
    let wanted = [
        Wanted::Plain { n: 2, after: None },
        Wanted::Session {
            name,
            n: 1,
            after: None,
        },
    ];
    let planned = wanted.map(|want| Planned::Get {
        host: dice.below(hosts),
        at: window.mul_f64(dice.unit()),
        want,
    });
    Numbers::new(
        planned.into(),
        server,
        Duration::from_millis(1500),
        Duration::from_secs(60),
    )
}

impl Drawing {
    fn one(&mut self) {
        let at = self.window.mul_f64(self.dice.unit());
        match self.dice.below(16) {
            0..4 => {
                let after = self.dice.chance(0.3).then(|| self.dice.number() | 1);
                let n = self.count(self.most);
                self.get(at, Wanted::Plain { n, after });
            }
            4..8 => {
                let (name, n) = (self.name(), self.count(self.most));
                self.get(at, Wanted::Session { name, n, after: None });
            }
            8 | 9 => self.contest(at),
            10 | 11 => self.race(at),
            12 => self.repeat(at),
            13 => self.abandoned(at),
            _ => self.scripts(at),
        }
    }

    fn count(&mut self, most: usize) -> u16 {
        match self.dice.below(8) {
            0 => 1,
            _ => self.dice.among(1, most) as u16,
        }
    }

    /// A new uuid, though perhaps with the numbers of another.
    fn name(&mut self) -> Name {
        self.names += 1;
        let half = if self.dice.chance(0.1) { 7 } else { self.dice.number() };
        Name(half, self.names)
    }

    fn get(&mut self, at: Duration, want: Wanted) {
        let host = self.dice.below(self.hosts);
        self.planned.push(Planned::Get { host, at, want });
    }

    fn lasts(&self, n: u16) -> Duration {
        u32::from(n) * self.server.period
    }

    /// Several claim one session, from its begin or later, perhaps with another n.
    fn contest(&mut self, at: Duration) {
        let name = self.name();
        let n = self.count(CONTESTED.min(self.most));
        self.shared.push((name, n));
        self.get(at, Wanted::Session { name, n, after: None });
        for _ in 0..self.dice.among(1, 2) {
            let at = at + (self.lasts(n) + Duration::from_millis(300)).mul_f64(self.dice.unit());
            let after = self
                .dice
                .chance(0.7)
                .then(|| self.dice.among(1, usize::from(n) + 1) as u16);
            let n = if self.dice.chance(0.15) {
                self.count(CONTESTED)
            } else {
                n
            };
            self.get(at, Wanted::Session { name, n, after });
        }
    }

    /// A client resumes a session that was sent whole, about when it is discarded: if all that is sent takes the
    /// same time and nothing goes wrong, at that very moment. That is known of a client that has finished sending, for its
    /// session's time begins with the end.
    fn race(&mut self, at: Duration) {
        let name = self.name();
        let n = self.count(CONTESTED.min(self.most));
        self.shared.push((name, n));
        let mut over = at + self.lasts(n) + self.server.session_ttl;
        if self.dice.chance(0.7) {
            self.say(at, vec![(Duration::ZERO, Ask::StartSession(name, n))], Duration::ZERO);
            over += self.server.unacknowledged_ttl;
        } else {
            self.get(at, Wanted::Session { name, n, after: None });
        }
        let late = match self.dice.below(6) {
            0 => Duration::from_millis(1),
            1 => Duration::from_nanos(1),
            _ => Duration::ZERO,
        };
        self.get(
            over + late,
            Wanted::Session {
                name,
                n,
                after: Some(n),
            },
        );
    }

    /// A number occurs twice, and a client that received it once or twice resumes without a count.
    fn repeat(&mut self, at: Duration) {
        let (half, first, second) = REPEATING[self.dice.below(REPEATING.len())];
        self.names += 1;
        let name = Name(half, self.names);
        let n = second + self.dice.among(0, 5) as u16;
        self.shared.push((name, n));
        self.get(at, Wanted::Session { name, n, after: None });
        let later = self.dice.among(1, usize::from(n) + 5) as u16;
        let back = at + self.lasts(later);
        let after = Some(if self.dice.chance(0.5) { first } else { second });
        self.get(back, Wanted::Session { name, n, after });
    }

    /// A client begins a session and leaves; then another begins it again.
    fn abandoned(&mut self, at: Duration) {
        let (name, n) = (self.name(), self.count(CONTESTED.min(self.most)));
        self.shared.push((name, n));
        let stays = self.pause();
        self.say(at, vec![(Duration::ZERO, Ask::StartSession(name, n))], stays);
        let later = at + stays + self.dice.millis(0, 1200);
        self.get(later, Wanted::Session { name, n, after: None });
    }

    fn scripts(&mut self, at: Duration) {
        let own = (self.name(), self.count(self.most));
        let count = self.dice.among(1, 4);
        let mut script: Vec<_> = (0..count).map(|_| (self.pause(), self.ask(own))).collect();
        if self.dice.chance(0.3) {
            script.push((self.pause(), Ask::End));
        }
        let stays = if self.dice.chance(0.3) {
            self.dice.millis(0, 1500)
        } else {
            self.pause()
        };
        self.say(at, script, stays);
    }

    fn say(&mut self, at: Duration, script: Vec<(Duration, Ask)>, stays: Duration) {
        let host = self.dice.below(self.hosts);
        self.planned.push(Planned::Script {
            host,
            at,
            script,
            stays,
        });
    }

    fn pause(&mut self) -> Duration {
        match self.dice.below(3) {
            0 => Duration::ZERO,
            1 => self.server.period,
            _ => self.dice.millis(0, 150),
        }
    }

    fn ask(&mut self, own: (Name, u16)) -> Ask {
        let (name, n) = match self.shared.len() {
            0 => own,
            some if self.dice.chance(0.6) => self.shared[self.dice.below(some)],
            _ => own,
        };
        match self.dice.below(9) {
            0 | 1 => Ask::Start,
            2 => Ask::Continue(self.dice.number() | 1),
            3 | 4 => Ask::StartSession(name, n),
            5..8 => {
                let place = self.dice.among(0, usize::from(n)) as u16;
                let count = match self.dice.below(4) {
                    0 => None,
                    1 => Some(self.dice.among(0, usize::from(n) + 1) as u16),
                    _ => Some(place),
                };
                Ask::ContinueSession(name, place, count)
            }
            _ => Ask::End,
        }
    }
}
