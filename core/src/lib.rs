//! The state machines of the Echosphere relay, without IO.
//!
//! This crate contains no networking code, reads no clock, draws from no global RNG, starts no thread and depends on
//! no map's iteration order. It is told what happened and when, and says what to do; the same events with the same
//! seed give the same actions, byte for byte. It needs `alloc` and no `std`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`machine`] | the contract: [`Machine`], [`Event`], [`Action`], [`Time`], [`ConnId`] |
//! | [`echo`] | the echo protocol: server, client, wire format |
//! | [`chat`] | the chat protocol: server, client, wire format |
//! | [`hub`] | the hub protocol: server, client, wire format |
//! | [`numbers`] | the numbers protocol: server, client, wire format |
//! | [`wire`] | the two framings, the [`Codec`](wire::Codec) contract, the outbox |
//! | [`endpoint`] | a machine with all its connections: what a driver drives |
//! | [`connection`] | one connection's time-outs and bounds |
//! | [`attempts`] | how clients connect, try again and give up |
//! | [`conn_set`] | live connections with an O(1) uniform pick |
//! | [`counters`] | what was done and dropped |
//! | [`timers`] | deadlines |
//! | [`random`] | uniform choice, delays, backoff |
//!
//! To embed it, give an [`Endpoint`](endpoint::Endpoint) the bytes your sockets read and write what it puts into its
//! outboxes: `examples/by_hand.rs` does so with `std` alone. To carry typed messages without bytes, drive a
//! [`Machine`] yourself.

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
pub mod random;
pub mod timers;
pub mod wire;

pub use bytes;
pub use machine::{Action, Actions, CloseReason, ConnId, DialError, DialToken, Event, Machine, Opened, Time};
