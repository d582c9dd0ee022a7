//! What a system must provide to be simulated and checked.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::Machine;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::wire::Codec;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::direct::Rates;
use crate::direct::history::Fact;
use crate::fairness::Fairness;
use crate::marks::Marks;
use crate::observe::{ActionOf, EventOf, Observable};
use crate::oracle::typed::{Lines, Typing};

mod attempts;
pub mod chat;
mod clocked;
mod connections;
pub mod echo;
mod escape;
pub mod hub;
pub mod numbers;
pub(crate) mod partial;
pub(crate) mod silence;
pub mod typed;

/// A protocol with its two machines.
pub trait System: Send + Sync + 'static {
    /// What the server runs.
    type Server: Observable;
    /// What each host of clients runs.
    type Client: Observable + Machine<Message = <Self::Server as Machine>::Message>;
    /// What both speak.
    type Codec: Codec<Message = <Self::Server as Machine>::Message> + Clone + Send + 'static;
    /// The model that both are checked against.
    type Oracle: Oracle<Self>;

    /// A new server.
    fn server(&self, rng: ChaCha8Rng) -> (Self::Server, Self::Codec);
    /// What the host of clients of this number runs, in a new life.
    fn client(&self, host: usize, rng: ChaCha8Rng) -> (Self::Client, Self::Codec);
    /// A model of nothing having happened. `deep` asks for every check, at a cost that grows with what is under way.
    fn oracle(&self, deep: bool, marks: &Marks) -> Self::Oracle;

    /// How many bytes a message is on the wire, at most; and when it is there.
    #[must_use]
    fn size(message: &<Self::Server as Machine>::Message) -> (usize, Carried);
    /// `link` with the bounds that this run is to have.
    #[must_use]
    fn link(&self, link: ConnectionConfig) -> ConnectionConfig {
        link
    }
    /// The same for clients, which hold as much of half-received messages as there may be.
    #[must_use]
    fn client_link(&self, link: ConnectionConfig) -> ConnectionConfig {
        ConnectionConfig {
            max_partial_bytes: link.max_partial_bytes,
            ..self.link(link)
        }
    }
    /// How long a caller may take to read what its machine notified it of.
    fn lag(&self) -> Duration {
        Duration::ZERO
    }
    /// `rates` as they suit the system, in the direct lane. Where nothing goes wrong, nothing may.
    #[must_use]
    fn rates(&self, rates: Rates) -> Rates {
        rates
    }
    /// What all may take in the liveness phase beyond what the network and the hosts are the cause of.
    #[must_use]
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// How long no machine sends anything in this run, if it is one with such a silence; zero otherwise.
    #[must_use]
    fn silence(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether nothing ends a connection early in a run without faults: no bound is tight, and no client is slower than a
    /// time-out allows.
    #[must_use]
    fn is_roomy(&self) -> bool;

    /// Whether a connection may stay open whose peer has finished sending.
    #[must_use]
    fn keeps_open_after_fin() -> bool {
        false
    }

    /// Whether a server takes what the end of a stream of lines leaves of one for the whole; who speaks lines may be sent bodies
    /// of several.
    #[must_use]
    fn bodies_of_lines() -> bool {
        false
    }

    /// Whether clients must say in time, after their first frame, what they want; then what is no request ends a connection, and
    /// any line is a request.
    #[must_use]
    fn greets() -> bool {
        false
    }

    /// The bytes of a part of a body, and whether it is the last, if the message is one that a body's other parts are joined
    /// to, and the server, which has just received it, keeps it.
    #[must_use]
    fn part(_server: &Self::Server, _message: &<Self::Server as Machine>::Message) -> Option<(usize, bool)> {
        None
    }

    /// Follows typed requests, for where each ends.
    #[must_use]
    fn typing() -> Box<dyn Typing> {
        Box::<Lines>::default()
    }

    /// How an error begins in length framing.
    #[must_use]
    fn error_frame() -> &'static [u8] {
        b"error "
    }

    /// Facts of a server's state for the drawing of a run. Connections are written as `{id:?}`.
    #[must_use]
    fn facts(_server: &Self::Server) -> Vec<Fact> {
        Vec::new()
    }
}

/// When a message is on the wire, if its machine sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Always.
    Always,
    /// In length framing only; lines do not carry it.
    ByLength,
    /// Perhaps, and unknown to the machine: connections say such things by themselves.
    ByConnections,
}

impl Carried {
    /// For what is an error or not, of which connections say some.
    #[must_use]
    pub const fn unless(error: bool) -> Self {
        if error { Self::ByConnections } else { Self::Always }
    }
}

/// A system with what its clients shall do, in a form that can be drawn, made smaller, written down and read.
pub trait Workload: System + Clone + Sync {
    /// The system's name on the command line.
    const NAME: &'static str;

    /// Draws the workload of `seed`, for `hosts` hosts whose clients start within `window`. `clients` overrides their
    /// number.
    fn draw(seed: u64, hosts: usize, window: Duration, clients: Option<usize>) -> Self;

    /// The same for a run in which nothing is sent for more than an hour while connections are open.
    fn draw_silent(seed: u64, hosts: usize, window: Duration) -> Self;

    /// How many things the clients shall do.
    fn len(&self) -> usize;

    /// Whether they shall do nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The highest number of a host that shall do something.
    fn most_host(&self) -> usize;

    /// The same with only some of them, chosen by number.
    #[must_use]
    fn keep(&self, keep: &dyn Fn(usize) -> bool) -> Self;

    /// The bodies that are sent, to be made shorter.
    fn bodies(&mut self) -> Vec<&mut Bytes> {
        Vec::new()
    }

    /// In words that [`Workload::from_json`] reads.
    fn to_json(&self) -> Value;

    /// Reads what [`Workload::to_json`] wrote.
    ///
    /// # Errors
    ///
    /// What is not as it should be.
    fn from_json(value: &Value) -> Result<Self, String>;
}

/// A model of a system that shares no code with it and sees every event. An error is the rule that was broken.
pub trait Oracle<S: System + ?Sized>: Send + 'static {
    /// The server starts, knowing nothing.
    fn server_starts(&mut self);

    /// A host of clients starts, knowing nothing. Returns what it shall do and when, as time since the run began.
    fn client_starts(&mut self, host: usize) -> Vec<(Duration, <S::Client as Machine>::Command)>;

    /// The server took an event and did `actions`.
    ///
    /// # Errors
    ///
    /// A rule was broken.
    fn server_did(
        &mut self,
        server: &S::Server,
        event: &EventOf<S::Server>,
        actions: &[ActionOf<S::Server>],
    ) -> Result<(), String>;

    /// A host of clients took an event and did `actions`.
    ///
    /// # Errors
    ///
    /// A rule was broken.
    fn client_did(
        &mut self,
        host: usize,
        client: &S::Client,
        event: &EventOf<S::Client>,
        actions: &[ActionOf<S::Client>],
    ) -> Result<(), String>;

    /// The driver of a host of clients passed on what its machine had to tell.
    ///
    /// # Errors
    ///
    /// A rule was broken.
    fn client_told(&mut self, host: usize, notice: &<S::Client as Machine>::Notice) -> Result<(), String>;

    /// What is still to happen; `None` once everything asked for has been done. Asked often.
    fn unfinished(&self) -> Option<String>;

    /// The text of [`unfinished`](Self::unfinished) for people: numbers of X are replaced by their bytes.
    fn spelled(&self, unfinished: &str) -> String {
        unfinished.to_owned()
    }

    /// Sets the time since the run began, before each client step, in lanes that can.
    fn time_is(&mut self, now: Duration) {
        let _ = now;
    }

    /// A host of clients is paused until this time since the run began.
    fn pauses(&mut self, host: usize, until: Duration) {
        let _ = (host, until);
    }

    /// Adds the random choices that it saw to those of other runs. `seed` is the run's.
    fn add_choices(&self, seed: u64, fairness: &mut Fairness) {
        let _ = (seed, fairness);
    }

    /// The run is over, and every machine is at zero.
    ///
    /// # Errors
    ///
    /// The model is not.
    fn ends(&self) -> Result<(), String>;
}
