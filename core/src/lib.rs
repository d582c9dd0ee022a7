//! The state machines of the Echosphere relay, without IO.
//!
//! This crate contains no networking code, reads no clock, uses no global RNG, starts no threads and does not depend on
//! the iteration order of maps. Its input is events with their times, its output is actions. The same events with the
//! same seed give the same actions, byte for byte. It needs `alloc` but not `std`.
//!
//! | module | contents |
//! |---|---|
//! | [`machine`] | the interface of a protocol: [`Machine`], [`Event`], [`Action`], [`Time`], [`ConnId`] |
//! | [`echo`] | the echo protocol: server, client, wire format |
//! | [`hub`] | the hub protocol: server, client, wire format |
//! | [`chat`] | the chat protocol: server, client, wire format |
//! | [`numbers`] | the numbers protocol: server, client, wire format |
//! | [`wire`] | the two framings, the [`Codec`](wire::Codec) trait, the outbox, the table of errors |
//! | [`endpoint`] | a machine with its connections: what a driver runs |
//! | [`connection`] | the time-outs and limits of connections |
//! | [`attempts`] | how clients connect, retry and give up |
//! | [`failure`] | why a client failed |
//! | [`conn_set`] | a map of live connections with an O(1) uniform random choice |
//! | [`counters`] | counters of connections |
//! | [`timers`] | deadlines |
//! | [`random`] | uniform choice, delays, backoff |
//!
//! To embed it, pass the bytes that your sockets read to an [`Endpoint`](endpoint::Endpoint), and write its outboxes to
//! them, as `examples/by_hand.rs` does with `std` alone. To use typed messages without bytes, drive a [`Machine`]
//! directly.

#![no_std]

extern crate alloc;

pub mod attempts;
mod buffers;
pub mod chat;
pub mod conn_set;
pub mod connection;
mod connections;
pub mod counters;
pub mod echo;
pub mod endpoint;
pub mod failure;
pub mod hub;
pub mod machine;
pub mod numbers;
mod partial;
mod principal;
pub mod random;
pub mod timers;
pub mod wire;

pub use bytes;
pub use machine::{
    Action, Actions, CloseReason, ConnId, DialError, DialTarget, DialToken, Event, Machine, Opened, Time,
};
pub use principal::Principal;
