//! Counts beyond 2^8 and 2^16, where a narrower integer would wrap or saturate.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::{Bytes, BytesMut};
use echosphere_core::conn_set::ConnSet;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::numbers::{Checksum, Sequence, Uuid};
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Outbox};
use echosphere_core::{Action, Actions, ConnId, Event, Machine, Opened, Time, echo, hub, numbers};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const MANY: u32 = 100_000;
/// More than 2^16.
const OVER_U16: u32 = 70_000;

const fn conn(slot: u32) -> ConnId {
    ConnId { slot, generation: 0 }
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// The actions of a machine for one event.
fn handle<M: Machine>(machine: &mut M, event: Event<M::Message, M::Command>) -> Vec<Action<M::Message, M::Notice>> {
    let mut out = Actions::default();
    machine.handle(Time::ZERO, event, &mut out);
    out.drain().collect()
}

fn open<M: Machine>(machine: &mut M, slot: u32) {
    let opened = Opened {
        dial: None,
        text: false,
        principal: None,
    };
    assert!(handle(machine, Event::Opened(conn(slot), opened)).is_empty());
}

#[test]
fn each_of_a_hundred_thousand_connections_is_chosen_as_often() {
    const PICKS: u32 = 30 * MANY;
    let mut set = ConnSet::new();
    for slot in 0..MANY {
        assert!(set.insert(conn(slot), ()));
    }
    let (mut rng, mut chosen) = (rng(), vec![0_u32; MANY as usize]);
    for _ in 0..PICKS {
        chosen[set.pick(&mut rng).unwrap().slot as usize] += 1;
    }
    let expected = f64::from(PICKS / MANY);
    let statistic: f64 = chosen
        .iter()
        .map(|count| (f64::from(*count) - expected).powi(2) / expected)
        .sum();
    // One degree of freedom less than connections. That is the mean of χ²; its variance is twice that.
    let degrees = f64::from(MANY - 1);
    let deviations = (statistic - degrees) / (2.0 * degrees).sqrt();
    assert!(deviations.abs() < 5.0, "χ² = {statistic}");
}

#[test]
fn seventy_thousand_late_answers_of_one_connection_are_counted() {
    const CONNECTIONS: u32 = 4;
    const EACH: u32 = 1000;
    const MANY_LATE: u64 = OVER_U16 as u64;
    let mut server = echo::Server::new(echo::ServerConfig::default(), rng());
    (0..CONNECTIONS).for_each(|slot| open(&mut server, slot));
    let x = Bytes::from_static(b"the same");
    let (slow, mut owed, mut answered) = (0, 0, 0);
    while owed < MANY_LATE {
        let mut held = [0_u64; CONNECTIONS as usize];
        for n in 0..CONNECTIONS * EACH {
            let message = echo::Message::Message(x.clone());
            match handle(&mut server, Event::Received(conn(n % CONNECTIONS), message))[..] {
                [Action::Send(to, echo::Message::Message(_))] => held[to.slot as usize] += 1,
                ref other => panic!("{other:?}"),
            }
        }
        // The first answer ends all flights.
        for (slot, held) in (0..).zip(held).skip(1) {
            (0..held).for_each(|_| {
                drop(handle(
                    &mut server,
                    Event::Received(conn(slot), echo::Message::Ok(x.clone())),
                ))
            });
            answered += held;
        }
        owed += held[slow];
    }
    let mut answer = || handle(&mut server, Event::Received(conn(0), echo::Message::Ok(x.clone())));
    (0..owed).for_each(|_| drop(answer()));
    let not_held =
        |action: &Action<_, _>| matches!(action, Action::Send(_, echo::Message::Error(ErrorCode::NotHeld, _)));
    assert!(answer().iter().any(not_held));
    let counters = *server.counters();
    assert_eq!(counters.oks + counters.oks_late, answered + owed);
    assert_eq!(counters.oks_unexpected, 1);
}

#[test]
fn a_list_of_users_may_be_longer_than_the_longest_request() {
    const USERS: u32 = 140_000;
    const LONGEST_REQUEST: usize = 2 + hub::MAX_RECEIVERS * 8 + hub::MAX_BODY;
    let mut server = hub::Server::new();
    (0..USERS).for_each(|slot| open(&mut server, slot));
    let list = hub::Message::Request(hub::Request::List);
    let [Action::Send(to, reply)] = &handle(&mut server, Event::Received(conn(0), list))[..] else {
        panic!("no answer");
    };
    assert_eq!(*to, conn(0));
    let mut outbox = Outbox::new();
    let mut codec = hub::HubCodec::accepted();
    // The hub uses the framing of its peer.
    assert_eq!(
        codec.decode(&mut BytesMut::from(&[0; 4][..])),
        Ok(Some(Decoded::Keepalive))
    );
    codec.encode(reply, &mut outbox);
    let mut bytes = BytesMut::from(&outbox.chunks().collect::<Vec<_>>().concat()[..]);
    let Ok(Some(Decoded::Message(hub::Message::Reply(hub::Reply::List(ids))))) =
        hub::HubCodec::dialled().decode(&mut bytes)
    else {
        panic!("no list");
    };
    assert!(8 * ids.len() > LONGEST_REQUEST);
    assert!(ids.iter().eq(2..=u64::from(USERS)));
    assert!(bytes.is_empty());
}

#[test]
fn one_ok_reaches_seventy_thousand_flights_of_an_x() {
    const EACH: u32 = 1000;
    let mut server = echo::Server::new(echo::ServerConfig::default(), rng());
    let x = Bytes::from_static(b"the same");
    (0..OVER_U16 / EACH).for_each(|slot| open(&mut server, slot));
    let mut holder = None;
    for n in 0..OVER_U16 {
        let message = echo::Message::Message(x.clone());
        match handle(&mut server, Event::Received(conn(n / EACH), message))[..] {
            [Action::Send(to, echo::Message::Message(_))] => holder = Some(to),
            ref other => panic!("{other:?}"),
        }
    }
    let oks = handle(&mut server, Event::Received(holder.unwrap(), echo::Message::Ok(x)));
    assert_eq!(oks.len(), OVER_U16 as usize);
    let mut received = [0; (OVER_U16 / EACH) as usize];
    for ok in oks {
        match ok {
            Action::Send(to, echo::Message::Ok(_)) => received[to.slot as usize] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(received.iter().all(|count| *count == EACH), "{received:?}");
    assert_eq!(server.flight_count(), 0);
}

fn start(uuid: u32, n: u16) -> numbers::Message {
    let uuid = Uuid::from_u128(u128::from(uuid) << 64);
    numbers::Message::StartSession { uuid, n }
}

#[test]
fn a_numbers_server_keeps_seventy_thousand_sessions_and_no_more() {
    let config = numbers::ServerConfig {
        max_sessions: OVER_U16 as usize,
        ..numbers::ServerConfig::default()
    };
    let mut server = numbers::Server::new(config, rng());
    (0..=OVER_U16).for_each(|slot| open(&mut server, slot));
    for slot in 0..OVER_U16 {
        match handle(&mut server, Event::Received(conn(slot), start(slot, 2)))[..] {
            [Action::Send(to, numbers::Message::Number(_))] => assert_eq!(to, conn(slot)),
            ref other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.sessions(), OVER_U16 as usize);
    let refused = handle(&mut server, Event::Received(conn(OVER_U16), start(OVER_U16, 2)));
    assert!(matches!(
        refused[..],
        [Action::Send(_, numbers::Message::Error(ErrorCode::TooManySessions, _))]
    ));
    assert_eq!(server.sessions(), OVER_U16 as usize);
}

#[test]
fn the_longest_session_is_sent_whole() {
    const N: u16 = u16::MAX;
    let mut server = numbers::Server::new(numbers::ServerConfig::default(), rng());
    open(&mut server, 0);
    let mut actions = handle(&mut server, Event::Received(conn(0), start(1, N)));
    let mut sent = Vec::new();
    let mut finished = false;
    while !finished {
        for action in actions {
            match action {
                Action::Send(_, numbers::Message::Number(number)) => sent.push(number),
                Action::Finish(_) => finished = true,
                other => panic!("{other:?}"),
            }
        }
        let mut out = Actions::default();
        if !finished {
            let due = server.next_deadline().expect("the stream continues");
            server.handle(due, Event::Deadline, &mut out);
        }
        actions = out.drain().collect();
    }
    let mut sequence = Sequence::new(Uuid::from_u128(1 << 64));
    let expected: Vec<u32> = sequence.after(0).take(N.into()).collect();
    let checksum = expected.iter().copied().fold(Checksum::default(), Checksum::plus);
    let expected = expected.into_iter().chain([checksum.value()]).map(u64::from);
    assert!(expected.eq(sent));
}

/// An id of the first use of a slot stays stale after 2^16 more.
#[test]
fn an_id_stays_stale_through_seventy_thousand_generations() {
    let server = echo::Server::new(echo::ServerConfig::default(), rng());
    let codec = echo::EchoCodec::accepted(echo::MAX_MESSAGE);
    let mut endpoint = Endpoint::new(server, codec, ConnectionConfig::default());
    let first = endpoint.accept(Time::ZERO).unwrap();
    endpoint.failed(Time::ZERO, first);
    while endpoint.poll_effect().is_some() {}
    let mut set = ConnSet::new();
    for generation in 1..OVER_U16 {
        let id = endpoint.accept(Time::ZERO).unwrap();
        assert_eq!((id.slot, id.generation), (first.slot, generation));
        assert!(endpoint.outbox(first).is_none());
        assert!(set.insert(id, ()));
        assert!(!set.contains(first));
        set.remove(id);
        endpoint.failed(Time::ZERO, id);
        while endpoint.poll_effect().is_some() {}
    }
}
