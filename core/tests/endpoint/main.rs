//! An echo server or client with its connections, tested with bytes and times.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod bounds;
mod closing;
mod dialling;
mod drain;
mod effects;
mod finishing;
mod fixture;
mod lateness;
mod partial;
mod protocol_examples;
mod silence;
#[path = "../support/mod.rs"]
mod support;
