//! The memory of a numbers session without a connection, in bytes.
//!
//!     cargo run --release -p echosphere-core --example session_memory

#![allow(clippy::print_stdout)]

use std::fs;
use std::time::Duration;

use echosphere_core::machine::Opened;
use echosphere_core::numbers::{Message, Server, ServerConfig, Uuid};
use echosphere_core::{Actions, CloseReason, ConnId, Event, Machine, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const SESSIONS: u32 = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut server = Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(2));
    let mut actions = Actions::new();
    let mut visit = |server: &mut Server<_>, generation, request| {
        let now = Time::from_nanos(u64::from(generation));
        let conn = ConnId { slot: 0, generation };
        let opened = Opened {
            dial: None,
            text: true,
            principal: None,
        };
        server.handle(now, Event::Opened(conn, opened), &mut actions);
        server.handle(now, Event::Received(conn, request), &mut actions);
        server.handle(now, Event::Closed(conn, CloseReason::Reset), &mut actions);
        drop(actions.drain());
    };

    let before = resident()?;
    for generation in 0..SESSIONS {
        let uuid = Uuid::from_u64_pair(random.next_u64(), random.next_u64());
        visit(&mut server, generation, Message::StartSession { uuid, n: u16::MAX });
    }
    let each = (resident()? - before) as f64 / f64::from(SESSIONS);
    println!("{} sessions, {each:.0} bytes each", server.sessions());

    let mut actions = Actions::new();
    server.handle(Time::ZERO + Duration::from_secs(60), Event::Deadline, &mut actions);
    println!("a minute later there are {}", server.sessions());
    Ok(())
}

/// The resident memory of this process, in bytes.
fn resident() -> Result<u64, Box<dyn std::error::Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(kilobytes.parse::<u64>()? * 1024)
}
