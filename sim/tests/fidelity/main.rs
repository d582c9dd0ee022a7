//! The same small cases on three networks: real TCP on loopback, turmoil's network, and the direct
//! lane's modelled streams. The events of both sides are compared. Where networks differ, the table in
//! `cases.rs` and in `docs/FIDELITY.md` lists it.

#![allow(clippy::unwrap_used)]

mod cases;
mod direct;
mod log;
mod player;
mod tcp;
mod turmoil;

use cases::{CASES, Case, Network};
use log::Outcome;

const DOC: &str = include_str!("../../../docs/FIDELITY.md");

fn play(case: &Case, network: Network) -> Option<Outcome> {
    match network {
        Network::Tcp => tcp::play(case),
        Network::Turmoil => turmoil::play(case),
        Network::Direct => direct::play(case),
    }
}

fn check(network: Network) {
    for case in CASES {
        let expected = case.expected(network);
        let said = play(case, network);
        let said = said.as_ref().map(|said| (said.server.as_str(), said.client.as_str()));
        assert_eq!(said, expected, "{} on {network:?}", case.name);
    }
}

#[test]
fn on_loopback_tcp() {
    check(Network::Tcp);
}

#[test]
fn on_turmoil() {
    check(Network::Turmoil);
}

#[test]
fn on_modelled_streams() {
    check(Network::Direct);
}

#[test]
fn the_document_has_the_same_table() {
    let table = cases::table();
    assert!(DOC.contains(&table), "docs/FIDELITY.md should contain:\n{table}");
}
