//! WebSocket (RFC 6455) for `echosphere-driver`, over any transport of bytes: TCP, or TLS for `wss`.
//!
//! A text message is a line, a binary message is the payload of a length frame, and the first message shows which of the two a
//! connection speaks. So codecs are the same as over TCP. A keepalive is a Ping. PROTOCOL.md, "WebSocket", is the definition.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | [`WsConfig`]: limits, permitted origins, pages |
//! | `pages` | [`Pages`]: what a browser gets that asks for no WebSocket |
//! | `listener` | [`WsListener`]: accepts, and negotiates the upgrade |
//! | `request` | the request of a client, and what it is answered |
//! | `response` | an answer as bytes |
//! | `connector` | [`WsConnector`]: dials, and asks for the upgrade |
//! | `url` | [`WsUrl`]: `ws://HOST:PORT/PATH` |
//! | `stream` | [`WsStream`]: the connection as a stream of bytes |
//! | `incoming`, `outgoing` | frames to bytes, and bytes to frames; without IO |
//! | `mask` | masks, and the check of text |
//! | `close` | codes and reasons of Close frames |
//!
//! The frames are decoded here, with the headers, codes and keys of `tungstenite`, and not by `tungstenite`'s own message layer.
//! That keeps, for each connection, a read buffer and buffers as large as the largest message so far, in both directions. Here, an
//! idle connection has no buffer at all, and large messages pass without being collected.

mod close;
mod config;
mod connector;
mod incoming;
mod listener;
mod mask;
mod outgoing;
mod pages;
mod request;
mod response;
mod stream;
mod url;

pub use config::WsConfig;
pub use connector::WsConnector;
pub use listener::WsListener;
pub use pages::Pages;
pub use stream::WsStream;
pub use url::{BadUrl, WsUrl};
