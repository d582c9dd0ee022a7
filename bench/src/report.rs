//! Medians, ratios, and whether the gates are met.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use serde::Serialize;

use crate::generator::Outcome;
use crate::loads::LoadSpec;
use crate::servers::{BASELINE, OURS, Server};

/// The number of relays in one round trip: the message and its answer.
const RELAYS: f64 = 2.0;
/// A generator that uses this share of a core limits the throughput.
const BUSY: f64 = 0.95;

/// The result of one server under one load in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    relays: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
    generator: f64,
}

impl Sample {
    /// Returns `None` if no message was relayed.
    pub(crate) fn of(outcome: &Outcome) -> Option<Self> {
        let relays = outcome.round_trips.len() as f64 * RELAYS;
        let at = |quantile| outcome.round_trips.value_at_quantile(quantile) as f64 / 1e3;
        (relays > 0.0).then(|| Self {
            relays: relays / outcome.elapsed.as_secs_f64(),
            cpu: outcome.server_cpu.as_secs_f64() * 1e6 / relays,
            p50: at(0.5),
            p99: at(0.99),
            generator: outcome.generator_cpu.as_secs_f64() / outcome.elapsed.as_secs_f64(),
        })
    }
}

/// All samples, by load and server.
pub(crate) struct Report {
    servers: Vec<String>,
    loads: Vec<LoadSpec>,
    missing: Vec<String>,
    rounds: u32,
    samples: Vec<Vec<Vec<Option<Sample>>>>,
    idle: Vec<Vec<f64>>,
    failures: BTreeSet<String>,
}

/// A server's medians under one load. Ratios are the medians of each round's ratio to the baseline.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) server: String,
    pub(crate) relays_per_s: f64,
    pub(crate) relays_ratio: f64,
    pub(crate) cpu_us_per_relay: f64,
    pub(crate) cpu_ratio: f64,
    pub(crate) rtt_p50_us: f64,
    pub(crate) rtt_p50_ratio: f64,
    pub(crate) rtt_p99_us: f64,
    /// The CPU of the generator, as a share of one core.
    pub(crate) generator_cpu: f64,
    /// Echosphere's relays per second divided by this server's.
    pub(crate) ours_to_it: f64,
}

/// The rows of one load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) load: String,
    pub(crate) rows: Vec<Row>,
}

/// A gate: a bound on a measured value.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Gate {
    what: String,
    measured: f64,
    gate: f64,
    met: bool,
}

/// All medians, as they are written to a file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) machine: String,
    pub(crate) rounds: u32,
    pub(crate) tables: Vec<Table>,
    /// Bytes of the server's memory for one idle connection.
    pub(crate) idle_bytes: Vec<(String, f64)>,
    gates: Vec<Gate>,
    failures: BTreeSet<String>,
    missing: Vec<String>,
}

impl Report {
    pub(crate) fn new(servers: &[Server], loads: &[LoadSpec], missing: Vec<String>, rounds: u32) -> Self {
        Self {
            servers: servers.iter().map(|server| server.name.clone()).collect(),
            loads: loads.to_vec(),
            missing,
            rounds,
            samples: vec![vec![Vec::new(); servers.len()]; loads.len()],
            idle: vec![Vec::new(); servers.len()],
            failures: BTreeSet::new(),
        }
    }

    /// Adds the result of a measurement.
    pub(crate) fn note(&mut self, load_spec: usize, server: usize, result: anyhow::Result<Sample>) {
        if let Err(error) = &result {
            self.failures.insert(format!(
                "{}, {}: {error:#}",
                self.servers[server], self.loads[load_spec].name
            ));
        }
        self.samples[load_spec][server].push(result.ok());
    }

    /// Adds the memory of a server per idle connection.
    pub(crate) fn note_idle(&mut self, server: usize, result: anyhow::Result<f64>) {
        match result {
            Ok(bytes) => self.idle[server].push(bytes),
            Err(error) => {
                self.failures
                    .insert(format!("{}, idle: {error:#}", self.servers[server]));
            }
        }
    }

    fn row(&self, load_spec: usize, server: usize) -> Option<Row> {
        let samples = &self.samples[load_spec];
        let value = |of: fn(&Sample) -> f64| median(samples[server].iter().flatten().map(of));
        let ratio = |one: usize, other: usize, of: fn(&Sample) -> f64| {
            let rounds = samples[one].iter().zip(&samples[other]);
            median(rounds.filter_map(|(one, other)| Some(of(one.as_ref()?) / of(other.as_ref()?))))
        };
        let (baseline, ours) = (self.find(BASELINE), self.find(OURS));
        Some(Row {
            server: self.servers[server].clone(),
            relays_per_s: value(|sample| sample.relays)?,
            relays_ratio: ratio(server, baseline, |sample| sample.relays)?,
            cpu_us_per_relay: value(|sample| sample.cpu)?,
            cpu_ratio: ratio(server, baseline, |sample| sample.cpu)?,
            rtt_p50_us: value(|sample| sample.p50)?,
            rtt_p50_ratio: ratio(server, baseline, |sample| sample.p50)?,
            rtt_p99_us: value(|sample| sample.p99)?,
            generator_cpu: value(|sample| sample.generator)?,
            ours_to_it: ratio(ours, server, |sample| sample.relays)?,
        })
    }

    fn find(&self, name: &str) -> usize {
        self.servers.iter().position(|server| server == name).unwrap_or(0)
    }

    /// The medians.
    pub(crate) fn summary(&self) -> Summary {
        let table = |(at, load_spec): (usize, &LoadSpec)| Table {
            load: load_spec.name.to_owned(),
            rows: (0..self.servers.len())
                .filter_map(|server| self.row(at, server))
                .collect(),
        };
        let tables: Vec<Table> = self.loads.iter().enumerate().map(table).collect();
        let idle = self.servers.iter().zip(&self.idle);
        let idle: Vec<_> = idle
            .filter_map(|(name, bytes)| Some((name.clone(), median(bytes.iter().copied())?)))
            .collect();
        Summary {
            machine: machine(),
            rounds: self.rounds,
            gates: gates(&tables, &idle),
            tables,
            idle_bytes: idle,
            failures: self.failures.clone(),
            missing: self.missing.clone(),
        }
    }

    /// Whether every gate that was measured is met.
    pub(crate) fn gates_met(&self) -> bool {
        self.summary().gates.iter().all(|gate| gate.met)
    }

    /// All medians as Markdown tables.
    pub(crate) fn to_text(&self) -> String {
        let summary = self.summary();
        let mut text = format!("{}; medians of {}\n", summary.machine, summary.rounds);
        for table in &summary.tables {
            // Writing to a String does not fail.
            let _ = write!(text, "\n{}", table_text(table));
        }
        if !summary.idle_bytes.is_empty() {
            text.push_str("\n| server | bytes per idle connection |\n|---|--:|\n");
        }
        for (server, bytes) in &summary.idle_bytes {
            let _ = writeln!(text, "| {server} | {bytes:.0} |");
        }
        text.push_str("\n| gate | measured | bound | |\n|---|--:|--:|---|\n");
        for gate in &summary.gates {
            let verdict = if gate.met { "met" } else { "**missed**" };
            let _ = writeln!(
                text,
                "| {} | {:.2} | {} | {verdict} |",
                gate.what, gate.measured, gate.gate
            );
        }
        for failure in &summary.failures {
            let _ = writeln!(text, "\nfailed: {failure}");
        }
        text
    }
}

fn table_text(table: &Table) -> String {
    let mut text = format!(
        "| {} | relays/s | to epoll | echosphere to it | CPU µs per relay | to epoll | RTT p50 µs | to epoll | p99 µs | generator |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        table.load
    );
    for row in &table.rows {
        let bottleneck = if row.generator_cpu >= BUSY { " (the limit)" } else { "" };
        let _ = writeln!(
            text,
            "| {} | {:.0}k | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.2} | {:.1} | {:.0} %{bottleneck} |",
            row.server,
            row.relays_per_s / 1e3,
            row.relays_ratio,
            row.ours_to_it,
            row.cpu_us_per_relay,
            row.cpu_ratio,
            row.rtt_p50_us,
            row.rtt_p50_ratio,
            row.rtt_p99_us,
            row.generator_cpu * 100.0,
        );
    }
    text
}

/// The bounds that Echosphere's server must meet.
fn gates(tables: &[Table], idle: &[(String, f64)]) -> Vec<Gate> {
    let mut gates = Vec::new();
    let mut gate = |what: String, measured: f64, bound: f64, at_least: bool| {
        let met = if at_least { measured >= bound } else { measured <= bound };
        gates.push(Gate {
            what,
            measured,
            gate: bound,
            met,
        });
    };
    for table in tables {
        let load = &table.load;
        for row in &table.rows {
            if row.server == OURS {
                gate(
                    format!("{load}: relays/s to epoll, minimum"),
                    row.relays_ratio,
                    0.7,
                    true,
                );
                gate(
                    format!("{load}: CPU per relay to epoll, maximum"),
                    row.cpu_ratio,
                    1.6,
                    false,
                );
                if load == "alone, one core" {
                    gate(
                        format!("{load}: RTT p50 to epoll, maximum"),
                        row.rtt_p50_ratio,
                        1.5,
                        false,
                    );
                }
            }
            let name = row.server.split(' ').next().unwrap_or_default();
            let bound = match (name, load.as_str()) {
                ("nats", "100 w16") => 3.0,
                ("nats", "100 w1") => 2.0,
                ("nats", "100 w16 1KiB") => 1.6,
                ("mosquitto", "100 w1") => 1.1,
                _ => continue,
            };
            gate(
                format!("{load}: relays/s to {}, minimum", row.server),
                row.ours_to_it,
                bound,
                true,
            );
        }
    }
    for (_, bytes) in idle.iter().filter(|(server, _)| server == OURS) {
        gate("bytes per idle connection, maximum".to_owned(), *bytes, 900.0, false);
    }
    gates
}

/// The median. `None` if there are no values.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) {
        (values[middle - 1] + upper) / 2.0
    } else {
        upper
    })
}

/// The processor, its number of cores, and the kernel.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let mut models = cpus
        .lines()
        .filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = models.next().map_or("unknown processor", |(_, model)| model).to_owned();
    let cores = 1 + models.count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loads::LOADS;

    fn sample(relays: f64, cpu: f64) -> Option<Sample> {
        Some(Sample {
            relays,
            cpu,
            p50: 10.0,
            p99: 20.0,
            generator: 0.5,
        })
    }

    fn report(baseline: Vec<Option<Sample>>, ours: Vec<Option<Sample>>) -> Report {
        Report {
            servers: vec![BASELINE.to_owned(), OURS.to_owned()],
            loads: vec![LOADS[0]],
            missing: Vec::new(),
            rounds: 3,
            samples: vec![vec![baseline, ours]],
            idle: vec![vec![100.0], vec![901.0]],
            failures: BTreeSet::new(),
        }
    }

    #[test]
    fn ratios_compare_the_same_round_and_decide_the_gates() {
        // The second round was slow for both, and the baseline's third failed.
        let baseline = vec![sample(1000.0, 1.0), sample(100.0, 10.0), None];
        let ours = vec![sample(800.0, 1.5), sample(80.0, 15.0), sample(1.0, 99.0)];
        let report = report(baseline, ours);
        let summary = report.summary();
        let row = &summary.tables[0].rows[1];
        assert!(
            (row.relays_ratio - 0.8).abs() < 1e-9 && (row.cpu_ratio - 1.5).abs() < 1e-9,
            "{row:?}"
        );
        assert!((row.relays_per_s - 80.0).abs() < 1e-9, "the median: {row:?}");
        let met: Vec<bool> = summary.gates.iter().map(|gate| gate.met).collect();
        assert_eq!(met, [true, true, false], "901 bytes are too many: {:?}", summary.gates);
        assert!(!report.gates_met());
        assert!(report.to_text().contains("**missed**"));
    }

    #[test]
    fn the_drawing_has_a_bar_for_each_server_and_the_longest_fills_the_width() {
        let report = report(vec![sample(1000.0, 1.0)], vec![sample(500.0, 2.0)]);
        let svg = crate::plot::draw(&report.summary());
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.starts_with("<rect x="))
            .filter_map(|line| line.split_once(" width=\"")?.1.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths.len(), 2);
        assert!((widths[0] - 2.0 * widths[1]).abs() < 0.2, "{widths:?}");
    }

    #[test]
    fn the_median_is_the_middle_value() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median([].into_iter()), None);
    }
}
