//! TCP for `echosphere-driver`: where its connections come from, and how they are made.

mod net;

pub use net::{TcpConnector, TcpListener};
