//! What the echo clients do: one connection for each message, until its ok.

#![allow(clippy::unwrap_used)]

mod answering;
mod delivery;
mod drain;
mod fixture;
mod retrying;
