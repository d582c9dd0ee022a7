//! An echo server or client with its connections, driven with bytes and times.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod bench;
mod bounds;
mod closing;
mod dialling;
mod drain;
mod finishing;
mod lateness;
mod partial;
mod protocol_examples;
mod silence;
