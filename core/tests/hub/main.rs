//! The hub through its endpoints: bytes in, bytes out.

#![allow(clippy::unwrap_used)]

mod binary;
mod fixture;
mod partial;
mod reconnecting;
mod relay;
mod sessions;
mod spoken;
#[path = "../support/mod.rs"]
mod support;
mod typed;
