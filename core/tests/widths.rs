//! Numbers that go beyond 2^8 and 2^16, where a field of fewer bits would wrap, saturate or miss some.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::{Bytes, BytesMut};
use echosphere_core::conn_set::ConnSet;
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Outbox};
use echosphere_core::{Action, Actions, ConnId, Event, Machine, Opened, Time, echo, hub};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const MANY: u32 = 100_000;

const fn conn(slot: u32) -> ConnId {
    ConnId { slot, generation: 0 }
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// What a machine does.
fn handle<M: Machine>(machine: &mut M, event: Event<M::Message, M::Command>) -> Vec<Action<M::Message, M::Notice>> {
    let mut out = Actions::default();
    machine.handle(Time::ZERO, event, &mut out);
    out.drain().collect()
}

fn open<M: Machine>(machine: &mut M, slot: u32) {
    let opened = Opened {
        dial: None,
        text: false,
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
    // So many degrees of freedom, nearly; its standard deviation is the root of twice that.
    let degrees = f64::from(MANY);
    let deviations = (statistic - degrees) / (2.0 * degrees).sqrt();
    assert!(deviations.abs() < 5.0, "χ² = {statistic}");
}

#[test]
fn seventy_thousand_late_answers_of_one_connection_are_known() {
    const CONNECTIONS: u32 = 4;
    const EACH: u32 = 1000;
    const MANY_LATE: u64 = 70_000;
    let mut server = echo::Server::new(echo::ServerConfig::default(), rng());
    (0..CONNECTIONS).for_each(|slot| open(&mut server, slot));
    let x = Bytes::from_static(b"the same");
    let (slow, mut owed, mut answered) = (0, 0, 0);
    while owed < MANY_LATE {
        let mut held = [0_u64; CONNECTIONS as usize];
        for n in 0..CONNECTIONS * EACH {
            let said = echo::Message::Message(x.clone());
            match handle(&mut server, Event::Received(conn(n % CONNECTIONS), said))[..] {
                [Action::Send(to, echo::Message::Message(_))] => held[to.slot as usize] += 1,
                ref other => panic!("{other:?}"),
            }
        }
        // The first answer ends them all.
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
fn a_list_of_a_hundred_thousand_users_is_whole() {
    let mut server = hub::Server::new();
    (0..MANY).for_each(|slot| open(&mut server, slot));
    let list = hub::Message::Request(hub::Request::List);
    let [Action::Send(to, reply)] = &handle(&mut server, Event::Received(conn(0), list))[..] else {
        panic!("no answer");
    };
    assert_eq!(*to, conn(0));
    let mut outbox = Outbox::new();
    let mut codec = hub::HubCodec::accepted();
    // It speaks as its peer does.
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
    assert!(ids.iter().eq(2..=u64::from(MANY)));
    assert!(bytes.is_empty());
}
