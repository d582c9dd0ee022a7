//! The fuzz targets. Each panics if Echosphere breaks an invariant. The same bytes give the same run in any build.

mod chat;
mod codecs;
mod echo;
mod hub;
mod numbers;
mod peer;
mod plan;
mod subject;
mod watched;
mod websocket;
mod wire;
mod world;

use std::path::PathBuf;

pub use codecs::codecs;
pub use websocket::websocket;
pub use wire::wire;

use plan::Plan;

/// The most steps of one input.
const MAX_STEPS: usize = 400;

/// Fuzzes the endpoint of an echo server. The input is a plan for its peers, sockets and clock.
pub fn server(data: &[u8]) {
    run::<echo::Server>(data);
}

/// Fuzzes the endpoint of an echo client. The input is a plan for its caller, server, sockets and clock.
pub fn client(data: &[u8]) {
    run::<echo::Client>(data);
}

/// Fuzzes one side of the hub; the first byte of the input selects it.
pub fn hub(data: &[u8]) {
    either::<hub::Server, hub::Client>(data);
}

/// Fuzzes one side of the chat; the first byte of the input selects it.
pub fn chat(data: &[u8]) {
    either::<chat::Server, chat::Client>(data);
}

/// Fuzzes one side of numbers; the first byte of the input selects it.
pub fn numbers(data: &[u8]) {
    either::<numbers::Server, numbers::Client>(data);
}

fn either<S: subject::Subject, C: subject::Subject>(data: &[u8]) {
    match data {
        [first, data @ ..] if first % 2 == 0 => run::<S>(data),
        [_, data @ ..] => run::<C>(data),
        [] => {}
    }
}

fn run<M: subject::Subject>(data: &[u8]) {
    let mut plan = Plan::new(data);
    let mut world = world::World::<M>::new(plan.settings());
    for step in plan.steps().take(MAX_STEPS) {
        world.step(&step);
    }
    world.finish();
}

/// Runs `target` on each of `files`. Prints each name first, so that the last one is the one that failed.
///
/// # Panics
///
/// If the target panics, or a file cannot be read.
pub fn replay(target: fn(&[u8]), files: impl Iterator<Item = PathBuf>) {
    for file in files {
        println!("{}", file.display());
        target(&std::fs::read(&file).expect("an input must be readable"));
    }
}
