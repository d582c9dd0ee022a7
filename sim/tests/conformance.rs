//! The streams of turmoil's lane keep the contract of transports, also where they keep bytes until a flush.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use echosphere_driver::conformance::{Transport, check};
use sim::dice::{Dice, Purpose};
use sim::marks::Marks;
use sim::net::{Chop, Chopper, Connector, Listener, Rules};

const HOST: &str = "host";

/// Streams that behave in this manner.
struct Simulated(Chop, Arc<Rules>);

impl Simulated {
    fn chopper(&self) -> Chopper {
        let rules = Arc::clone(&self.1);
        let healed = Arc::new(AtomicBool::new(false));
        let dice = Dice::new(1, Purpose::Chop(0, 0));
        Chopper::new(self.0, healed, dice, Marks::default(), rules)
    }
}

#[async_trait]
impl Transport for Simulated {
    type Listener = Listener;
    type Connector = Connector;

    async fn start(&self) -> io::Result<(Listener, Connector)> {
        let listener = Listener::bind(self.chopper()).await?;
        Ok((listener, Connector::new(HOST, self.chopper())))
    }

    fn connections(&self) -> usize {
        100
    }
}

fn keeps_the_contract(chop: Chop) {
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(600))
        .tcp_capacity(512)
        .build();
    sim.client(HOST, async move {
        let rules = Rules::new(Duration::from_secs(3600), true, true);
        check(&Simulated(chop, Arc::new(rules))).await.assert_passed();
        Ok(())
    });
    sim.run().expect("the cases end");
}

#[test]
fn plain_streams_keep_the_contract() {
    keeps_the_contract(Chop::default());
}

#[test]
fn streams_that_are_cut_to_pieces_keep_the_contract() {
    keeps_the_contract(Chop {
        partial_write: 0.5,
        short_read: 0.5,
        pending: 0.2,
        segment: 1460,
        ..Chop::default()
    });
}

#[test]
fn streams_that_keep_bytes_until_a_flush_keep_the_contract() {
    keeps_the_contract(Chop {
        buffer: 4096,
        negotiation: 1.0,
        ..Chop::default()
    });
}
