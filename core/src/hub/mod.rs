//! The hub: every connection has a user id, can ask for its own and for all others, and can relay a body to up to 255
//! users by their ids.

mod caller;
mod client;
mod codec;
mod message;
mod server;
mod text;

pub use caller::{ClientConfig, Command, Failure, Notice};
pub use client::{Client, ClientCounters};
pub use codec::HubCodec;
pub use message::{Ids, MAX_BODY, MAX_RECEIVERS, Message, Reply, Request, Unsent};
pub use server::{Server, ServerCounters};
pub use text::receipt;
