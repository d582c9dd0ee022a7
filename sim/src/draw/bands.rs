//! The faults of a run as bands of the picture.

use serde_json::{Value, json};

use crate::direct::history::{History, Turn};
use crate::direct::{Case, Fault};

/// A band for each fault that began: its name, where, from which step, and to which step or until when.
pub(super) fn bands(case: &Case, history: &History) -> Vec<Value> {
    let mut bands = Vec::new();
    for (from, step) in history.steps.iter().enumerate() {
        let Some(Turn::Begins(at)) = step.fault else {
            continue;
        };
        let fault = case.faults[at].1;
        let (name, host, link) = describe(fault, case.hosts);
        let ends = history.steps[from..]
            .iter()
            .position(|step| step.fault == Some(Turn::Ends(at)));
        let to = match fault {
            Fault::Reset(..) | Fault::HalfOpen(..) | Fault::Stranger(..) => Some(from),
            _ => ends.map(|after| from + after),
        };
        let until = match fault {
            // Nothing happens when a pause ends.
            Fault::Pause(_, lasts) => Some((step.at + lasts).min(case.safety).as_micros()),
            _ => None,
        };
        bands.push(json!({"name": name, "lane": host, "link": link, "from": from, "to": to, "until": until}));
    }
    bands
}

/// What goes wrong all the time, until all faults end.
pub(super) fn weather(case: &Case) -> String {
    let rates = &case.rates;
    let named = [
        ("dials refused", rates.refuse),
        ("dials unanswered", rates.blackhole),
        ("writes split", rates.split),
        ("segments joined", rates.join),
        ("segments stalled", rates.stall),
        ("ends lost", rates.lost_fin),
        ("reads slow", rates.slow_reader),
    ];
    let wrong = named.iter().filter(|(_, rate)| *rate > 0.0);
    let wrong = wrong.map(|(name, rate)| format!(", {:.1} % of {name}", rate * 100.0));
    let (shortest, longest) = case.latency;
    format!("latency {shortest:?} to {longest:?}{}", wrong.collect::<String>())
}

/// Its name, the host that it is about, and whether it is about that host's link.
fn describe(fault: Fault, server: usize) -> (String, usize, bool) {
    match fault {
        Fault::Slow(host, by, _) => (format!("slow by {by:?}"), host, true),
        Fault::Clog(host, _) => ("held back".to_owned(), host, true),
        Fault::Partition(host, _) => ("cut off".to_owned(), host, true),
        Fault::PartitionToServer(host, _) => ("cut off to the server".to_owned(), host, true),
        Fault::PartitionToClient(host, _) => ("cut off to the client".to_owned(), host, true),
        Fault::Reset(host, share) => (format!("{:.0} % reset", share * 100.0), host, true),
        Fault::HalfOpen(host, share) => (format!("{:.0} % die unnoticed", share * 100.0), host, true),
        Fault::ClientCrash(host, _) => ("crashed".to_owned(), host, false),
        Fault::ClientPowerLoss(host, _) => ("without power".to_owned(), host, false),
        Fault::ServerCrash(_) => ("crashed".to_owned(), server, false),
        Fault::ServerPowerLoss(_) => ("without power".to_owned(), server, false),
        Fault::ServerDrain(_) => ("draining".to_owned(), server, false),
        Fault::ClientDrain(host, _) => ("draining".to_owned(), host, false),
        Fault::Pause(host, _) => ("paused".to_owned(), host, false),
        Fault::Narrow(host, byte, _) => (format!("narrow: {byte:?} a byte"), host, true),
        Fault::Stranger(host, kind) => (format!("a stranger sends {kind}"), host, true),
    }
}
