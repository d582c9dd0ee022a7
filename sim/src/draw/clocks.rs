//! The log for ShiViz: one line per event of a machine, with the vector clock of its host.

use super::arrows::Arrow;
use crate::direct::history::History;

/// The lines, with these words for each step.
pub(super) fn log(lanes: &[&str], history: &History, arrows: &[Arrow], words: impl Iterator<Item = String>) -> String {
    let mut causes: Vec<Option<usize>> = vec![None; history.steps.len()];
    for arrow in arrows {
        if let Some(to) = arrow.to {
            causes[to] = Some(arrow.from);
        }
    }
    let mut now = vec![vec![0_u64; lanes.len()]; lanes.len()];
    let mut clocks: Vec<Vec<u64>> = Vec::with_capacity(history.steps.len());
    let mut log = String::new();
    for ((step, words), cause) in history.steps.iter().zip(words).zip(causes) {
        let Some(who) = step.who else {
            // Faults of the network advance no clock.
            clocks.push(vec![0; lanes.len()]);
            continue;
        };
        let clock = &mut now[who];
        if let Some(cause) = cause {
            for (mine, theirs) in clock.iter_mut().zip(&clocks[cause]) {
                *mine = (*mine).max(*theirs);
            }
        }
        clock[who] += 1;
        let entries = lanes.iter().zip(clock.iter()).filter(|(_, count)| **count > 0);
        let entries: Vec<String> = entries.map(|(lane, count)| format!("\"{lane}\":{count}")).collect();
        log.push_str(&format!("{} {{{}}} {words}\n", lanes[who], entries.join(",")));
        clocks.push(clock.clone());
    }
    log
}
