//! The cases on turmoil's network.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::echo::Command;
use echosphere_core::endpoint::Endpoint;
use echosphere_driver::Driver;
use sim::dice::{Dice, Purpose};
use sim::marks::Marks;
use sim::net::{Chop, Chopper, Connector, Listener, Rules};
use sim::observe::Observed;
use sim::scenario::{LINK, RESPONSE_TIMEOUT};
use turmoil::{Builder, Sim};

use crate::cases::{Blow, Case};
use crate::log::{Outcome, SharedLog};
use crate::player;

const SERVER: &str = "server";
const CLIENT: &str = "client";
/// When the event in between happens, long after everything sent has arrived.
const BLOW: Duration = Duration::from_millis(500);
/// Longer than any time-out.
const END: Duration = Duration::from_secs(8);

pub(crate) fn play(case: &Case) -> Option<Outcome> {
    let log = SharedLog::default();
    let mut sim = Builder::new()
        .simulation_duration(2 * END)
        .tcp_capacity(4096)
        .min_message_latency(Duration::from_millis(5))
        .max_message_latency(Duration::from_millis(5))
        .rng_seed(1)
        .build();
    host_server(&mut sim, case, &log);
    host_client(&mut sim, case, &log);
    until(&mut sim, BLOW);
    match case.blow {
        Blow::ClientResets => return None,
        Blow::ClientDies => sim.crash(CLIENT),
        Blow::ServerDies => sim.crash(SERVER),
        Blow::None | Blow::NoListener | Blow::NoAnswer => {}
    }
    until(&mut sim, END);
    let said = log.lock().unwrap().said();
    Some(said)
}

fn until(sim: &mut Sim<'_>, end: Duration) {
    while sim.elapsed() < end {
        sim.step().unwrap();
    }
}

fn host_server(sim: &mut Sim<'_>, case: &Case, log: &SharedLog) {
    let log = Arc::clone(log);
    let listens = case.blow != Blow::NoListener;
    sim.host(SERVER, move || {
        let log = Arc::clone(&log);
        async move {
            if !listens {
                return std::future::pending().await;
            }
            let (machine, codec) = player::server();
            let machine = Observed::new(machine, move |_: &_, event: &_, actions: &[_]| {
                log.lock().unwrap().server(event, actions);
            });
            let listener = Listener::bind(sound()).await?;
            let (driver, _handle) = Driver::new(Endpoint::new(machine, codec, LINK));
            let driver = driver.listen(listener);
            driver.run().await;
            Ok(())
        }
    });
}

fn host_client(sim: &mut Sim<'_>, case: &Case, log: &SharedLog) {
    let log = Arc::clone(log);
    let (script, x, cut) = (case.script, case.x, case.blow == Blow::NoAnswer);
    sim.host(CLIENT, move || {
        let log = Arc::clone(&log);
        async move {
            if cut {
                turmoil::partition(CLIENT, SERVER);
            }
            let (machine, codec) = player::client(script, RESPONSE_TIMEOUT);
            let machine = Observed::new(machine, move |_: &_, event: &_, actions: &[_]| {
                log.lock().unwrap().client(event, actions, script.is_some());
            });
            let connector = Connector::new(SERVER, sound());
            let (driver, handle) = Driver::new(Endpoint::new(machine, codec, LINK));
            let driver = driver.connect(connector);
            let x = Bytes::from(vec![b'x'; x]);
            handle.command(Command::Send { key: 1, x }).await?;
            driver.run().await;
            Ok(())
        }
    });
}

/// Leaves streams alone.
fn sound() -> Chopper {
    let healed = Arc::new(AtomicBool::new(true));
    Chopper::new(
        Chop::default(),
        healed,
        Dice::new(1, Purpose::Network),
        Marks::default(),
        Arc::new(Rules::new(LINK.linger, false, false)),
    )
}
