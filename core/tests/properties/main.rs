//! Properties that hold for all events in all orders.

#![allow(clippy::unwrap_used)]

mod collections;
mod echo_client;
mod echo_server;
mod endpoint;
mod reference;
#[path = "../support/mod.rs"]
mod support;
mod wire;
