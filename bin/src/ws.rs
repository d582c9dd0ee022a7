//! WebSocket of servers: its options, and what comes of them.

use std::net::SocketAddr;

use echosphere_core::Machine;
use echosphere_core::wire::{Codec, Framer, MAX_FRAME};
use echosphere_driver::Driver;
use echosphere_transport_tcp::TcpListener;
use echosphere_transport_ws::{WsConfig, WsListener};

use crate::net::Address;
use crate::{page, server, tls};

/// The default port.
const PORT: u16 = 8080;
/// The protocol below WebSocket in TLS's handshake (ALPN).
pub(crate) const HTTP_1: &[u8] = b"http/1.1";

/// Options of a server for WebSocket.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "WebSocket")]
pub(crate) struct WsServeArgs {
    /// Serve WebSocket on this address and port, too, and a page for browsers; without a port: 8080; with TLS, clients use wss://
    #[arg(long, value_name = "[ADDR:]PORT", env = "ECHOSPHERE_WS")]
    pub(crate) ws: Option<Address>,

    /// Accept browsers from pages of this origin, such as `https://example.org`, besides the server's own page; * accepts all; can be given several times
    #[arg(long, value_name = "ORIGIN", env = "ECHOSPHERE_WS_ORIGIN", value_delimiter = ',', value_parser = origin)]
    pub(crate) ws_origin: Vec<String>,
}

/// Reads an origin: a scheme, a host and perhaps a port (RFC 6454).
fn origin(text: &str) -> Result<String, String> {
    let is_origin = |rest: &str| !rest.is_empty() && !rest.contains(['/', '?', '#', '@', ' ']);
    if text == "*" || text == "null" || text.split_once("://").is_some_and(|(_, rest)| is_origin(rest)) {
        return Ok(text.to_owned());
    }
    Err("expected SCHEME://HOST[:PORT] without a path, such as https://example.org, or *".to_owned())
}

/// A port that speaks WebSocket.
pub(crate) struct WsServing {
    listener: TcpListener,
    config: WsConfig,
}

impl WsServeArgs {
    /// Binds to the address of the options and reports it; `None` without an address. The port also serves the page of the
    /// system. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// If that fails, with what to do.
    pub(crate) async fn bind(
        &self,
        system: &str,
        tls: Option<&tls::Serving>,
        json: bool,
    ) -> anyhow::Result<Option<WsServing>> {
        let Some(address) = &self.ws else {
            anyhow::ensure!(
                self.ws_origin.is_empty(),
                "--ws-origin also needs --ws, the address to serve WebSocket on"
            );
            return Ok(None);
        };
        let at = address.clone().or_port(PORT).resolve().await?;
        let (listener, addr) = server::bind(at, "--ws")?;
        server::announce(addr, "ws", &note(addr, tls), tls, json)?;
        let config = WsConfig {
            allowed_origins: self.ws_origin.clone(),
            pages: page::pages(system),
            ..WsConfig::default()
        };
        Ok(Some(WsServing { listener, config }))
    }
}

/// How to use the port.
fn note(addr: SocketAddr, tls: Option<&tls::Serving>) -> String {
    let s = if tls.is_some() { "s" } else { "" };
    format!(" for WebSocket (browsers open http{s}://{addr}/)")
}

/// Accepts the connections of a port that speaks WebSocket, if there is one, over TLS if there is one.
pub(crate) fn listen<M, C>(
    driver: Driver<M, C>,
    ws: Option<WsServing>,
    limit: u32,
    tls: Option<&tls::Serving>,
) -> Driver<M, C>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
    M::Notice: 'static,
{
    let Some(WsServing { listener, config }) = ws else {
        return driver;
    };
    let config = WsConfig {
        max_message: limit,
        ..config
    };
    match tls {
        Some(tls) => driver.listen(WsListener::new(tls.over(listener).with_alpn(&[HTTP_1]), config)),
        None => driver.listen(WsListener::new(listener, config)),
    }
}

/// The longest message of a codec.
pub(crate) fn limit(codec: &impl Codec) -> u32 {
    codec.framer().map_or(MAX_FRAME, Framer::limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_path() {
        for text in ["https://example.org", "http://h:8080", "http://[::1]:1", "*", "null"] {
            assert_eq!(origin(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "example.org",
            "https://",
            "https://example.org/",
            "https://a b",
            "https://u@h",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
