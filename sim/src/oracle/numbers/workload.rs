//! The workload of numbers: time-outs and bounds, and the form in files.

use std::collections::BTreeMap;
use std::time::Duration;

use echosphere_core::numbers::{ClientConfig, Mode, ServerConfig};
use echosphere_core::random::Backoff;
use serde::Deserialize;
use serde_json::{Value, json};

use super::planned::{Name, Planned};
use super::{Numbers, draws};
use crate::oracle::Workload;
use crate::scenario::{BACKOFF_MAX, LINK, Scenario};

/// The pause after the first loss.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// What a number may take whose session another client's request takes over at once.
const CONTESTED: Duration = Duration::from_millis(350);
/// What the system may take to give up a connection on which nothing is acknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(3);

/// What all may take beyond what the network and the hosts are the cause of.
pub(super) fn patience(numbers: &Numbers) -> Duration {
    let period = numbers.server.period;
    let kept = numbers.server.session_ttl + numbers.server.unacknowledged_ttl + LINK.idle_timeout;
    let mut names: BTreeMap<Name, Vec<u16>> = BTreeMap::new();
    for (name, n) in numbers.planned.iter().flat_map(Planned::begins) {
        names.entry(name).or_default().push(n);
    }
    let each = names.values().map(|counts| {
        let all: u32 = counts.iter().map(|n| u32::from(*n) + 3).sum();
        let contested = if counts.len() > 1 { CONTESTED } else { Duration::ZERO };
        all * (period + contested) + kept + BACKOFF_MAX
    });
    // Where there is no room for all, one waits for another.
    let crowded = numbers.max_connections.is_some();
    let sessions = if crowded || numbers.server.max_sessions < names.len() {
        each.sum()
    } else {
        each.max().unwrap_or_default()
    };
    let streams = numbers.planned.iter().map(|planned| u32::from(planned.plain()));
    let plain = if crowded {
        streams.sum()
    } else {
        streams.max().unwrap_or_default()
    };
    // Who types is cut off for their silence again and again, and comes back.
    let typed = if numbers.lines.is_empty() { 1.25 } else { 2.5 };
    let served = (sessions + plain * period + UNACKNOWLEDGED).mul_f64(typed);
    // A client that was refused a connection tries again when another's has ended.
    let refused = if crowded {
        numbers.planned.len() as u32 * (BACKOFF_MAX + LINK.linger)
    } else {
        Duration::ZERO
    };
    served + refused
}

impl Numbers {
    /// Both sides with the time-outs of these runs.
    #[must_use]
    pub const fn new(
        planned: Vec<Planned>,
        server: ServerConfig,
        response_timeout: Duration,
        give_up: Duration,
    ) -> Self {
        Self {
            server,
            client: ClientConfig {
                response_timeout,
                give_up_after: give_up,
                backoff: Backoff {
                    first: FIRST_PAUSE,
                    max: BACKOFF_MAX,
                },
                retry_refused: true,
            },
            planned,
            max_backlog: None,
            max_partial_bytes: None,
            max_connections: None,
            lines: Vec::new(),
            meek: Vec::new(),
        }
    }

    /// The workload of the scenario's seed.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        Self::draw(scenario.seed, scenario.hosts, scenario.safety, None)
    }
}

impl Workload for Numbers {
    const NAME: &'static str = "numbers";

    fn draw(seed: u64, hosts: usize, window: Duration, clients: Option<usize>) -> Self {
        draws::draw(seed, hosts, window, clients)
    }

    fn draw_silent(seed: u64, hosts: usize, window: Duration) -> Self {
        draws::draw_silent(seed, hosts, window)
    }

    fn len(&self) -> usize {
        self.planned.len()
    }

    fn most_host(&self) -> usize {
        self.planned.iter().map(Planned::host).max().unwrap_or_default()
    }

    fn keep(&self, keep: &dyn Fn(usize) -> bool) -> Self {
        let kept = self.planned.iter().enumerate().filter(|(at, _)| keep(*at));
        Self {
            planned: kept.map(|(_, planned)| planned.clone()).collect(),
            ..self.clone()
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "mode": match self.server.mode {
                Mode::Both => "both",
                Mode::Stateless => "stateless",
                Mode::Stateful => "stateful",
            },
            "period": self.server.period,
            "session_ttl": self.server.session_ttl,
            "unacknowledged_ttl": self.server.unacknowledged_ttl,
            "max_sessions": self.server.max_sessions,
            "response_timeout": self.client.response_timeout,
            "give_up": self.client.give_up_after,
            "max_backlog": self.max_backlog,
            "max_partial_bytes": self.max_partial_bytes,
            "max_connections": self.max_connections,
            "lines": self.lines,
            "meek": self.meek,
            "planned": self.planned,
        })
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WrittenWorkload {
            mode: String,
            period: Duration,
            session_ttl: Duration,
            unacknowledged_ttl: Duration,
            max_sessions: usize,
            response_timeout: Duration,
            give_up: Duration,
            max_backlog: Option<usize>,
            #[serde(default)]
            max_partial_bytes: Option<usize>,
            #[serde(default)]
            max_connections: Option<usize>,
            #[serde(default)]
            lines: Vec<usize>,
            #[serde(default)]
            meek: Vec<usize>,
            planned: Vec<Planned>,
        }
        let written_workload = WrittenWorkload::deserialize(value).map_err(|error| error.to_string())?;
        let server = ServerConfig {
            mode: match written_workload.mode.as_str() {
                "both" => Mode::Both,
                "stateless" => Mode::Stateless,
                "stateful" => Mode::Stateful,
                other => return Err(format!("unknown mode {other}")),
            },
            period: written_workload.period,
            session_ttl: written_workload.session_ttl,
            unacknowledged_ttl: written_workload.unacknowledged_ttl,
            max_sessions: written_workload.max_sessions,
        };
        Ok(Self {
            max_backlog: written_workload.max_backlog,
            max_partial_bytes: written_workload.max_partial_bytes,
            max_connections: written_workload.max_connections,
            lines: written_workload.lines,
            meek: written_workload.meek,
            ..Self::new(
                written_workload.planned,
                server,
                written_workload.response_timeout,
                written_workload.give_up,
            )
        })
    }
}
