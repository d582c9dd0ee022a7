//! What clients send.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::echo::ClientConfig;
use echosphere_core::random::{Backoff, Delay};

use super::Echo;
use crate::dice::{Dice, Purpose};
use crate::scenario::{ACK_DELAY_MAX, BACKOFF_MAX, RESPONSE_TIMEOUT, Scenario};

/// More than a driver reads from one connection in one turn.
pub(super) const LARGE: usize = 256 * 1024;

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
    pub const fn new(ack_delay: Delay, messages: Vec<Planned>) -> Self {
        Self {
            client: ClientConfig {
                response_timeout: RESPONSE_TIMEOUT,
                backoff: Backoff {
                    first: Duration::from_millis(50),
                    max: BACKOFF_MAX,
                },
                give_up_after: None,
                ack_delay,
                max_delayed_acks: 1024,
            },
            messages,
        }
    }

    /// What the scenario's seed says.
    #[must_use]
    pub fn draw(scenario: &Scenario) -> Self {
        let mut dice = Dice::new(scenario.seed, Purpose::Workload);
        let ack_delay = match dice.below(4) {
            0 => Delay::None,
            1 => Delay::Constant(dice.millis(1, ACK_DELAY_MAX.as_millis() as u64 / 2)),
            2 => {
                let longest = dice.millis(1, ACK_DELAY_MAX.as_millis() as u64);
                Delay::Uniform(Duration::ZERO, longest)
            }
            _ => Delay::Exponential(dice.millis(1, 10).min(ACK_DELAY_MAX / Delay::EXPONENTIAL_CUT)),
        };
        let clients = match dice.below(8) {
            0 => 1,
            1..6 => dice.among(2, 20),
            _ => dice.among(20, 80),
        };
        let window = if dice.chance(0.3) {
            // All at once.
            Duration::ZERO
        } else {
            scenario.safety
        };
        let same = if dice.chance(0.4) { dice.among(1, 3) } else { 0 };
        let common: Vec<Bytes> = (0..same).map(|_| draw_x(&mut dice, 0)).collect();
        let messages = (0..clients).map(|number| {
            let x = match same {
                0 => draw_x(&mut dice, number),
                _ if dice.chance(0.3) => draw_x(&mut dice, number),
                _ => common[dice.below(same)].clone(),
            };
            Planned {
                host: dice.below(scenario.hosts),
                at: window.mul_f64(dice.unit()),
                x,
            }
        });
        Self::new(ack_delay, messages.collect())
    }
}

/// Of every kind that could trouble a wire format. Most are as unlike each other as `number`s are.
fn draw_x(dice: &mut Dice, number: usize) -> Bytes {
    let body = match dice.below(14) {
        0 => return Bytes::new(),
        1 => format!("{number}\nmessage {number}\r\nok {number}\n").into_bytes(),
        2 => format!("\0\0\0\x04{number}\0").into_bytes(),
        3 => format!("{number}\r").into_bytes(),
        4 => format!("ok {number}").into_bytes(),
        5 => format!(" {number} ").into_bytes(),
        6 => [&[0xFF, 0xC0, 0x80], number.to_string().as_bytes(), &[0xED, 0xA0, 0x80]].concat(),
        // About the size from which a body is shared and not copied, and that of a read.
        7 => {
            let len = dice.among(2000, 2100);
            dice.bytes(len)
        }
        8 => {
            let len = dice.among(65_500, 65_560);
            dice.bytes(len)
        }
        9 if dice.chance(0.3) => {
            let len = dice.among(LARGE + 1, LARGE + 100_000);
            dice.bytes(len)
        }
        _ => format!("hello {number}").into_bytes(),
    };
    body.into()
}
