//! Whether the clients asked for fit this machine, before any of them starts.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::bail;

use crate::values::{short, thousands};

/// Open files of this process that are not connections.
const OTHER_FILES: u64 = 64;
/// Clients from one loopback address.
const CLIENTS_PER_ADDRESS: u64 = 500;
/// Loopback addresses to connect from, at most.
const MOST_ADDRESSES: u64 = 60_000;
/// How long a port stays taken after its connection was closed from this side (TIME-WAIT on Linux).
const TIME_WAIT: Duration = Duration::from_secs(60);

/// What was asked for, and what there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) clients: u64,
    pub(super) over: Duration,
    /// The mean of the delay before an `ok`.
    pub(super) ack_delay: Duration,
    /// The server runs in this process, so that each connection has two open files here.
    pub(super) own_server: bool,
    /// The server is on this machine's loopback network, so that clients can have many addresses.
    pub(super) loopback: bool,
    /// Files this process may open.
    pub(super) files: u64,
    /// Ports of one address.
    pub(super) ports: u64,
}

impl Plan {
    /// Checks that it fits.
    ///
    /// # Errors
    ///
    /// The arithmetic, and what to ask for instead.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let open = self.open_at_once();
        let each = if self.own_server { 2 } else { 1 };
        let needed = open * each + OTHER_FILES;
        if needed > self.files {
            let fit = (self.files.saturating_sub(OTHER_FILES)) / each;
            let ends = if self.own_server {
                "2 files each, since the server is in this process too"
            } else {
                "1 file each"
            };
            bail!(
                "{} open files needed, and this process may open {}.\n\n  \
                 {} clients over {} with a mean --ack-delay of {} are up to {} connections at once; {ends}.\n\n\
                 Ask for at most {} at once: fewer --clients, a longer --over, a shorter --ack-delay{}; or raise the limit (ulimit -n).",
                thousands(needed),
                thousands(self.files),
                thousands(self.clients),
                humantime::format_duration(self.over),
                short(self.ack_delay),
                thousands(open),
                thousands(fit),
                if self.own_server {
                    ", or a server in another process and --to"
                } else {
                    ""
                },
            );
        }
        let recent = self.recent();
        if !self.loopback && recent > self.ports {
            bail!(
                "{} ports needed, and this machine has {} for outgoing connections.\n\n  \
                 A port stays taken for {} after its connection was closed, and {} clients over {} are {} in that time.\n\n\
                 Ask for fewer --clients or a longer --over.",
                thousands(recent),
                thousands(self.ports),
                humantime::format_duration(TIME_WAIT),
                thousands(self.clients),
                humantime::format_duration(self.over),
                thousands(recent),
            );
        }
        Ok(())
    }

    /// The addresses to connect from; none means the system's choice. `draw` is as for [`loopback_sources`].
    pub(super) fn sources(&self, draw: u32) -> Vec<IpAddr> {
        if self.loopback {
            loopback_sources(self.recent(), draw)
        } else {
            Vec::new()
        }
    }

    /// Connections open at once, at most. A client's message is answered by somebody who may leave first, and then by
    /// somebody else: a client stays for one to two mean delays (1.0 for exponential ones, 1.44 for constant ones, where
    /// each holder's leave is independent of its answers; up to 1.8 was measured).
    fn open_at_once(&self) -> u64 {
        let over = self.over.as_secs_f64().max(1e-9);
        let stay = self.ack_delay.as_secs_f64() * 2.0 + 0.25;
        let mean = self.clients as f64 * (stay / over).min(1.0);
        // Four standard deviations of a Poisson distribution.
        let most = mean + 4.0 * mean.sqrt();
        (most.ceil() as u64).clamp(1, self.clients.max(1))
    }

    /// Connections that were open within the time that a port stays taken.
    fn recent(&self) -> u64 {
        let share = TIME_WAIT.as_secs_f64() / self.over.as_secs_f64().max(1e-9);
        (self.clients as f64 * share.min(1.0)).ceil() as u64
    }
}

/// Loopback addresses for so many clients. `draw` chooses among the loopback networks, so that ports still in TIME-WAIT
/// from the run before are not in the way: with some 7,000 of an address's ports taken, Linux takes milliseconds to
/// find a free one.
pub(super) fn loopback_sources(clients: u64, draw: u32) -> Vec<IpAddr> {
    let [.., second, third] = draw.to_be_bytes();
    let second = 1 + second % 254;
    let count = clients.div_ceil(CLIENTS_PER_ADDRESS).clamp(1, MOST_ADDRESSES);
    let address = |at: u64| Ipv4Addr::new(127, second, third.wrapping_add((at / 250) as u8), 1 + (at % 250) as u8);
    (0..count).map(|at| address(at).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FITS: Plan = Plan {
        clients: 100_000,
        over: Duration::from_secs(60),
        ack_delay: Duration::from_millis(2500),
        own_server: true,
        loopback: true,
        files: 20_000,
        ports: 28_232,
    };

    #[test]
    fn the_katas_own_size_fits_a_common_machine() {
        FITS.check().expect("100,000 clients over 60 s");
        let mut sources = FITS.sources(0xFFFF_FFFF);
        sources.sort_unstable();
        sources.dedup();
        assert_eq!(sources.len(), 200, "one address for every 500 clients");
        assert!(sources.iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_arithmetic() {
        let all_at_once = Plan {
            over: Duration::ZERO,
            ..FITS
        };
        let error = all_at_once.check().expect_err("200,000 files").to_string();
        assert!(
            error.contains("200,064 open files needed, and this process may open 20,000"),
            "{error}"
        );
        assert!(error.contains("at most 9,968 at once"), "{error}");

        let elsewhere = Plan {
            own_server: false,
            loopback: false,
            ..FITS
        };
        let error = elsewhere.check().expect_err("100,000 ports").to_string();
        assert!(
            error.contains("100,000 ports needed, and this machine has 28,232"),
            "{error}"
        );
    }
}
