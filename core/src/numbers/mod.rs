//! Numbers: streams of numbers, one per period, that a client can resume after a lost connection. Either the client
//! keeps its position (stateless), or the server keeps a session.

mod api;
mod client;
mod codec;
mod config;
mod message;
mod progress;
mod sequence;
mod server;
mod session;

pub use api::{Command, Notice, StreamSpec, Total};
pub use client::{Client, ClientCounters};
pub use codec::{MAX_LINE, NumbersCodec, parse_request, write_request};
pub use config::{ClientConfig, Mode, ServerConfig, client_connection_config};
pub use message::Message;
pub use sequence::{CHECKSUM_MODULUS, Checksum, Sequence};
pub use server::{Server, ServerCounters};
pub use uuid::Uuid;

pub use crate::failure::Failure;
