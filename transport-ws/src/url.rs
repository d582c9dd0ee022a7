use std::fmt;
use std::str::FromStr;

use http::Uri;

/// The address of a WebSocket: `ws://HOST[:PORT][/PATH]`, or `wss://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WsUrl {
    is_tls: bool,
    host: String,
    port: u16,
    path: String,
}

/// A text is not the URL of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUrl(&'static str);

impl WsUrl {
    /// Whether the scheme is `wss`.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The name or IP address; an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port: 80, or 443 for `wss`, where the text has none.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `HOST:PORT`; without the port if it is the one of the scheme.
    pub(crate) fn authority(&self) -> String {
        if self.port == default_port(self.is_tls) {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

const fn default_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

impl FromStr for WsUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let uri: Uri = text.parse().map_err(|_| BadUrl("not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(BadUrl("it must begin with ws:// or wss://")),
        };
        let authority = uri.authority().ok_or(BadUrl("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(BadUrl("a user in it is not supported"));
        }
        if authority.host().is_empty() {
            return Err(BadUrl("it has no host"));
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == authority.host() => default_port(is_tls),
            None => return Err(BadUrl("its port must be a number up to 65535")),
        };
        Ok(Self {
            is_tls,
            host: authority.host().to_owned(),
            port,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

impl fmt::Display for WsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not the URL of a WebSocket, ws://HOST:PORT/PATH: {}", self.0)
    }
}

impl std::error::Error for BadUrl {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_a_port_and_a_path() {
        for (text, host, port, path, shown) in [
            ("ws://h", "h", 80, "/", "ws://h/"),
            ("wss://h:80/a?b", "h", 80, "/a?b", "wss://h:80/a?b"),
            ("wss://[::1]", "::1", 443, "/", "wss://[::1]/"),
        ] {
            let url: WsUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.host(), url.port(), url.path()), (host, port, path), "{text}");
            assert_eq!(url.to_string(), shown);
        }
        for text in [
            "",
            "h",
            "http://h",
            "ws://",
            "ws://:1",
            "ws://h:",
            "ws://h:x",
            "ws://h:65536",
            "ws://u@h",
        ] {
            assert!(text.parse::<WsUrl>().is_err(), "{text}");
        }
    }
}
