//! Clients that arrive over a minute of virtual time on the turmoil lane, with every check whose cost
//! does not grow with what is in flight. `cargo run --release -p sim --example crowd [clients] [seed]`;
//! default 100,000 clients.

#![allow(clippy::print_stdout)]

use std::env;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::ClientConfig;
use sim::hosts::CLIENTS;
use sim::marks::Mark;
use sim::oracle::echo::Echo;
use sim::{Scenario, run};
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = env::args().skip(1);
    let clients: usize = args.next().map_or(Ok(100_000), |arg| arg.parse())?;
    let seed = args.next().map_or(Ok(0), |arg| arg.parse())?;

    let echo = Echo {
        client: ClientConfig::default(),
        ..Echo::crowd(seed, CLIENTS.len(), clients, WINDOW)
    };
    let scenario = Scenario {
        latency: (Duration::from_millis(1), Duration::from_millis(50)),
        link: ConnectionConfig::default(),
        safety: WINDOW,
        deep: false,
        ..Scenario::calm(seed, CLIENTS.len())
    };

    let start = Instant::now();
    let report = run(&scenario, echo)?;
    println!("took          {:?}", start.elapsed());
    println!("virtual time  {:?}", report.zero_at);
    println!("acknowledged  {} of {clients}", report.oracle.acknowledged());
    println!("retries       {}", report.oracle.retries());
    println!("re-forwards   {}", report.marks.count(Mark::Reforward));
    println!("events        {}", report.events);
    println!("trace hash    {:016x}", report.hash);
    Ok(())
}
