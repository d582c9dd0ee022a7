//! Loopback addresses to connect from, as each address has a limited number of ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The most connections from one loopback address. With some 7,000 of an address's ports taken, Linux takes milliseconds
/// to find a free one.
const PER_ADDRESS: u64 = 500;
/// The most loopback addresses to connect from.
const MOST: u64 = 60_000;

/// Whether connections to `to` can come from many loopback addresses, which only IPv4 has.
pub(crate) fn is_loopback(to: SocketAddr) -> bool {
    to.is_ipv4() && to.ip().is_loopback()
}

/// The most connections to one address over the loopback network (`loopback`), or from one address to another, if an
/// address has this many ports.
pub(crate) const fn most(loopback: bool, ports: u64) -> u64 {
    if loopback { most_loopback(ports) } else { ports }
}

/// The most connections over the loopback network, if an address has this many ports.
const fn most_loopback(ports: u64) -> u64 {
    MOST.saturating_mul(per_address(ports))
}

/// Loopback addresses for this many connections, if an address has this many ports. `draw` selects one of the loopback
/// networks, so that ports in TIME-WAIT after an earlier run do not matter.
pub(crate) fn loopback(connections: u64, ports: u64, draw: u32) -> Vec<IpAddr> {
    let [.., second, third] = draw.to_be_bytes();
    let second = 1 + second % 254;
    let count = connections.div_ceil(per_address(ports)).clamp(1, MOST);
    let address = |at: u64| Ipv4Addr::new(127, second, third.wrapping_add((at / 250) as u8), 1 + (at % 250) as u8);
    (0..count).map(|at| address(at).into()).collect()
}

/// Leaves half of an address's ports to other programs.
const fn per_address(ports: u64) -> u64 {
    let half = ports / 2;
    if half < 1 {
        1
    } else if half < PER_ADDRESS {
        half
    } else {
        PER_ADDRESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_addresses_as_their_ports_demand() {
        for (connections, ports, addresses) in [
            (1, 28_232, 1),
            (500, 28_232, 1),
            (501, 28_232, 2),
            (1000, 100, 20),
            (10, 1, 10),
        ] {
            let mut sources = loopback(connections, ports, 0xFFFF_FFFF);
            assert!(sources.iter().all(IpAddr::is_loopback));
            sources.sort_unstable();
            sources.dedup();
            assert_eq!(sources.len(), addresses, "{connections} connections, {ports} ports");
        }
        assert_eq!(most_loopback(28_232), 30_000_000);
    }

    #[test]
    fn a_draw_selects_the_network_and_the_addresses_follow_each_other() {
        let all = |draw, count: u64| loopback(count * PER_ADDRESS, 28_232, draw);
        for (draw, first) in [
            (0, [127, 1, 0, 1]),
            (0x6405, [127, 101, 5, 1]),
            (0xFDFF, [127, 254, 255, 1]),
        ] {
            assert_eq!(all(draw, 1), [IpAddr::from(first)], "{draw:x}");
        }
        let many = all(0x6405, 251);
        assert_eq!(many[249], IpAddr::from([127, 101, 5, 250]));
        assert_eq!(many[250], IpAddr::from([127, 101, 6, 1]));
    }

    #[test]
    fn ipv4_alone_has_many_loopback_addresses() {
        for (to, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.8.7:1", true),
            ("[::1]:1", false),
            ("192.0.2.1:1", false),
        ] {
            assert_eq!(is_loopback(to.parse().unwrap()), expected, "{to}");
        }
    }
}
