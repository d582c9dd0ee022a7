//! The chat: two sides say messages to each other, and each message is acknowledged. The side that connects may come back
//! after its connection was lost, and then nothing is lost or doubled.

mod caller;
mod client;
mod codec;
mod message;
mod server;
mod talk;

pub use caller::{ClientConfig, Command, Failure, Notice, ServerCommand, ServerConfig, Unsaid};
pub use client::Client;
pub use codec::ChatCodec;
pub use message::{MAX_BODY, MAX_FRAME_BODY, Message};
pub use server::Server;
pub use talk::{ChatCounters, TalkConfig};
