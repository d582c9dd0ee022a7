//! Numbers: streams of numbers, one a period, that a client can go on with where a lost connection ended. Either the client
//! alone keeps its place (stateless), or the server keeps a session for it (stateful).

mod caller;
mod client;
mod codec;
mod message;
mod progress;
mod sequence;
mod server;
mod session;

pub use caller::{ClientConfig, Command, Failure, Mode, Notice, ServerConfig, Total, Want, client_links};
pub use client::{Client, ClientCounters};
pub use codec::{MAX_LINE, NumbersCodec, parse_request, write_request};
pub use message::Message;
pub use sequence::{CHECKSUM_MODULUS, Checksum, Sequence};
pub use server::{Server, ServerCounters};
pub use uuid::Uuid;
