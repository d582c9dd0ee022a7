//! A numbers server behind gRPC, and its clients: tonic's, our own, and peers that send HTTP/2 frames by hand.

#![allow(clippy::unwrap_used)]

mod bounds;
mod calls;
mod client;
mod connections;
mod cuts;
mod drain;
mod faults;
mod memory;
mod peer;
mod standard;
mod support;
