//! What the fuzz targets do with the bytes they are given. Each panics if a promise of `echosphere-core` does not hold,
//! and does the same with the same bytes, in any build.

mod chat;
mod codecs;
mod echo;
mod hub;
mod numbers;
mod peer;
mod plan;
mod watched;
mod wire;
mod world;

use std::path::PathBuf;

pub use codecs::codecs;
pub use wire::wire;

use plan::Plan;

/// Steps taken from one input at most, so that none takes long.
const MAX_STEPS: usize = 400;

/// An echo server's endpoint, and a plan of what its peers, its sockets and its clock do.
pub fn server(data: &[u8]) {
    play::<echo::Server>(data);
}

/// An echo client's endpoint, and a plan of what its caller, its server, its sockets and its clock do.
pub fn client(data: &[u8]) {
    play::<echo::Client>(data);
}

/// The same for the hub: the first byte says on which side.
pub fn hub(data: &[u8]) {
    either::<hub::Server, hub::Client>(data);
}

/// The same for the chat.
pub fn chat(data: &[u8]) {
    either::<chat::Server, chat::Client>(data);
}

/// The same for the numbers.
pub fn numbers(data: &[u8]) {
    either::<numbers::Server, numbers::Client>(data);
}

fn either<S: world::Subject, C: world::Subject>(data: &[u8]) {
    match data {
        [side, data @ ..] if side % 2 == 0 => play::<S>(data),
        [_, data @ ..] => play::<C>(data),
        [] => {}
    }
}

fn play<M: world::Subject>(data: &[u8]) {
    let mut plan = Plan::new(data);
    let mut world = world::World::<M>::new(plan.settings());
    for step in plan.steps().take(MAX_STEPS) {
        world.step(&step);
    }
    world.finish();
}

/// Runs `target` on each of `files`, and says which before it does, so that the last one named is the one that failed.
///
/// # Panics
///
/// If the target does, or a file cannot be read.
pub fn replay(target: fn(&[u8]), files: impl Iterator<Item = PathBuf>) {
    for file in files {
        println!("{}", file.display());
        target(&std::fs::read(&file).expect("an input must be readable"));
    }
}
