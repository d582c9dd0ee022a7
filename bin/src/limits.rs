//! Limits of this machine: open files and ports.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most open files of a process that are not connections.
pub(crate) const OTHER_FILES: u64 = 64;
/// Ports for outgoing connections from one address, by default on Linux.
const DEFAULT_PORTS: u64 = 28_232;

/// Raises this process's limit of open files to the hard limit. Returns the limit.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// Ports for outgoing connections from one address.
pub(crate) fn ports() -> u64 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let ends = range.and_then(|range| {
        let mut ends = range.split_whitespace().map(|end| end.parse::<u64>().ok());
        Some((ends.next()??, ends.next()??))
    });
    ends.map_or(DEFAULT_PORTS, |(first, last)| last.saturating_sub(first) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_ports_that_the_kernel_states() {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let ends: Vec<u64> = range.split_whitespace().map(|end| end.parse().unwrap()).collect();
        assert_eq!((ends[0]..=ends[1]).count() as u64, ports());
    }
}
