//! What a server reports: where it listens, what is left when it ends, and its counters.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use echosphere_core::Machine;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::Codec;
use serde::{Deserialize, Serialize};

use crate::stderr::{listening, status};
use crate::values::{counted, thousands};
use crate::{output, tls};

/// An event of a server's JSON output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum ServerEvent {
    Listening {
        transport: String,
        address: SocketAddr,
        /// Of a certificate that no CA has signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls_fingerprint: Option<String>,
    },
    Stopped(State),
}

/// Reports where a server listens, on stderr and, with `json`, on stdout. `note` ends the line.
pub(crate) fn announce(
    address: SocketAddr,
    transport: &str,
    note: &str,
    tls: Option<&tls::Serving>,
    json: bool,
) -> anyhow::Result<()> {
    let tls_fingerprint = tls.and_then(tls::Serving::fingerprint).map(|it| it.to_string());
    let name = match (tls, transport) {
        (None, _) => transport.to_owned(),
        (Some(_), "ws") => "wss".to_owned(),
        (Some(_), _) => format!("{transport}+tls"),
    };
    let with_tls = if tls.is_some() { " with TLS" } else { "" };
    listening(address, &name, &format!("{with_tls}{note}"));
    // The second port has the certificate of the first.
    if let Some(fingerprint) = tls_fingerprint.as_ref().filter(|_| transport != "ws") {
        status!("clients trust this server with --tls-fingerprint {fingerprint}");
    }
    if json {
        output::json(&ServerEvent::Listening {
            transport: name,
            address,
            tls_fingerprint,
        })?;
    }
    Ok(())
}

/// What a server has left, and its counters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Whether nothing is left.
    pub(crate) zero: bool,
    /// Open connections.
    pub(crate) connections: usize,
    /// Messages without their ok; `None` if the protocol has no such messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<usize>,
    /// Pending timers.
    pub(crate) timers: usize,
    /// Counters of the machine and of its connections.
    pub(crate) counters: BTreeMap<String, u64>,
}

impl State {
    /// The state of `endpoint`. `counters` are those of its machine, `waiting` its messages without an ok.
    pub(crate) fn of<M, C>(
        endpoint: &Endpoint<M, C>,
        counters: impl Iterator<Item = (&'static str, u64)>,
        waiting: Option<usize>,
    ) -> Self
    where
        M: Machine,
        C: Codec<Message = M::Message> + Clone,
    {
        let counters = counters.chain(endpoint.counters().iter());
        Self {
            zero: endpoint.is_zero(),
            connections: endpoint.connections(),
            waiting,
            timers: endpoint.timers(),
            counters: counters.map(|(name, count)| (name.to_owned(), count)).collect(),
        }
    }

    /// Prints it on stdout.
    pub(crate) fn print(self, json: bool) -> anyhow::Result<()> {
        if json {
            return output::json(&ServerEvent::Stopped(self));
        }
        output::bytes(self.to_text().as_bytes())
    }

    /// The summary, and below it every counter that is not zero.
    fn to_text(&self) -> String {
        let counters = self.counters.iter().filter(|(_, count)| **count > 0);
        let table = output::table(counters.map(|(name, count)| (&**name, thousands(*count))));
        format!("{}\n{table}", self.summary())
    }

    /// One line on what is left.
    pub(crate) fn summary(&self) -> String {
        let verdict = if self.zero { "at zero" } else { "NOT at zero" };
        let count = |count: usize, noun| counted(count as u64, noun);
        let waiting = self.waiting.map(|waiting| count(waiting, "waiting message"));
        let left = [count(self.connections, "connection")].into_iter().chain(waiting);
        let left: Vec<String> = left.chain([count(self.timers, "timer")]).collect();
        format!("server {verdict}: {}", left.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state() -> State {
        State {
            zero: false,
            connections: 1,
            waiting: Some(2),
            timers: 3,
            counters: [("messages".to_owned(), 4000), ("oks".to_owned(), 0)].into(),
        }
    }

    #[test]
    fn a_state_is_printed_with_all_of_its_figures() {
        assert_eq!(
            state().to_text(),
            "server NOT at zero: 1 connection, 2 waiting messages, 3 timers\n  messages  4,000\n"
        );
        let hub = State {
            zero: true,
            waiting: None,
            ..state()
        };
        assert_eq!(hub.summary(), "server at zero: 1 connection, 3 timers");
    }

    #[test]
    fn another_process_reads_the_events_that_a_server_prints() {
        let stopped = serde_json::to_value(ServerEvent::Stopped(state())).unwrap();
        let expected = json!({
            "event": "stopped", "zero": false, "connections": 1, "waiting": 2, "timers": 3,
            "counters": { "messages": 4000, "oks": 0 },
        });
        assert_eq!(stopped, expected);
        let read: ServerEvent = serde_json::from_value(stopped).unwrap();
        assert!(matches!(read, ServerEvent::Stopped(read) if read == state()));
        let listening = json!({ "event": "listening", "transport": "tcp", "address": "127.0.0.1:8000" });
        let read: ServerEvent = serde_json::from_value(listening.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), listening);
    }
}
