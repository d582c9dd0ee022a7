//! The chat: two sides exchange messages, each of which is acknowledged. A client can resume its session after a lost
//! connection; then no message is lost or delivered twice.

mod api;
mod client;
mod codec;
mod config;
mod exchange;
mod message;
mod server;

pub use api::{Command, Notice, SendError, ServerCommand};
pub use client::Client;
pub use codec::ChatCodec;
pub use config::{ClientConfig, ExchangeConfig, ServerConfig};
pub use exchange::ChatCounters;
pub use message::{MAX_BODY, MAX_FRAME_BODY, Message};
pub use server::Server;

pub use crate::failure::Failure;
