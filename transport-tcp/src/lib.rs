//! TCP for `echosphere-driver`: listeners and a connector.
//!
//! | module | what it holds |
//! |---|---|
//! | `net` | [`TcpListener`] and [`TcpConnector`]: sockets that belong to the driver's thread |
//! | `stream` | [`TcpStream`]: a connection, which is reset if it is dropped early |
//! | `threads` | [`ThreadedListener`]: sockets that belong to IO threads, which exchange their bytes with the driver |

mod net;
mod stream;
mod threads;

pub use net::{TcpConnector, TcpListener};
pub use stream::TcpStream;
pub use threads::{ThreadedListener, ThreadedStream};
