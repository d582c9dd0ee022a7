//! gRPC for `echosphere-driver`: the calls of one method with streams both ways are its connections.
//!
//! What a call sends in either direction is a stream of bytes: gRPC's length-prefixed messages ("gRPC over HTTP2",
//! Length-Prefixed-Message). So a call needs of a protocol what a TCP connection needs, a
//! [`Codec`](echosphere_core::wire::Codec), and has the same bounds and the same driver. HTTP/2 has pings, so there are no
//! keepalives of ours.
//!
//! | module | what it holds |
//! |---|---|
//! | `method` | [`Method`]: the names of a method, and how its service describes itself |
//! | `server` | [`GrpcListener`]: an HTTP/2 server with health checks and reflection, whose calls are connections |
//! | `client` | [`GrpcConnector`]: connections that are calls |
//! | `socket` | the client's connection, which notes what the server says first |
//! | `stream` | a call as a stream of bytes |
//! | [`numbers`] | numbers over gRPC: the method and its codec |

mod client;
mod method;
pub mod numbers;
mod server;
mod socket;
mod stream;

pub use client::GrpcConnector;
pub use method::Method;
pub use server::{GrpcConfig, GrpcListener, Serving};
pub use stream::GrpcStream;
