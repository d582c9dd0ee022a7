//! Memory that servers hold, by what their allocator has given out: what an idle connection keeps after each kind of
//! traffic, and what is left when all have gone.
#![allow(clippy::unwrap_used, missing_docs)]

mod traffic;
mod world;

use traffic::{chat, echo, hub, numbers};
use world::{End, World};

/// More lives than any table or heap of a server needs to reach its full size.
const LIVES: usize = 1000;
/// Connections at once.
const CONNECTIONS: usize = 50;
/// What a server may hold after its first traffic, and did not before: its tables and pools have grown to what was under
/// way at once. In bytes, for each of the connections.
const KEPT: i64 = 64;
/// The same, where up to 500 messages were under way at once.
const KEPT_OF_MANY: i64 = 8192;

/// For each kind of traffic of each system and each way in which connections end: 1,000 of them leave nothing behind.
#[test]
fn a_thousand_connections_leave_nothing_behind() {
    fn check<S: world::System>(name: &str, world: fn() -> World<S>, traffic: world::Traffic<S>) {
        for end in [End::Close, End::HalfMessage, End::Loss] {
            let mut world = world();
            // Tables and pools reach their size.
            (0..LIVES / 10).for_each(|_| world.live(traffic, end));
            let left = allocation_counter::measure(|| (0..LIVES).for_each(|_| world.live(traffic, end)));
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

/// An idle connection keeps nothing of what it has sent and received.
#[test]
fn an_idle_connection_keeps_nothing_of_its_traffic() {
    fn check<S: world::System>(name: &str, mut world: World<S>, traffic: world::Traffic<S>) {
        // A server of one connection is measured with one.
        let connections = if S::ALONE { 1 } else { CONNECTIONS };
        // The tables have their size.
        let ids: Vec<_> = (0..connections).map(|_| world.open(traffic)).collect();
        world.talk(ids[0], traffic);
        ids.into_iter().for_each(|id| world.close(id));
        let ids: Vec<_> = (0..connections).map(|_| world.open(traffic)).collect();
        let mut talk = || allocation_counter::measure(|| ids.iter().for_each(|id| world.talk(*id, traffic)));
        let kept = talk();
        let each = kept.bytes_current / connections as i64;
        let most = if traffic.many { KEPT_OF_MANY } else { KEPT };
        assert!(each <= most, "{name}: {each} bytes of each connection, {kept:?}");
        // A chat's messages are numbered, and cannot be sent again.
        if S::ALONE {
            return;
        }
        // By chance, one connection can be sent more at once than ever before, and others less.
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

/// What is held of a short message is its own size, and not that of the buffer that it was read into.
#[test]
fn what_is_held_of_a_message_is_not_the_buffer_it_came_in() {
    /// Its entry in the books, its place in queues that grow by doubling, and its bytes.
    const MOST: i64 = 1024;
    const MESSAGES: u64 = 100;
    fn check<S: world::System>(name: &str, mut world: World<S>, frame: fn(u64) -> Vec<u8>) {
        let (id, _) = (world.open(S::HELLO), (!S::ALONE).then(|| world.open(S::HELLO)));
        let mut all = 1..;
        let mut say = |count| (0..count).for_each(|_| world.receive(id, &frame(all.next().unwrap())));
        // The tables have their size.
        say(2 * MESSAGES);
        let held = allocation_counter::measure(|| say(MESSAGES));
        let each = held.bytes_current / MESSAGES as i64;
        assert!(each <= MOST, "{name}: {each} bytes of each message, {held:?}");
    }
    check("echo", echo::world(), |n| world::frame(format!("message {n} x")));
    check("hub", hub::world(), |_| hub::relay(b"not read"));
    check("chat", chat::world(), |n| chat::part(5, n, b"its caller has it"));
}
