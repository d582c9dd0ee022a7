//! The run that a seed and the flags beside it define.

use crate::direct::Case;
use crate::oracle::{Workload, silence};

/// What is asked for besides a seed. The same plan and the same seed are the same run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The number of clients, instead of the one that the seed draws.
    pub clients: Option<usize>,
    /// Leave out the checks whose cost grows with what is under way.
    pub shallow: bool,
    /// Let nothing go wrong with network and hosts.
    pub calm: bool,
}

impl Plan {
    /// The run of `seed`.
    #[must_use]
    pub fn draw<W: Workload>(&self, seed: u64) -> (Case, W) {
        let mut case = Case::draw(seed);
        case.deep = !self.shallow;
        if self.calm {
            case = case.without_faults();
        }
        let workload = if self.clients.is_none() && silence::draw(seed) {
            W::draw_silent(seed, case.hosts, case.safety)
        } else {
            W::draw(seed, case.hosts, case.safety, self.clients)
        };
        (case, workload)
    }

    /// The same as flags of the command line, each after a space.
    #[must_use]
    pub fn flags(&self) -> String {
        let clients = self.clients.map(|clients| format!(" --clients {clients}"));
        let shallow = if self.shallow { " --shallow" } else { "" };
        let calm = if self.calm { " --no-faults" } else { "" };
        clients.unwrap_or_default() + shallow + calm
    }
}
