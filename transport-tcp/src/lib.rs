//! Drives any machine of `echosphere-core` over TCP, or over any other stream of bytes that tokio can poll.
//!
//! One future, the [`Driver`], owns an [`Endpoint`](echosphere_core::endpoint::Endpoint) and all its sockets. It never
//! waits for a peer: it reads what is there, lets the machine act, writes what the sockets take, and sleeps until the
//! next socket, deadline or command. Everything between bytes and machine is the endpoint's; nothing here knows a
//! protocol.
//!
//! | module | what it holds |
//! |---|---|
//! | `driver` | the future, a turn at a time |
//! | `handle` | commands, draining and looking inside, from other tasks |
//! | `net` | [`Listener`] and [`Connector`], and both over TCP |
//! | `ready` | which of the driver's many sockets woke it |

mod driver;
mod handle;
mod net;
mod ready;

pub use driver::Driver;
pub use handle::{Gone, Handle};
pub use net::{Connector, Listener, Stream, TcpConnector, TcpListener};
