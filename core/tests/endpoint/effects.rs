//! What an endpoint requests of its driver, and in which order.

use bytes::BytesMut;
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::echo::{EchoCodec, MAX_MESSAGE, Message};
use echosphere_core::endpoint::{Effect, Endpoint};
use echosphere_core::{
    Action, Actions, CloseReason, ConnId, DialError, DialTarget, DialToken, Event, Machine, Opened, Principal, Time,
};

use crate::fixture::{Fixture, frame};
use crate::support::Effects;

const NOW: Time = Time::ZERO;

/// A machine that does what its caller commands, and records what it receives.
#[derive(Default)]
struct Puppet {
    opened: Vec<(ConnId, Opened)>,
    failed: Vec<(DialToken, DialError)>,
    closed: Vec<(ConnId, CloseReason)>,
}

impl Machine for Puppet {
    type Message = Message;
    type Command = Vec<Action<Message, u8>>;
    type Notice = u8;

    fn handle(&mut self, _: Time, event: Event<Message, Self::Command>, actions: &mut Actions<Message, u8>) {
        match event {
            Event::Opened(id, opened) => self.opened.push((id, opened)),
            Event::DialFailed(token, error) => self.failed.push((token, error)),
            Event::Closed(id, reason) => self.closed.push((id, reason)),
            Event::Command(commanded) => commanded.into_iter().for_each(|action| actions.push(action)),
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn is_zero(&self) -> bool {
        true
    }
}

type Owner = Endpoint<Puppet, EchoCodec>;

fn owner() -> Owner {
    Endpoint::new(
        Puppet::default(),
        EchoCodec::accepted(MAX_MESSAGE),
        ConnectionConfig::default(),
    )
}

/// Accepts a connection whose peer has sent its first frame. Its flush is not polled yet.
fn open(endpoint: &mut Owner) -> ConnId {
    let id = endpoint.accept(NOW).unwrap();
    endpoint.receive(NOW, id, &mut BytesMut::from(&frame("")[..]));
    id
}

fn all(endpoint: &mut Owner) -> Vec<Effect<u8>> {
    std::iter::from_fn(|| endpoint.poll_effect()).collect()
}

fn ok(x: &'static str) -> Message {
    Message::Ok(x.into())
}

#[test]
fn effects_come_in_one_order_whatever_the_order_of_actions() {
    let mut endpoint = owner();
    let (first, second, third) = (open(&mut endpoint), open(&mut endpoint), open(&mut endpoint));
    let early = DialToken(1);
    endpoint.command(NOW, vec![Action::Dial(early, DialTarget::default())]);
    assert_eq!(all(&mut endpoint), [Effect::Dial(early, DialTarget::default())]);

    endpoint.command(
        NOW,
        vec![
            Action::Dial(DialToken(2), DialTarget(1)),
            Action::Send(second, ok("x")),
            Action::Dial(DialToken(3), DialTarget(0)),
            Action::Send(first, ok("x")),
            Action::Notify(1),
            Action::AbandonDial(early),
            Action::Send(second, ok("y")),
            Action::Notify(2),
        ],
    );
    endpoint.failed(NOW, third);
    assert_eq!(
        all(&mut endpoint),
        [
            Effect::Notify(1),
            Effect::Notify(2),
            Effect::AbandonDial(early),
            Effect::Release(third, CloseReason::Reset),
            Effect::Flush(second),
            Effect::Flush(first),
            Effect::Dial(DialToken(2), DialTarget(1)),
            Effect::Dial(DialToken(3), DialTarget(0)),
        ]
    );
}

#[test]
fn what_an_effect_causes_comes_in_its_place() {
    let mut endpoint = owner();
    let (first, second) = (open(&mut endpoint), open(&mut endpoint));
    endpoint.command(NOW, vec![Action::Send(first, ok("x")), Action::Send(second, ok("x"))]);
    assert_eq!(endpoint.poll_effect(), Some(Effect::Flush(first)));
    // Its socket fails as it is flushed.
    endpoint.failed(NOW, first);
    endpoint.command(NOW, vec![Action::Notify(1)]);
    assert_eq!(
        all(&mut endpoint),
        [
            Effect::Notify(1),
            Effect::Release(first, CloseReason::Reset),
            Effect::Flush(second),
        ]
    );
}

#[test]
fn a_released_connection_is_not_flushed() {
    let mut endpoint = owner();
    let id = open(&mut endpoint);
    endpoint.command(NOW, vec![Action::Send(id, ok("x"))]);
    endpoint.failed(NOW, id);
    assert_eq!(all(&mut endpoint), [Effect::Release(id, CloseReason::Reset)]);
    endpoint.writable(id);
    assert_eq!(all(&mut endpoint), []);
}

#[test]
fn a_writable_connection_is_flushed_once() {
    let mut endpoint = owner();
    let id = open(&mut endpoint);
    endpoint.writable(id);
    endpoint.command(NOW, vec![Action::Send(id, ok("x"))]);
    endpoint.writable(id);
    assert_eq!(all(&mut endpoint), [Effect::Flush(id)]);
    endpoint.writable(id);
    assert_eq!(all(&mut endpoint), [Effect::Flush(id)]);
}

#[test]
fn an_attempt_that_is_abandoned_before_it_is_polled_is_never_started() {
    let mut endpoint = owner();
    let (abandoned, kept) = (DialToken(1), DialToken(2));
    endpoint.command(
        NOW,
        vec![
            Action::Dial(abandoned, DialTarget(4)),
            Action::Dial(kept, DialTarget(4)),
            Action::AbandonDial(abandoned),
        ],
    );
    assert_eq!(all(&mut endpoint), [Effect::Dial(kept, DialTarget(4))]);
    endpoint.command(NOW, vec![Action::AbandonDial(kept)]);
    assert_eq!(all(&mut endpoint), [Effect::AbandonDial(kept)]);
    assert!(endpoint.is_zero());

    // The driver had the answers already.
    for token in [abandoned, kept] {
        assert_eq!(endpoint.dialled(NOW, token), None);
        endpoint.dial_failed(NOW, token, DialError::Refused);
    }
    assert!(endpoint.is_zero());
    assert_eq!(endpoint.machine().opened, []);
    assert_eq!(endpoint.machine().failed, []);
    assert_eq!((endpoint.counters().dialled, endpoint.counters().dials_failed), (0, 0));
}

#[test]
fn an_attempt_is_answered_once() {
    let mut endpoint = owner();
    let token = DialToken(1);
    endpoint.command(NOW, vec![Action::Dial(token, DialTarget::default())]);
    let id = endpoint.dialled(NOW, token).unwrap();
    assert_eq!(endpoint.dialled(NOW, token), None);
    endpoint.dial_failed(NOW, token, DialError::Refused);
    assert_eq!(endpoint.machine().failed, []);
    assert_eq!(endpoint.machine().opened.len(), 1);
    assert_eq!(endpoint.machine().opened[0].0, id);
    assert_eq!(endpoint.connections(), 1);
}

/// The driver keeps its socket by slot until then.
#[test]
fn a_slot_is_not_used_again_before_its_release_is_polled() {
    let mut endpoint = owner();
    let first = open(&mut endpoint);
    endpoint.failed(NOW, first);
    let second = open(&mut endpoint);
    assert_ne!(second.slot, first.slot);
    assert_eq!(endpoint.connections(), 1);

    let release = endpoint.poll_effect();
    assert_eq!(release, Some(Effect::Release(first, CloseReason::Reset)));
    let third = open(&mut endpoint);
    assert_eq!(third.slot, first.slot);
    assert_eq!(third.generation, first.generation + 1);
}

#[test]
fn a_connection_that_is_not_negotiated_ends_unseen_by_the_machine() {
    let mut endpoint = owner();
    let id = endpoint.accept(NOW).unwrap();
    endpoint.negotiation_failed(id);
    assert_eq!(
        all(&mut endpoint),
        [Effect::Release(id, CloseReason::NegotiationFailed)]
    );
    assert!(endpoint.is_zero());
    assert_eq!(endpoint.counters().failed_negotiations, 1);
    assert_eq!(endpoint.machine().opened, []);
    assert_eq!(endpoint.machine().closed, []);

    endpoint.negotiation_failed(id);
    assert_eq!(all(&mut endpoint), []);
    assert_eq!(endpoint.counters().failed_negotiations, 1);
}

#[test]
fn a_negotiation_that_fails_after_its_time_out_counts_as_a_time_out() {
    let mut endpoint = owner();
    let id = endpoint.accept(NOW).unwrap();
    endpoint.expire(endpoint.next_deadline().unwrap());
    assert_eq!(all(&mut endpoint), [Effect::Flush(id)]);
    endpoint.negotiation_failed(id);
    assert_eq!(all(&mut endpoint), [Effect::Release(id, CloseReason::HandshakeTimeout)]);
    assert_eq!(endpoint.counters().handshake_timeouts, 1);
    assert_eq!(endpoint.counters().failed_negotiations, 0);
}

#[test]
fn a_negotiation_counts_as_a_connection() {
    let config = ConnectionConfig {
        max_connections: 1,
        ..ConnectionConfig::default()
    };
    let mut endpoint = Endpoint::new(Puppet::default(), EchoCodec::accepted(MAX_MESSAGE), config);
    let id = endpoint.accept(NOW).unwrap();
    endpoint.accept(NOW).unwrap_err();
    endpoint.negotiation_failed(id);
    endpoint.accept(NOW).unwrap();
}

#[test]
fn the_machine_receives_the_principal_of_each_connection() {
    let mut endpoint = owner();
    let (ann, ben) = (Principal::new("ann"), Principal::new("ben"));
    let first = endpoint.accept(NOW).unwrap();
    let second = endpoint.accept(NOW).unwrap();
    endpoint.negotiated(second, ben.clone());
    endpoint.negotiated(first, ann.clone());
    for id in [first, second] {
        endpoint.receive(NOW, id, &mut BytesMut::from(&frame("")[..]));
    }
    let opened = |id, principal| {
        let opened = Opened {
            dial: None,
            text: false,
            principal,
        };
        (id, opened)
    };
    assert_eq!(
        endpoint.machine().opened,
        [opened(first, Some(ann)), opened(second, Some(ben.clone()))]
    );
    assert_eq!(endpoint.principal(second), Some(&ben));

    // The next connection in the slot does not inherit it.
    endpoint.failed(NOW, second);
    assert_eq!(endpoint.principal(second), None);
    Effects::of(&mut endpoint);
    let third = open(&mut endpoint);
    assert_eq!(third.slot, second.slot);
    assert_eq!(endpoint.principal(third), None);
    assert_eq!(endpoint.machine().opened[2], opened(third, None));
    // Nor does a late answer for the connection before apply to it.
    endpoint.negotiated(second, ben);
    assert_eq!(endpoint.principal(third), None);
    assert_eq!(endpoint.principal(second), None);
}

#[test]
fn the_machine_receives_the_principal_of_a_server_that_it_dials() {
    let mut endpoint = owner();
    let token = DialToken(1);
    endpoint.command(NOW, vec![Action::Dial(token, DialTarget::default())]);
    let (codec, server) = (EchoCodec::dialled(MAX_MESSAGE), Principal::new("server"));
    let id = endpoint.dialled_with_codec(NOW, token, codec, Some(server.clone()));
    let id = id.unwrap();
    let opened = Opened {
        dial: Some(token),
        text: false,
        principal: Some(server.clone()),
    };
    assert_eq!(endpoint.machine().opened, [(id, opened)]);
    assert_eq!(endpoint.principal(id), Some(&server));
}

#[test]
fn a_connection_is_flushed_once_for_all_that_happened() {
    let mut fixture = Fixture::new();
    let client = fixture.accept_length();
    fixture.feed(client, &frame("message x"));
    fixture.feed(client, &frame("message y"));
    assert_eq!(Effects::of(&mut fixture.endpoint).flush, [client]);
    fixture.feed(client, &frame("message z"));
    assert_eq!(Effects::of(&mut fixture.endpoint).flush, [client]);
    fixture.read(client);
    assert_eq!(fixture.endpoint.socket_action(client), SocketAction::Nothing);
}
