//! The hub, through its endpoints: bytes in, bytes out.

#![allow(clippy::unwrap_used)]

mod binary;
mod coming_back;
mod fixture;
mod partial;
mod relay;
mod sessions;
mod spoken;
mod typed;
