//! TCP for `echosphere-driver`: listeners and a connector.
//!
//! | module | what it holds |
//! |---|---|
//! | `net` | [`TcpListener`] and [`TcpConnector`]: sockets that belong to the driver's thread |
//! | `threads` | [`ThreadedListener`]: sockets that belong to IO threads, which exchange their bytes with the driver |

mod net;
mod threads;

pub use net::{TcpConnector, TcpListener};
pub use threads::{ThreadedListener, ThreadedStream};
