//! The memory of servers, as counted by the allocator: what an idle connection keeps after each kind of traffic, and
//! what is left when all connections have ended.
#![allow(clippy::unwrap_used, missing_docs)]

mod traffic;
mod world;

use traffic::{chat, echo, hub, numbers};
use world::{End, World};

/// More than any table or heap of a server needs to reach its full size.
const LIVES: usize = 1000;
/// Connections at the same time.
const CONNECTIONS: usize = 50;
/// Bytes per connection that a server may keep after its first traffic: tables and pools have grown to what was in
/// progress at the same time.
const KEPT: i64 = 64;
/// As `KEPT`, where up to 500 messages were in progress at the same time.
const KEPT_OF_MANY: i64 = 8192;

/// After each kind of traffic of each system, 1,000 closed connections leave nothing behind, and 200 for each other way to
/// end.
#[test]
fn a_thousand_connections_leave_nothing_behind() {
    fn check<S: world::System>(name: &str, world: fn() -> World<S>, traffic: world::Traffic<S>) {
        for end in [End::Close, End::HalfMessage, End::Loss] {
            let mut world = world();
            // Tables and pools reach their size.
            (0..LIVES / 10).for_each(|_| world.live(traffic, end));
            let lives = if end == End::Close { LIVES } else { LIVES / 5 };
            let left = allocation_counter::measure(|| (0..lives).for_each(|_| world.live(traffic, end)));
            assert_eq!(
                (left.bytes_current, left.count_current),
                (0, 0),
                "{name}, {end:?}: {left:?}"
            );
        }
    }
    echo::KINDS
        .iter()
        .for_each(|(name, traffic)| check(name, echo::world, *traffic));
    hub::KINDS
        .iter()
        .for_each(|(name, traffic)| check(name, hub::world, *traffic));
    chat::KINDS
        .iter()
        .for_each(|(name, traffic)| check(name, chat::world, *traffic));
    numbers::KINDS
        .iter()
        .for_each(|(name, traffic)| check(name, numbers::world, *traffic));
}

/// An idle connection keeps nothing of its traffic.
#[test]
fn an_idle_connection_keeps_nothing_of_its_traffic() {
    fn check<S: world::System>(name: &str, mut world: World<S>, traffic: world::Traffic<S>) {
        // A server with one session is measured with one connection.
        let connections = if S::ALONE { 1 } else { CONNECTIONS };
        // Tables reach their size.
        let ids: Vec<_> = (0..connections).map(|_| world.open(traffic)).collect();
        world.talk(ids[0], traffic);
        ids.into_iter().for_each(|id| world.close(id));
        let ids: Vec<_> = (0..connections).map(|_| world.open(traffic)).collect();
        let mut talk = || allocation_counter::measure(|| ids.iter().for_each(|id| world.talk(*id, traffic)));
        let kept = talk();
        let each = kept.bytes_current / connections as i64;
        let most = if traffic.many { KEPT_OF_MANY } else { KEPT };
        assert!(each <= most, "{name}: {each} bytes of each connection, {kept:?}");
        // The messages of a chat are numbered and cannot be sent again.
        if S::ALONE {
            return;
        }
        // A random choice may give one connection more at a time than ever before.
        let most = if traffic.many { KEPT_OF_MANY } else { 0 };
        let again = talk();
        assert!(again.bytes_current / connections as i64 <= most, "{name}: {again:?}");
    }
    for (name, traffic) in echo::KINDS {
        check(name, echo::world(), traffic);
    }
    for (name, traffic) in hub::KINDS {
        check(name, hub::world(), traffic);
    }
    for (name, traffic) in chat::KINDS {
        check(name, chat::world(), traffic);
    }
    for (name, traffic) in numbers::KINDS {
        check(name, numbers::world(), traffic);
    }
}

/// A held short message takes its own size, not that of the read buffer.
#[test]
fn a_held_message_does_not_keep_its_read_buffer() {
    /// An entry in the tables, its share of queues that grow by doubling, and its bytes.
    const MOST: i64 = 1024;
    const MESSAGES: u64 = 100;
    fn check<S: world::System>(name: &str, mut world: World<S>, frame: fn(u64) -> Vec<u8>) {
        let (id, _) = (world.open(S::HELLO), (!S::ALONE).then(|| world.open(S::HELLO)));
        let mut all = 1..;
        let mut say = |count| (0..count).for_each(|_| world.receive(id, &frame(all.next().unwrap())));
        // Tables reach their size.
        say(2 * MESSAGES);
        let held = allocation_counter::measure(|| say(MESSAGES));
        let each = held.bytes_current / MESSAGES as i64;
        assert!(each <= MOST, "{name}: {each} bytes of each message, {held:?}");
    }
    check("echo", echo::world(), |n| world::frame(format!("message {n} x")));
    check("hub", hub::world(), |_| hub::relay(b"not read"));
    check("chat", chat::world(), |n| chat::part(5, n, b"its caller has it"));
}
