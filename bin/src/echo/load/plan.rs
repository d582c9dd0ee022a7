//! Checks that the clients fit this machine, before any of them starts.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::bail;

use crate::limits::OTHER_FILES;
use crate::sources;
use crate::values::{short, thousands};

/// The time that a port stays in use after this side closed its connection (TIME-WAIT on Linux).
const TIME_WAIT: Duration = Duration::from_secs(60);

/// The options, and the limits of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) clients: u64,
    pub(super) over: Duration,
    /// The mean of the delay before an `ok`.
    pub(super) ack_delay: Duration,
    /// The server runs in this process, so that each connection has two open files.
    pub(super) own_server: bool,
    /// The server is on the loopback network, so that clients can use many addresses.
    pub(super) loopback: bool,
    /// The files that this process may open.
    pub(super) files: u64,
    /// The ports of one address.
    pub(super) ports: u64,
}

impl Plan {
    /// Checks that the clients fit.
    ///
    /// # Errors
    ///
    /// If they do not, with the calculation and what to change.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let open = self.open_at_once();
        let each = if self.own_server { 2 } else { 1 };
        let needed = open * each + OTHER_FILES;
        if needed > self.files {
            let fit = (self.files.saturating_sub(OTHER_FILES)) / each;
            let ends = if self.own_server {
                "each has 2 files, as the server runs in this process too"
            } else {
                "each has 1 file"
            };
            bail!(
                "the load needs {} open files, and this process may open {}.\n\n  \
                 {} clients over {} with a mean --ack-delay of {} have up to {} connections at once; {ends}.\n\n\
                 At most {} fit at once. Use fewer --clients, a longer --over, a shorter --ack-delay{}, or raise the limit (ulimit -n).",
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
        let (recent, ports) = (self.recent(), self.all_ports());
        if recent > ports {
            bail!(
                "the load needs {} ports, and this machine has {} for outgoing connections.\n\n  \
                 A port stays in use for {} after its connection closes, and {} clients over {} use {} ports in that time.\n\n\
                 Use fewer --clients or a longer --over.",
                thousands(recent),
                thousands(ports),
                humantime::format_duration(TIME_WAIT),
                thousands(self.clients),
                humantime::format_duration(self.over),
                thousands(recent),
            );
        }
        Ok(())
    }

    /// Ports for connections to the server.
    const fn all_ports(&self) -> u64 {
        sources::most(self.loopback, self.ports)
    }

    /// The addresses to connect from; none means the system chooses. `draw` is that of [`sources::loopback`].
    pub(super) fn sources(&self, draw: u32) -> Vec<IpAddr> {
        if self.loopback {
            sources::loopback(self.recent(), self.ports, draw)
        } else {
            Vec::new()
        }
    }

    /// The most connections at once. The holder of a message may disconnect before it answers, and another client then answers.
    /// So a client stays connected for one to two mean delays: 1.0 for exponential delays and 1.44 for constant ones in theory,
    /// up to 1.8 as measured.
    fn open_at_once(&self) -> u64 {
        let over = self.over.as_secs_f64().max(1e-9);
        let stay = self.ack_delay.as_secs_f64() * 2.0 + 0.25;
        let mean = self.clients as f64 * (stay / over).min(1.0);
        // Four standard deviations of a Poisson distribution.
        let most = mean + 4.0 * mean.sqrt();
        (most.ceil() as u64).clamp(1, self.clients.max(1))
    }

    /// The connections that are open within the time that a port stays in use.
    fn recent(&self) -> u64 {
        let share = TIME_WAIT.as_secs_f64() / self.over.as_secs_f64().max(1e-9);
        (self.clients as f64 * share.min(1.0)).ceil() as u64
    }
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
        assert_eq!(FITS.sources(7).len(), 200, "one address for every 500 clients");
    }

    #[test]
    fn connections_at_once_follow_the_delay_the_time_and_the_clients() {
        let open = |clients, over, ack_delay| {
            let [over, ack_delay] = [over, ack_delay].map(Duration::from_millis);
            let plan = Plan {
                clients,
                over,
                ack_delay,
                ..FITS
            };
            plan.open_at_once()
        };
        // 100,000 × (2 × 2.5 s + 0.25 s) / 60 s = 8,750, and four times its root.
        assert_eq!(open(100_000, 60_000, 2_500), 8_750 + 375);
        assert_eq!(open(100_000, 60_000, 0), 417 + 82);
        assert_eq!(open(10, 60_000, 60_000), 10);
        assert_eq!(open(10, 0, 0), 10);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_arithmetic() {
        let all_at_once = Plan {
            over: Duration::ZERO,
            ..FITS
        };
        let error = all_at_once.check().expect_err("200,000 files").to_string();
        assert!(
            error.contains("needs 200,064 open files, and this process may open 20,000"),
            "{error}"
        );
        assert!(error.contains("At most 9,968 fit at once"), "{error}");

        let few_ports = Plan { ports: 1, ..FITS };
        let error = few_ports.check().expect_err("60,000 ports").to_string();
        assert!(
            error.contains("needs 100,000 ports, and this machine has 60,000"),
            "{error}"
        );

        let elsewhere = Plan {
            own_server: false,
            loopback: false,
            ..FITS
        };
        let error = elsewhere.check().expect_err("100,000 ports").to_string();
        assert!(
            error.contains("needs 100,000 ports, and this machine has 28,232"),
            "{error}"
        );
    }
}
