//! A machine that has sent all it had, and wants to know whether its peer closes.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use echosphere_core::echo::{EchoCodec, MAX_MESSAGE, Message};
use echosphere_core::endpoint::{Effects, Endpoint};
use echosphere_core::link::{LinkConfig, Want};
use echosphere_core::{Action, Actions, CloseReason, ConnId, Event, Machine, Time};

use crate::bench::frame;

const WAIT: Duration = Duration::from_secs(60);
const JUST_BEFORE: Duration = Duration::from_nanos(1);

/// Answers the first message of a connection and finishes it; notes what it hears then.
#[derive(Debug, Default)]
struct Brief {
    heard: Vec<Message>,
    ends: Vec<CloseReason>,
    known: usize,
    finished: bool,
}

impl Machine for Brief {
    type Message = Message;
    type Command = Infallible;
    type Notice = Infallible;

    fn handle(&mut self, _: Time, event: Event<Message, Infallible>, actions: &mut Actions<Message, Infallible>) {
        match event {
            Event::Opened(..) => self.known += 1,
            Event::Received(id, Message::Message(x)) => {
                actions.push(Action::Send(id, Message::Ok(x)));
                actions.push(Action::Finish(id));
                self.finished = true;
                actions.push(Action::Send(id, Message::Ok(Bytes::from_static(b"too late"))));
            }
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

    /// As long as nothing was sent.
    fn goes_on_after_fin(&self, _: ConnId) -> bool {
        !self.finished
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn is_zero(&self) -> bool {
        self.known == 0
    }
}

struct Bench {
    endpoint: Endpoint<Brief, EchoCodec>,
    effects: Effects<Infallible>,
    now: Time,
    conn: ConnId,
}

impl Bench {
    /// A peer has connected, and said this.
    fn with(said: &[u8]) -> Self {
        let mut endpoint = Endpoint::new(
            Brief::default(),
            EchoCodec::accepted(MAX_MESSAGE),
            LinkConfig::default(),
        );
        let conn = endpoint.accept(Time::ZERO).unwrap();
        let mut bench = Self {
            endpoint,
            effects: Effects::default(),
            now: Time::ZERO,
            conn,
        };
        bench.feed(said);
        bench
    }

    /// A peer whose connection was finished, and that has read everything.
    fn finished() -> Self {
        let mut bench = Self::with(&frame("message x"));
        assert_eq!(bench.read(), frame("ok x"), "and nothing that was sent later");
        assert!(bench.shut_down());
        bench
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.endpoint
            .receive(self.now, self.conn, &mut input, &mut self.effects);
        assert!(input.is_empty());
    }

    fn fin(&mut self) {
        self.endpoint.peer_closed(self.now, self.conn, &mut self.effects);
    }

    fn read(&mut self) -> Vec<u8> {
        let outbox = self.endpoint.outbox(self.conn);
        let bytes = outbox.map_or_else(Vec::new, |outbox| outbox.chunks().collect::<Vec<_>>().concat());
        self.endpoint.begin_flush(self.conn);
        self.endpoint.wrote(self.conn, bytes.len());
        bytes
    }

    fn shut_down(&mut self) -> bool {
        let wanted = self.endpoint.want(self.conn) == Want::Shutdown;
        if wanted {
            self.endpoint.shut_down(self.now, self.conn, &mut self.effects);
        }
        wanted
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.endpoint.expire(self.now, &mut self.effects);
    }

    fn ends(&self) -> &[CloseReason] {
        &self.endpoint.machine().ends
    }

    fn is_over(&self) -> bool {
        self.effects.release.iter().map(|(id, _)| *id).eq([self.conn]) && self.endpoint.is_zero()
    }
}

#[test]
fn the_peers_end_after_ours_is_told_and_ends_the_connection() {
    let mut bench = Bench::finished();
    bench.fin();
    assert_eq!(bench.ends(), [CloseReason::PeerClosed]);
    assert!(bench.is_over());
    assert_eq!(bench.endpoint.counters().closed_by_us, 1);
    assert_eq!(bench.endpoint.counters().closed_by_peer, 0);
}

#[test]
fn a_peer_that_had_finished_before_is_told_apart() {
    let mut bench = Bench::with(&frame(""));
    bench.fin();
    assert_eq!(bench.ends(), [], "it goes on");
    // What came with the end of stream is heard after it here.
    bench.feed(&frame("message x"));
    assert_eq!(bench.read(), frame("ok x"));
    assert!(bench.shut_down());
    assert_eq!(bench.ends(), [CloseReason::Finished]);
    assert!(bench.is_over());
}

#[test]
fn a_peer_that_closes_before_all_is_written_still_gets_it() {
    let mut bench = Bench::with(&frame("message x"));
    bench.fin();
    assert_eq!(bench.ends(), [CloseReason::PeerClosed]);
    assert_eq!(bench.read(), frame("ok x"));
    assert!(bench.shut_down());
    assert!(bench.is_over());
}

#[test]
fn a_connection_that_breaks_is_told() {
    let mut bench = Bench::finished();
    bench.endpoint.failed(bench.now, bench.conn, &mut bench.effects);
    assert_eq!(bench.ends(), [CloseReason::Reset]);
    assert!(bench.is_over());
}

#[test]
fn the_peers_end_is_waited_for_as_long_as_a_silence_whatever_it_says() {
    let mut bench = Bench::finished();
    for _ in 0..59 {
        bench.pass(Duration::from_secs(1));
        bench.feed(&frame("error full really"));
        bench.feed(&frame("nonsense"));
        assert_eq!(bench.read(), [], "nothing follows the end of stream");
    }
    assert_eq!(bench.endpoint.machine().heard.len(), 59);
    bench.pass(Duration::from_secs(1) - JUST_BEFORE);
    assert_eq!(bench.ends(), []);
    bench.pass(JUST_BEFORE);
    assert_eq!(bench.ends(), [CloseReason::TimedOut]);
    assert!(bench.is_over());
    assert_eq!(bench.endpoint.counters().lingered, 1);
}

#[test]
fn what_cannot_be_read_on_ends_the_connection_without_a_word() {
    let mut bench = Bench::finished();
    bench.feed(&[0, 0xFF, 0xFF, 0xFF]);
    assert_eq!(bench.ends().len(), 1);
    assert_eq!(bench.endpoint.want(bench.conn), Want::Nothing);
    bench.fin();
    assert!(bench.is_over());
}

#[test]
fn a_machine_may_still_close_it_and_a_driver_all() {
    let mut bench = Bench::finished();
    bench.feed(&frame("ok enough"));
    assert_eq!(
        bench.endpoint.want(bench.conn),
        Want::Nothing,
        "the end of stream was sent"
    );
    bench.fin();
    assert!(bench.is_over());
    assert_eq!(bench.ends(), []);

    let mut bench = Bench::finished();
    bench.endpoint.close_all(bench.now, &mut bench.effects);
    assert_eq!(bench.ends(), [CloseReason::ShuttingDown]);
    assert_eq!(bench.read(), []);
    bench.fin();
    assert!(bench.is_over());
    assert_eq!(bench.endpoint.counters().closed_by_us, 1);
}

#[test]
fn what_is_not_written_in_time_is_lost() {
    let mut bench = Bench::with(&frame("message x"));
    bench.pass(WAIT);
    assert_eq!(bench.ends(), [CloseReason::TimedOut]);
    assert!(bench.is_over());
}
