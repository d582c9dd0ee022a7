//! The hub: each connection is a user with an id. A user can list the other users and send a body to up to 255 of them.

mod api;
mod client;
mod codec;
mod config;
mod ids;
mod message;
mod server;
mod text;

pub use api::{Command, Notice};
pub use client::{Client, ClientCounters};
pub use codec::HubCodec;
pub use config::ClientConfig;
pub use ids::{MAX_RECEIVERS, UserIds};
pub use message::{MAX_BODY, Message, Reply, Request, Unsent};
pub use server::{Server, ServerCounters};
pub use text::receipt;

pub use crate::failure::Failure;
