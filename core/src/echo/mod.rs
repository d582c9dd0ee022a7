//! Echo: the server forwards each `message X` to one connection chosen at random, and each `ok X` back to every
//! connection that waits for it.

mod api;
mod client;
mod codec;
mod config;
mod kept;
mod ledger;
mod server;

pub use api::{Command, Notice};
pub use client::{Client, ClientCounters};
pub use codec::{EchoCodec, MAX_MESSAGE, Message};
pub use config::{ClientConfig, ServerConfig};
pub use ledger::Flight;
pub use server::{Server, ServerCounters};

pub use crate::failure::Failure;
