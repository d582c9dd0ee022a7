//! Checks that the connections fit this machine, before any of them opens.

use anyhow::bail;

use crate::limits::OTHER_FILES;
use crate::sources;
use crate::values::thousands;

/// The most I/O threads of a server.
const MOST_THREADS: u32 = 256;
/// The most processes of clients.
pub(super) const MOST_SHARDS: u64 = 1000;

/// The limits of this machine, and the places of server and clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    /// The files that each process may open.
    pub(super) files: u64,
    /// Processes of clients; `None` if all clients are in this process.
    pub(super) shards: Option<u32>,
    pub(super) own_server: bool,
    /// The most connections of a server that this program starts.
    pub(super) max_connections: u64,
    /// Clients can use many addresses.
    pub(super) loopback: bool,
    /// The ports of one address.
    pub(super) ports: u64,
}

impl Fit {
    /// The connections of one process, or of one I/O thread.
    fn each(&self) -> u64 {
        self.files.saturating_sub(OTHER_FILES)
    }

    /// The most connections. A server in a process of its own gets the threads that it needs.
    fn most(&self) -> u64 {
        let clients = match self.shards {
            Some(shards) => self.each().saturating_mul(shards.into()),
            None if self.own_server => self.each() / 2,
            None => self.each(),
        };
        let server = if self.own_server {
            self.max_connections
        } else {
            u64::MAX
        };
        clients.min(server).min(self.all_ports())
    }

    /// Ports for connections to the server.
    const fn all_ports(&self) -> u64 {
        sources::most(self.loopback, self.ports)
    }

    /// The I/O threads that a server needs for this many connections. The kernel distributes them at random. A thread can get
    /// more than its share, here up to six standard deviations more.
    pub(super) fn io_threads(&self, connections: u32) -> u32 {
        let fits = |threads: u32| {
            let share = f64::from(connections) / f64::from(threads);
            let most = if threads == 1 {
                share
            } else {
                share + 6.0 * share.sqrt()
            };
            most <= self.each() as f64
        };
        (1..MOST_THREADS).find(|&threads| fits(threads)).unwrap_or(MOST_THREADS)
    }

    /// The number of connections to open: as requested, or the most that fit.
    ///
    /// # Errors
    ///
    /// If the requested number does not fit.
    pub(super) fn check(&self, connections: Option<u32>) -> anyhow::Result<u32> {
        let most = u32::try_from(self.most()).unwrap_or(u32::MAX);
        match connections {
            Some(connections) if connections > most => {
                bail!(
                    "{} connections do not fit.\n\n  {}\n\n{}",
                    thousands(connections.into()),
                    self.arithmetic(),
                    self.advice(connections.into())
                )
            }
            Some(connections) => Ok(connections),
            None => Ok(most),
        }
    }

    /// What to do to open more connections.
    fn advice(&self, connections: u64) -> String {
        let mut advice = "Use fewer --connections".to_owned();
        let shards = connections.div_ceil(self.each().max(1));
        if shards > self.shards.unwrap_or(0).into() && shards <= MOST_SHARDS {
            advice.push_str(&format!("; spread the clients with --shards {shards}"));
        }
        if self.own_server && connections > self.max_connections {
            advice.push_str("; raise the server's --max-connections");
        }
        advice + "; or raise the limit (ulimit -n)."
    }

    /// The calculation of the most connections.
    pub(super) fn arithmetic(&self) -> String {
        let most = thousands(self.most());
        let files = thousands(self.files);
        let ports = if self.loopback {
            String::new()
        } else {
            format!(", and this machine has {} ports", thousands(self.all_ports()))
        };
        let whose = match (self.shards, self.own_server) {
            (Some(shards), true) => {
                let takes = thousands(self.max_connections);
                format!(
                    "the server is one process with that many files for each thread and at most {takes} connections, and the clients are {shards} processes"
                )
            }
            (Some(shards), false) => format!("the clients are {shards} processes"),
            (None, true) => "server and clients share one process (--shards 1 separates them)".to_owned(),
            (None, false) => "the clients are one process".to_owned(),
        };
        format!("a process may open {files} files{ports}; {whose}: at most {most} connections")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Fit = Fit {
        files: 20_000,
        shards: None,
        own_server: true,
        max_connections: 200_000,
        loopback: true,
        ports: 28_232,
    };

    #[test]
    fn as_many_as_fit_are_opened_and_no_more() {
        let fits = [
            (HERE, 9_968),
            (
                Fit {
                    shards: Some(1),
                    ..HERE
                },
                19_936,
            ),
            (
                Fit {
                    shards: Some(6),
                    ..HERE
                },
                119_616,
            ),
            (
                Fit {
                    shards: Some(20),
                    ..HERE
                },
                200_000,
            ),
            (
                Fit {
                    own_server: false,
                    ..HERE
                },
                19_936,
            ),
            (
                Fit {
                    own_server: false,
                    shards: Some(4),
                    ..HERE
                },
                79_744,
            ),
            (
                Fit {
                    own_server: false,
                    shards: Some(4),
                    loopback: false,
                    ..HERE
                },
                28_232,
            ),
        ];
        for (fit, most) in fits {
            assert_eq!(fit.check(None).unwrap(), most, "{fit:?}");
            assert_eq!(fit.check(Some(most)).unwrap(), most);
            let error = fit.check(Some(most + 1)).unwrap_err().to_string();
            assert!(
                error.contains(&format!("at most {} connections", thousands(most.into()))),
                "{error}"
            );
        }
    }

    #[test]
    fn a_server_has_as_many_threads_as_its_connections_need() {
        let threads = [1, 19_936, 19_937, 38_000, 39_872, 100_000].map(|connections| HERE.io_threads(connections));
        assert_eq!(threads, [1, 1, 2, 2, 3, 6]);
    }

    #[test]
    fn what_would_make_them_fit_is_said() {
        let error = HERE.check(Some(100_000)).unwrap_err().to_string();
        assert!(
            error.contains("--shards 6;") && !error.contains("--max-connections"),
            "{error}"
        );
        let six = Fit {
            shards: Some(6),
            max_connections: 1000,
            ..HERE
        };
        let error = six.check(Some(100_000)).unwrap_err().to_string();
        assert!(
            error.contains("--max-connections") && !error.contains("--shards"),
            "{error}"
        );
    }
}
