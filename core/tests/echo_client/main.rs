//! Echo clients: one connection per message, until its ok.

#![allow(clippy::unwrap_used)]

mod answering;
mod delivery;
mod drain;
mod fixture;
mod retrying;
