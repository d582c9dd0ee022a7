//! What the echo server does, rule by rule.

#![allow(clippy::unwrap_used)]

mod answers;
mod bench;
mod bounds;
mod choice;
mod drain;
mod forwarding;
mod leaving;
