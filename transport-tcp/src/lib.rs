//! TCP for `echosphere-driver`: where its connections come from, and how they are made.
//!
//! | module | what it holds |
//! |---|---|
//! | `net` | [`TcpListener`] and [`TcpConnector`]: sockets of the driver's own thread |
//! | `threads` | [`ThreadedListener`]: sockets of threads of their own, whose bytes come to the driver |

mod net;
mod threads;

pub use net::{TcpConnector, TcpListener};
pub use threads::{ThreadedListener, ThreadedStream};
