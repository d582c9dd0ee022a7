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
//! | `server` | [`GrpcListener`]: accepts HTTP/2 connections, whose calls are the driver's connections |
//! | `config` | [`GrpcConfig`]: the bounds of a server |
//! | `preface` | what an HTTP/2 client sends first |
//! | `connection` | one HTTP/2 connection: its time-outs and bounds |
//! | `service` | what its requests are answered by |
//! | `health`, `reflection` | gRPC's standard services |
//! | `shutdown` | how far the server is on its way to its end |
//! | `client` | [`GrpcConnector`]: connections that are calls |
//! | `settle` | has the tasks of connections read what has arrived, before the driver judges a deadline |
//! | `socket` | the client's connection, which notes what the server says first |
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
