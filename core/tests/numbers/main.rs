//! Numbers: bytes in and bytes out of the server, and the client's machine with a server that the test plays.

#![allow(clippy::unwrap_used)]

mod bounds;
mod client;
mod codec;
mod ends;
mod fixture;
mod resuming;
mod sequence;
mod sessions;
mod stateless;
