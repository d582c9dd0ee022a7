//! What this machine allows, before anything starts.

use anyhow::bail;

use crate::values::thousands;

/// Open files of a process that are not connections.
const OTHER_FILES: u64 = 64;

/// The limits, and what is to be where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    /// Files each process may open.
    pub(super) files: u64,
    /// Processes of clients; `None`: all is in this process.
    pub(super) shards: Option<u32>,
    pub(super) own_server: bool,
    /// Clients can have many addresses.
    pub(super) loopback: bool,
    /// Ports of one address.
    pub(super) ports: u64,
}

impl Fit {
    /// How many connections there can be.
    fn most(&self) -> u64 {
        let each = self.files.saturating_sub(OTHER_FILES);
        let clients = match self.shards {
            Some(shards) => each.saturating_mul(shards.into()),
            None if self.own_server => each / 2,
            None => each,
        };
        let server = if self.own_server { each } else { u64::MAX };
        let ports = if self.loopback { u64::MAX } else { self.ports };
        clients.min(server).min(ports)
    }

    /// How many are to be opened: those asked for, or as many as there can be.
    ///
    /// # Errors
    ///
    /// If so many cannot be.
    pub(super) fn check(&self, connections: Option<u32>) -> anyhow::Result<u32> {
        let most = u32::try_from(self.most()).unwrap_or(u32::MAX);
        match connections {
            Some(connections) if connections > most => {
                bail!(
                    "{} connections do not fit.\n\n  {}\n\nAsk for fewer --connections; or raise the limit (ulimit -n).",
                    thousands(connections.into()),
                    self.arithmetic()
                )
            }
            Some(connections) => Ok(connections),
            None => Ok(most),
        }
    }

    /// The arithmetic.
    pub(super) fn arithmetic(&self) -> String {
        let most = thousands(self.most());
        let files = thousands(self.files);
        let ports = if self.loopback {
            String::new()
        } else {
            format!(", and there are {} ports", thousands(self.ports))
        };
        let whose = match (self.shards, self.own_server) {
            (Some(shards), true) => format!("the server is one process and the clients are {shards}"),
            (Some(shards), false) => format!("the clients are {shards} processes"),
            (None, true) => "server and clients are one process (--shards 1 parts them)".to_owned(),
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
                    shards: Some(4),
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
}
