//! TLS over any transport of `echosphere-driver`.
//!
//! [`TlsListener`] wraps a [`Listener`](echosphere_driver::Listener), [`TlsConnector`] a
//! [`Connector`](echosphere_driver::Connector). Both negotiate TLS 1.3 or 1.2 with rustls.
//!
//! | module | what it holds |
//! |---|---|
//! | `server` | [`ServerTls`]: certificate, key and client CA, and their reload; [`TlsListener`] |
//! | `client` | [`ClientTls`]: whom a client trusts, and its certificate; [`TlsConnector`] |
//! | `stream` | [`TlsStream`] |
//! | `fingerprint` | [`Fingerprint`] of a certificate, and trust in one |
//! | `first_bytes` | a stream that remembers what it read first |
//! | `refusal` | the answer to a peer that does not speak TLS, and the end of a failed handshake |
//! | `principal` | who the owner of a client certificate is |
//! | `pem` | reading certificates and keys |
//! | `error` | what to do about an error of rustls |
//!
//! A stream ends cleanly with TLS's `close_notify`. A peer whose connection ends without it reads an error, so an attacker on
//! the network cannot cut off the end of a stream unnoticed. Sessions are not resumed: each connection proves its peer anew.

mod client;
mod error;
mod fingerprint;
mod first_bytes;
mod pem;
mod principal;
mod refusal;
mod server;
mod stream;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{ClientTls, NotTls, TlsConnector, Trust};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use first_bytes::FirstBytes;
pub use server::{ServerTls, TlsListener};
pub use stream::TlsStream;

/// The name of the transport in [`Peer`](echosphere_driver::Peer).
const TRANSPORT: &str = "tls";
/// Bytes that rustls buffers for a peer that does not read, before a write is pending. A record has 16 KiB.
const BUFFER_LIMIT: usize = 32 * 1024;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
