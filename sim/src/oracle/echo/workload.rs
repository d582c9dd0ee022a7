//! The workload of echo: messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use echosphere_core::echo::ClientConfig;
use echosphere_core::random::{Backoff, Delay};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Echo, Limits};
use crate::dice::{Dice, Purpose};
use crate::oracle::escape::{escape, unescape};
use crate::oracle::silence::{self, SILENCE};
use crate::oracle::typed::fits_a_line;
use crate::oracle::{System, Workload};
use crate::scenario::{ACK_DELAY_MAX, BACKOFF_MAX, RESPONSE_TIMEOUT, Scenario};

/// More than a driver reads from one connection in one turn.
pub(super) const LARGE: usize = 256 * 1024;

/// In this share of a campaign's runs some X are long: bytes take nearly all of such a run's time, and most rules are not about
/// them.
const LONG_RUNS: f64 = 0.3;

/// With more clients than these, a smaller share sends long X.
const LONG: f64 = 20.0;

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Planned {
    /// From which host.
    pub host: usize,
    /// When, since the run began.
    pub at: Duration,
    /// X.
    pub x: Bytes,
}

impl Echo {
    /// Clients with the time-outs of these runs, who answer after `ack_delay` and never give up.
    #[must_use]
    pub fn new(ack_delay: Delay, messages: Vec<Planned>) -> Self {
        Self {
            client: ClientConfig {
                response_timeout: RESPONSE_TIMEOUT,
                backoff: Backoff {
                    first: Duration::from_millis(50),
                    max: BACKOFF_MAX,
                },
                give_up_after: None,
                retry_refused: true,
                ack_delay,
                max_delayed_acks: 1024,
            },
            messages: messages.into(),
            lines: Vec::new(),
            rude: Vec::new(),
            meek: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// What clients that answer after more than an hour may take: each message may be forwarded anew when another has come to
    /// its end.
    pub(super) fn silent_for(&self) -> Duration {
        (1 + self.messages.len() as u32) * self.silence()
    }

    /// `clients` clients that arrive within `window`, each with an X of its own, and no delays.
    #[must_use]
    pub fn crowd(seed: u64, hosts: usize, clients: usize, window: Duration) -> Self {
        let mut dice = Dice::new(seed, Purpose::Workload);
        let mut times: Vec<_> = (0..clients).map(|_| window.mul_f64(dice.unit())).collect();
        // Numbered as they come: what a run looks up then lies where it has just looked.
        times.sort_unstable();
        let messages = (0..).zip(times).map(|(number, at)| Planned {
            host: number % hosts,
            at,
            x: format!("hello {number}").into(),
        });
        let mut messages: Vec<_> = messages.collect();
        bring_together(&mut messages);
        Self::new(Delay::None, messages)
    }

    /// The workload of the scenario's seed.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        Self::drawn(scenario.seed, scenario.hosts, scenario.safety, None, 1.0)
    }

    fn drawn(seed: u64, hosts: usize, window: Duration, clients: Option<usize>, long_runs: f64) -> Self {
        let mut dice = Dice::new(seed, Purpose::Workload);
        let ack_delay = match dice.below(4) {
            0 => Delay::None,
            1 => Delay::Constant(dice.millis(1, ACK_DELAY_MAX.as_millis() as u64 / 2)),
            2 => {
                let longest = dice.millis(1, ACK_DELAY_MAX.as_millis() as u64);
                Delay::Uniform(Duration::ZERO, longest)
            }
            _ => Delay::Exponential(dice.millis(1, 10).min(ACK_DELAY_MAX / Delay::EXPONENTIAL_CUT)),
        };
        let drawn = match dice.below(8) {
            0 => 1,
            1..6 => dice.among(2, 20),
            _ => dice.among(20, 80),
        };
        let long = match clients {
            _ if long_runs < 1.0 && !dice.chance(long_runs) => 0.0,
            Some(clients) => (LONG / clients.max(1) as f64).min(1.0),
            None => 1.0,
        };
        let clients = clients.unwrap_or(drawn);
        let window = if dice.chance(0.3) {
            // All at once.
            Duration::ZERO
        } else {
            window
        };
        let same = if dice.chance(0.4) { dice.among(1, 3) } else { 0 };
        let common: Vec<Bytes> = (0..same).map(|_| draw_x(&mut dice, 0, long)).collect();
        let messages = (0..clients).map(|number| {
            let x = match same {
                0 => draw_x(&mut dice, number, long),
                _ if dice.chance(0.3) => draw_x(&mut dice, number, long),
                _ => common[dice.below(same)].clone(),
            };
            Planned {
                host: dice.below(hosts),
                at: window.mul_f64(dice.unit()),
                x,
            }
        });
        let mut echo = Self::new(ack_delay, messages.collect());
        echo.lines = (0..hosts).filter(|_| dice.chance(0.15)).collect();
        echo.rude = (0..hosts).filter(|_| dice.chance(0.1)).collect();
        echo.meek = (0..hosts).filter(|_| dice.chance(0.1)).collect();
        if clients == drawn {
            echo.limits = Limits::draw(seed, Arc::make_mut(&mut echo.messages));
        }
        for message in Arc::make_mut(&mut echo.messages) {
            if echo.lines.contains(&message.host) && !fits_a_line(&message.x) {
                let text = message
                    .x
                    .iter()
                    .map(|byte| if b"\r\n".contains(byte) { b' ' } else { *byte });
                message.x = text.collect();
            }
        }
        bring_together(Arc::make_mut(&mut echo.messages));
        echo
    }
}

/// Has all short bodies lie in one piece of memory, as very many would lie all over it.
fn bring_together(messages: &mut [Planned]) {
    const SHORT: usize = 64;
    let mut all = BytesMut::new();
    for message in &*messages {
        if message.x.len() <= SHORT {
            all.extend_from_slice(&message.x);
        }
    }
    for message in messages {
        let len = message.x.len();
        if len <= SHORT {
            message.x = all.split_to(len).freeze();
        }
    }
}

impl Workload for Echo {
    const NAME: &'static str = "echo";

    fn draw(seed: u64, hosts: usize, window: Duration, clients: Option<usize>) -> Self {
        Self::drawn(seed, hosts, window, clients, LONG_RUNS)
    }

    fn draw_silent(seed: u64, hosts: usize, window: Duration) -> Self {
        let mut dice = Dice::new(seed, Purpose::Workload);
        let count = dice.among(1, 2);
        let messages = (0..count).map(|number| {
            let len = dice.among(1, silence::LONGEST);
            Planned {
                host: dice.below(hosts),
                at: window.mul_f64(dice.unit()),
                x: format!("{number:x>len$}").into(),
            }
        });
        let mut echo = Self::new(Delay::Constant(SILENCE), messages.collect());
        echo.client.response_timeout = echo.silent_for();
        echo
    }

    fn len(&self) -> usize {
        self.messages.len()
    }

    fn most_host(&self) -> usize {
        self.messages
            .iter()
            .map(|message| message.host)
            .max()
            .unwrap_or_default()
    }

    fn keep(&self, keep: &dyn Fn(usize) -> bool) -> Self {
        let kept = self.messages.iter().enumerate().filter(|(at, _)| keep(*at));
        Self {
            client: self.client.clone(),
            messages: kept.map(|(_, message)| message.clone()).collect(),
            ..self.clone()
        }
    }

    fn bodies(&mut self) -> Vec<&mut Bytes> {
        let messages = Arc::make_mut(&mut self.messages);
        messages.iter_mut().map(|message| &mut message.x).collect()
    }

    fn to_json(&self) -> Value {
        let messages = self.messages.iter().map(|message| Written {
            host: message.host,
            at: message.at,
            x: escape(&message.x),
        });
        json!({
            "ack_delay": WrittenDelay::from(self.client.ack_delay),
            "response_timeout": self.client.response_timeout,
            "lines": self.lines,
            "rude": self.rude,
            "meek": self.meek,
            "limits": self.limits,
            "messages": messages.collect::<Vec<_>>(),
        })
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WrittenWorkload {
            ack_delay: WrittenDelay,
            #[serde(default = "response_timeout")]
            response_timeout: Duration,
            #[serde(default)]
            lines: Vec<usize>,
            #[serde(default)]
            rude: Vec<usize>,
            #[serde(default)]
            meek: Vec<usize>,
            #[serde(default)]
            limits: Limits,
            messages: Vec<Written>,
        }
        let written_workload = WrittenWorkload::deserialize(value).map_err(|error| error.to_string())?;
        let messages = written_workload.messages.into_iter().map(|message| {
            let x = unescape(&message.x).ok_or_else(|| format!("no escaped bytes: {:?}", message.x))?;
            Ok(Planned {
                host: message.host,
                at: message.at,
                x: x.into(),
            })
        });
        let messages = messages.collect::<Result<Vec<_>, String>>()?;
        let no_line = |message: &Planned| written_workload.lines.contains(&message.host) && !fits_a_line(&message.x);
        if let Some(at) = messages.iter().position(no_line) {
            return Err(format!(
                "no line can carry the `x` of `messages[{at}]`, and its host is in `lines`"
            ));
        }
        let limits = &written_workload.limits;
        if [limits.max_connections, limits.max_waiting, limits.max_flights].contains(&0) {
            return Err("`limits` of connections, messages that wait and messages kept should be 1 or more".to_owned());
        }
        let mut echo = Self::new(written_workload.ack_delay.into(), messages);
        echo.client.response_timeout = written_workload.response_timeout;
        Ok(Self {
            lines: written_workload.lines,
            rude: written_workload.rude,
            meek: written_workload.meek,
            limits: written_workload.limits,
            ..echo
        })
    }
}

/// That of files that do not say it.
const fn response_timeout() -> Duration {
    RESPONSE_TIMEOUT
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    host: usize,
    at: Duration,
    /// With escapes as in Rust's byte strings.
    x: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum WrittenDelay {
    None,
    Constant(Duration),
    Uniform(Duration, Duration),
    Exponential(Duration),
}

impl From<Delay> for WrittenDelay {
    fn from(delay: Delay) -> Self {
        match delay {
            Delay::None => Self::None,
            Delay::Constant(delay) => Self::Constant(delay),
            Delay::Uniform(from, to) => Self::Uniform(from, to),
            Delay::Exponential(mean) => Self::Exponential(mean),
        }
    }
}

impl From<WrittenDelay> for Delay {
    fn from(delay: WrittenDelay) -> Self {
        match delay {
            WrittenDelay::None => Self::None,
            WrittenDelay::Constant(delay) => Self::Constant(delay),
            WrittenDelay::Uniform(from, to) => Self::Uniform(from, to),
            WrittenDelay::Exponential(mean) => Self::Exponential(mean),
        }
    }
}

/// Of every kind that could trouble a wire format. Most are as unlike each other as `number`s are. `long` is the share
/// of those that could be long which are.
fn draw_x(dice: &mut Dice, number: usize, long: f64) -> Bytes {
    let body = match dice.below(14) {
        0 => return Bytes::new(),
        1 => format!("{number}\nmessage {number}\r\nok {number}\n").into_bytes(),
        2 => format!("\0\0\0\x04{number}\0").into_bytes(),
        3 => format!("{number}\r").into_bytes(),
        4 => format!("ok {number}").into_bytes(),
        5 => format!(" {number} ").into_bytes(),
        6 => [&[0xFF, 0xC0, 0x80], number.to_string().as_bytes(), &[0xED, 0xA0, 0x80]].concat(),
        // About the size from which a body is shared and not copied, and that of a read.
        7 if long == 1.0 || dice.chance(long) => {
            let len = dice.among(2000, 2100);
            dice.bytes(len)
        }
        8 if long == 1.0 || dice.chance(long) => {
            let len = dice.among(65_500, 65_560);
            dice.bytes(len)
        }
        9 if dice.chance(0.3 * long) => {
            let len = dice.among(LARGE + 1, LARGE + 100_000);
            dice.bytes(len)
        }
        _ => format!("hello {number}").into_bytes(),
    };
    body.into()
}
