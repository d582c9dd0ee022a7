//! The hub, through its endpoints: bytes in, bytes out.

#![allow(clippy::unwrap_used)]

mod bench;
mod binary;
mod coming_back;
mod partial;
mod relay;
mod sessions;
mod spoken;
mod typed;
