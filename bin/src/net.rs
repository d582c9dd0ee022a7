//! Addresses in options.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use anyhow::anyhow;
use echosphere_transport_ws::{BadUrl, WsUrl};
use tokio::net::lookup_host;

/// A host and a port, either of which can be absent: `HOST:PORT`, `HOST`, `:PORT`, `PORT`, `[IPV6]:PORT`, `IPV6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name or an IP address; the loopback address if the option has none.
    host: String,
    port: Option<u16>,
}

impl Address {
    /// The loopback address with `port`.
    pub(crate) fn loopback(port: u16) -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: Some(port),
        }
    }

    /// The address, with `port` if it has none.
    pub(crate) fn or_port(self, port: u16) -> Target {
        Target {
            host: self.host,
            port: self.port.unwrap_or(port),
            url: None,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = |why: &str| format!("{why}; expected HOST:PORT, such as 127.0.0.1:8000 or [::1]:8000");
        if text.contains("://") || text.contains('/') {
            return Err(expected("a URL or a path is not an address"));
        }
        let (host, port) = if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest
                .split_once(']')
                .ok_or_else(|| expected("the closing bracket is missing"))?;
            if host.split('%').next().unwrap_or_default().parse::<Ipv6Addr>().is_err() {
                return Err(expected("brackets enclose an IPv6 address"));
            }
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(expected("only :PORT can follow the brackets")),
            }
        } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            ("", Some(text))
        } else {
            match text.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => {
                    return Err(expected("an IPv6 address with a port needs brackets"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() && port.is_none() {
            return Err(expected("the address is empty"));
        }
        if host.contains(char::is_whitespace) {
            return Err(expected("a host cannot contain spaces"));
        }
        let port = port.map(|port| {
            port.parse::<u16>()
                .map_err(|_| expected("a port is a number from 0 to 65535"))
        });
        Ok(Self {
            host: if host.is_empty() {
                Ipv4Addr::LOCALHOST.to_string()
            } else {
                host.to_owned()
            },
            port: port.transpose()?,
        })
    }
}

/// A server to connect to: an address, or the URL of a WebSocket, `ws://HOST[:PORT][/PATH]` or `wss://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    Address(Address),
    Url(WsUrl),
}

impl ServerAddress {
    /// The server, at `port` if an address has none. A URL without a port has the one of its scheme.
    pub(crate) fn or_port(self, port: u16) -> Target {
        match self {
            Self::Address(address) => address.or_port(port),
            Self::Url(url) => Target {
                host: url.host().to_owned(),
                port: url.port(),
                url: Some(url),
            },
        }
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_url = |scheme: &str| {
            text.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        if is_url("ws://") || is_url("wss://") {
            return text.parse().map(Self::Url).map_err(|error: BadUrl| error.to_string());
        }
        if text.contains("://") {
            return Err(
                "a URL begins with ws:// or wss://; expected that or HOST:PORT, such as 127.0.0.1:8000".to_owned(),
            );
        }
        text.parse().map(Self::Address)
    }
}

/// An address to listen on or connect to: a name or an IP address, and a port; for a WebSocket, its URL, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) url: Option<WsUrl>,
}

impl Target {
    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }

    /// Whether the URL asks for TLS; `None` without a URL.
    pub(crate) fn is_tls(&self) -> Option<bool> {
        self.url.as_ref().map(WsUrl::is_tls)
    }

    /// The first address of the host. Must be called within a runtime.
    pub(crate) async fn resolve(&self) -> anyhow::Result<SocketAddr> {
        let Self { host, port, .. } = self;
        let mut found = lookup_host((&**host, *port))
            .await
            .map_err(|error| anyhow!("cannot resolve {host}: {error}; check the name"))?;
        found.next().ok_or_else(|| anyhow!("{host} has no address"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.url {
            Some(url) => url.fmt(f),
            None => self.address().fmt(f),
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(addr: SocketAddr) -> Self {
        Self {
            host: match addr.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => ip.to_string(),
            },
            port: addr.port(),
            url: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, shown) in [
            ("127.0.0.1:9000", "127.0.0.1:9000"),
            ("9000", "127.0.0.1:9000"),
            (":9000", "127.0.0.1:9000"),
            ("example.org", "example.org:1"),
            ("example.org:9000", "example.org:9000"),
            ("::1", "[::1]:1"),
            ("[::1]", "[::1]:1"),
            ("[::1]:9000", "[::1]:9000"),
            ("[fe80::1%eth0]:9000", "[fe80::1%eth0]:9000"),
            ("0.0.0.0", "0.0.0.0:1"),
        ] {
            let read: Address = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(read.or_port(1).to_string(), shown, "{text}");
        }
        for text in [
            "",
            ":",
            "host:",
            "host:x",
            "host:65536",
            "65536",
            "a:b:1",
            "[::1]x",
            "[x]:1",
            "[::1:1",
            "http://a:1",
            "://a:1",
            "/run/socket:1",
            "a b:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_server_is_an_address_or_the_url_of_a_websocket() {
        for (text, shown, address) in [
            ("9000", "127.0.0.1:9000", "127.0.0.1:9000"),
            ("ws://h:9000", "ws://h:9000/", "h:9000"),
            ("ws://h", "ws://h/", "h:80"),
            ("WSS://h/path?a=b", "wss://h/path?a=b", "h:443"),
            ("wss://[::1]:9000/", "wss://[::1]:9000/", "[::1]:9000"),
        ] {
            let read: ServerAddress = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            let target = read.or_port(1);
            assert_eq!(
                (target.to_string(), target.address()),
                (shown.to_owned(), address.to_owned()),
                "{text}"
            );
        }
        for text in [
            "",
            "http://h:1",
            "ws://",
            "ws://:1",
            "ws://h:x",
            "ws://h:65536",
            "ws://user@h",
            "ws://a b",
        ] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
    }
}
