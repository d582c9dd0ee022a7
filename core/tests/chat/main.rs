//! The chat: bytes in and bytes out of its server, and both its machines on a line that can be cut.

#![allow(clippy::unwrap_used)]

mod binary;
mod client;
mod connecting;
mod fixture;
mod flow;
mod line;
mod partial;
mod resuming;
mod spoken;
#[path = "../support/mod.rs"]
mod support;
mod typed;
