//! A machine that finishes a connection, and is notified how the peer ends it.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::echo::{EchoCodec, MAX_MESSAGE, Message};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::{Action, Actions, CloseReason, ConnId, Event, Machine, Time};

use crate::fixture::frame;
use crate::support::Effects;

const WAIT: Duration = Duration::from_secs(60);
const JUST_BEFORE: Duration = Duration::from_nanos(1);

/// Answers the first message of a connection, or its peer's end of stream, finishes the connection, and records the
/// events that follow.
#[derive(Debug, Default)]
struct Brief {
    heard: Vec<Message>,
    ends: Vec<CloseReason>,
    known: usize,
    finished: bool,
}

impl Brief {
    fn answer(&mut self, id: ConnId, x: Bytes, actions: &mut Actions<Message, Infallible>) {
        actions.push(Action::Send(id, Message::Ok(x)));
        actions.push(Action::Finish(id));
        self.finished = true;
        actions.push(Action::Send(id, Message::Ok(Bytes::from_static(b"too late"))));
    }
}

impl Machine for Brief {
    type Message = Message;
    type Command = Infallible;
    type Notice = Infallible;

    fn handle(&mut self, _: Time, event: Event<Message, Infallible>, actions: &mut Actions<Message, Infallible>) {
        match event {
            Event::Opened(..) => self.known += 1,
            Event::Received(id, Message::Message(x)) => self.answer(id, x, actions),
            Event::PeerFinished(id) => self.answer(id, Bytes::from_static(b"fin"), actions),
            Event::Received(id, Message::Ok(_)) => {
                self.known -= 1;
                actions.push(Action::Close(id, CloseReason::ShuttingDown));
            }
            Event::Received(_, message) => self.heard.push(message),
            Event::Closed(_, reason) => {
                self.known -= 1;
                self.ends.push(reason);
            }
            _ => {}
        }
    }

    /// Until something was sent.
    fn keeps_open_after_fin(&self, _: ConnId) -> bool {
        !self.finished
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn is_zero(&self) -> bool {
        self.known == 0
    }
}

struct Fixture {
    endpoint: Endpoint<Brief, EchoCodec>,
    now: Time,
    conn: ConnId,
}

impl Fixture {
    /// A peer has connected and sent these bytes.
    fn with(said: &[u8]) -> Self {
        let mut endpoint = Endpoint::new(
            Brief::default(),
            EchoCodec::accepted(MAX_MESSAGE),
            ConnectionConfig::default(),
        );
        let conn = endpoint.accept(Time::ZERO).unwrap();
        let mut fixture = Self {
            endpoint,
            now: Time::ZERO,
            conn,
        };
        fixture.feed(said);
        fixture
    }

    /// A finished connection whose peer has read everything.
    fn finished() -> Self {
        let mut fixture = Self::with(&frame("message x"));
        assert_eq!(fixture.read(), frame("ok x"), "and nothing that was sent later");
        assert!(fixture.shut_down());
        fixture
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.endpoint.receive(self.now, self.conn, &mut input);
        assert!(input.is_empty());
    }

    fn fin(&mut self) {
        self.endpoint.peer_closed(self.now, self.conn);
    }

    fn read(&mut self) -> Vec<u8> {
        let outbox = self.endpoint.outbox(self.conn);
        let bytes = outbox.map_or_else(Vec::new, |outbox| outbox.chunks().collect::<Vec<_>>().concat());
        self.endpoint.wrote(self.conn, bytes.len());
        bytes
    }

    fn shut_down(&mut self) -> bool {
        let wanted = self.endpoint.socket_action(self.conn) == SocketAction::Shutdown;
        if wanted {
            self.endpoint.shut_down(self.now, self.conn);
        }
        wanted
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.endpoint.expire(self.now);
    }

    fn ends(&self) -> &[CloseReason] {
        &self.endpoint.machine().ends
    }

    fn is_over(&mut self) -> bool {
        Effects::of(&mut self.endpoint)
            .release
            .iter()
            .map(|(id, _)| *id)
            .eq([self.conn])
            && self.endpoint.is_zero()
    }
}

#[test]
fn the_peers_end_after_ours_ends_the_connection() {
    let mut fixture = Fixture::finished();
    fixture.fin();
    assert_eq!(fixture.ends(), [CloseReason::PeerClosed]);
    assert!(fixture.is_over());
    assert_eq!(fixture.endpoint.counters().closed_by_us, 1);
    assert_eq!(fixture.endpoint.counters().closed_by_peer, 0);
}

#[test]
fn an_end_after_the_peers_own_is_distinguished() {
    let mut fixture = Fixture::with(&frame(""));
    fixture.fin();
    assert_eq!(fixture.ends(), [], "it goes on");
    assert_eq!(fixture.read(), frame("ok fin"));
    assert!(fixture.shut_down());
    assert_eq!(fixture.ends(), [CloseReason::Finished]);
    assert!(fixture.is_over());
}

#[test]
fn a_peer_that_closes_before_all_is_written_still_gets_it() {
    let mut fixture = Fixture::with(&frame("message x"));
    fixture.fin();
    assert_eq!(fixture.ends(), [CloseReason::PeerClosed]);
    assert_eq!(fixture.read(), frame("ok x"));
    assert!(fixture.shut_down());
    assert!(fixture.is_over());
}

#[test]
fn a_broken_connection_is_reported() {
    let mut fixture = Fixture::finished();
    fixture.endpoint.failed(fixture.now, fixture.conn);
    assert_eq!(fixture.ends(), [CloseReason::Reset]);
    assert!(fixture.is_over());
}

#[test]
fn the_wait_for_the_peers_end_is_the_idle_timeout_whatever_it_sends() {
    let mut fixture = Fixture::finished();
    for _ in 0..59 {
        fixture.pass(Duration::from_secs(1));
        fixture.feed(&frame("error full really"));
        fixture.feed(&frame("nonsense"));
        assert_eq!(fixture.read(), [], "nothing follows the end of stream");
    }
    assert_eq!(fixture.endpoint.machine().heard.len(), 59);
    fixture.pass(Duration::from_secs(1) - JUST_BEFORE);
    assert_eq!(fixture.ends(), []);
    fixture.pass(JUST_BEFORE);
    assert_eq!(fixture.ends(), [CloseReason::TimedOut]);
    assert!(fixture.is_over());
    assert_eq!(fixture.endpoint.counters().lingered, 1);
}

#[test]
fn an_undecodable_reply_ends_the_connection_without_an_error() {
    let mut fixture = Fixture::finished();
    fixture.feed(&[0, 0xFF, 0xFF, 0xFF]);
    assert_eq!(fixture.ends().len(), 1);
    assert_eq!(fixture.endpoint.socket_action(fixture.conn), SocketAction::Nothing);
    fixture.fin();
    assert!(fixture.is_over());
}

#[test]
fn a_machine_may_still_close_it_and_a_driver_all() {
    let mut fixture = Fixture::finished();
    fixture.feed(&frame("ok enough"));
    assert_eq!(
        fixture.endpoint.socket_action(fixture.conn),
        SocketAction::Nothing,
        "the end of stream was sent"
    );
    fixture.fin();
    assert!(fixture.is_over());
    assert_eq!(fixture.ends(), []);

    let mut fixture = Fixture::finished();
    fixture.endpoint.close_all(fixture.now);
    assert_eq!(fixture.ends(), [CloseReason::ShuttingDown]);
    assert_eq!(fixture.read(), []);
    fixture.fin();
    assert!(fixture.is_over());
    assert_eq!(fixture.endpoint.counters().closed_by_us, 1);
}

#[test]
fn bytes_not_written_in_time_are_lost() {
    let mut fixture = Fixture::with(&frame("message x"));
    fixture.pass(WAIT);
    assert_eq!(fixture.ends(), [CloseReason::TimedOut]);
    assert!(fixture.is_over());
}
