//! Addresses as people write them.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::net::lookup_host;

/// The address that `HOST:PORT`, or `HOST` alone, names. Must be called within a runtime.
pub(crate) async fn resolve(name: &str, default_port: u16) -> anyhow::Result<SocketAddr> {
    let with_port = if name.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("[{name}]:{default_port}")
    } else if name.ends_with(']') || !name.contains(':') {
        format!("{name}:{default_port}")
    } else {
        name.to_owned()
    };
    let expected =
        || format!("cannot resolve the address {name:?}; expected HOST:PORT, such as 127.0.0.1:{default_port}");
    let mut found = lookup_host(&with_port).await.with_context(expected)?;
    match found.next() {
        Some(addr) => Ok(addr),
        None => bail!(expected()),
    }
}
