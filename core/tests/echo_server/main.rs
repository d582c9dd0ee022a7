//! The echo server, rule by rule.

#![allow(clippy::unwrap_used)]

mod answers;
mod bounds;
mod choice;
mod drain;
mod fixture;
mod forwarding;
mod leaving;
