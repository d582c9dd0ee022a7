//! Addresses in options.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use anyhow::anyhow;
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

/// An address to listen on or connect to: a name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    /// The first address of the host. Must be called within a runtime.
    pub(crate) async fn resolve(&self) -> anyhow::Result<SocketAddr> {
        let Self { host, port } = self;
        let mut found = lookup_host((&**host, *port))
            .await
            .map_err(|error| anyhow!("cannot resolve {host}: {error}; check the name"))?;
        found.next().ok_or_else(|| anyhow!("{host} has no address"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
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
}
