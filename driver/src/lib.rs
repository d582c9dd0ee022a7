//! Drives any machine of `echosphere-core` over any transport whose connections are streams of bytes that tokio can poll.
//!
//! One future, the [`Driver`], owns an [`Endpoint`](echosphere_core::endpoint::Endpoint) and all its connections. It never
//! waits for a peer: it reads what is there, lets the machine act, writes what the connections take, and sleeps until the
//! next connection, deadline or command. Everything between bytes and machine is the endpoint's; nothing here knows a
//! protocol, or a socket.
//!
//! | module | what it holds |
//! |---|---|
//! | `driver` | the future, a turn at a time |
//! | `accepting` | [`AcceptErrors`], [`LogLimit`]: what goes wrong while connections are accepted |
//! | `budgets` | [`Budgets`]: how much one turn does |
//! | `handle` | commands, draining and looking inside, from other tasks |
//! | `net` | [`Listener`] and [`Connector`]: what a transport provides; [`Both`]: two transports for one machine |
//! | [`ready`] | which of the many things that one future waits for woke it; for transports that wait for many too |
//! | [`settle`] | what has arrived is read before a deadline is judged |
//! | `write` | an outbox, to a stream |

mod accepting;
mod budgets;
mod driver;
mod handle;
mod net;
pub mod ready;
pub mod settle;
mod write;

pub use accepting::{AcceptErrors, LogLimit};
pub use budgets::Budgets;
pub use driver::Driver;
pub use handle::{Gone, Handle};
pub use net::{Both, Connector, Listener, OtherProtocol, Stream};
