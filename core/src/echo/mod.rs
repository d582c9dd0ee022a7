//! Echo: every `message X` is forwarded to one connection chosen at random, and acknowledged by `ok X`.

mod client;
mod codec;
mod kept;
mod ledger;
mod server;

pub use client::{Client, ClientConfig, ClientCounters, Command, Failure, Notice};
pub use codec::{EchoCodec, MAX_MESSAGE, Message};
pub use ledger::Flight;
pub use server::{Server, ServerConfig, ServerCounters};
