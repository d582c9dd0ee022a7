//! gRPC for `echosphere-driver`: each call of a bidirectional streaming method is a connection of the driver.
//!
//! A call is a stream of bytes in each direction: gRPC's length-prefixed messages ("gRPC over HTTP2",
//! Length-Prefixed-Message). So, like a TCP connection, it needs a [`Codec`](echosphere_core::wire::Codec), and has the same
//! driver and bounds. HTTP/2 has pings, so codecs send no keepalives.
//!
//! | module | what it holds |
//! |---|---|
//! | `method` | [`Method`]: the names of a method, and the descriptors of its service |
//! | `server` | [`GrpcListener`]: accepts HTTP/2 connections; their calls are the connections of the driver |
//! | `config` | [`GrpcConfig`]: the bounds of a server |
//! | `preface` | a client's connection preface |
//! | `connection` | one HTTP/2 connection: its time-outs and bounds |
//! | `service` | the answers to its requests |
//! | `health`, `reflection` | gRPC's standard services |
//! | `shutdown` | whether the server serves, drains or has ended |
//! | `client` | [`GrpcConnector`]: connections that are calls |
//! | `settle` | makes the tasks of connections read what has arrived, before a deadline of the driver expires |
//! | `socket` | the first bytes of a server, which show its protocol |
//! | `stream` | a call as a stream of bytes |
//! | [`numbers`] | numbers over gRPC: the method and its codec |

mod client;
mod config;
mod connection;
mod health;
mod method;
pub mod numbers;
mod preface;
mod reflection;
mod server;
mod service;
mod settle;
mod shutdown;
mod socket;
mod stream;

pub use client::GrpcConnector;
pub use config::GrpcConfig;
pub use method::Method;
pub use server::{GrpcListener, Serving};
pub use stream::GrpcStream;
