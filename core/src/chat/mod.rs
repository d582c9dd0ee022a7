//! The chat: two sides say messages to each other, and each message is acknowledged. The side that connects may come back
//! after its connection was lost, and then nothing is lost or doubled.

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
