//! Drives any machine of `echosphere-core` over any transport whose connections are streams of bytes that tokio can poll.
//!
//! One future, the [`Driver`], owns an [`Endpoint`](echosphere_core::endpoint::Endpoint) and all its connections. It never
//! waits for one peer: it reads the bytes that have arrived, runs the machine, writes what the connections accept, and sleeps
//! until the next connection, deadline or command. The endpoint does everything between bytes and machine. This crate contains
//! no protocol and no sockets.
//!
//! | module | what it holds |
//! |---|---|
//! | `conformance` | tests of the contract of a transport (feature `conformance`) |
//! | `driver` | the future; each poll is one turn |
//! | `accepting` | [`AcceptErrors`], [`LogLimit`]: errors of accepting, and how often they are logged |
//! | `budgets` | [`Budgets`]: limits of one turn |
//! | `farewell` | [`farewell`]: the answer to a peer that is refused |
//! | `handle` | [`Handle`]: commands, draining and inspection from other tasks |
//! | `net` | [`Stream`], [`Listener`], [`Connector`]: what a transport implements |
//! | [`ready`] | which event source woke a future that waits for many |
//! | [`settle`] | reading everything that has arrived before a deadline expires |
//! | `write` | writing an outbox to a stream |

mod accepting;
mod budgets;
#[cfg(feature = "conformance")]
pub mod conformance;
mod driver;
mod farewell;
mod handle;
mod net;
pub mod ready;
pub mod settle;
mod write;

pub use accepting::{AcceptErrors, LogLimit};
pub use budgets::Budgets;
pub use driver::Driver;
pub use farewell::farewell;
pub use handle::{Gone, Handle};
pub use net::{Answered, BoxStream, Connector, Incoming, Listener, Negotiated, OtherProtocol, Peer, Stream};
