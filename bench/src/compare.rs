//! The command `compare`: measures every server under every load, several times in turn.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::generator::{Generator, Load};
use crate::loads::{IDLE, LOADS, LoadSpec};
use crate::note;
use crate::plot;
use crate::process::{self, Pinned};
use crate::report::{Report, Sample};
use crate::servers::{self, BASELINE, OURS, Server};

/// The time between two readings of a server's memory. The memory has settled when two readings agree.
const SETTLING: Duration = Duration::from_millis(200);
/// The maximum number of readings.
const READINGS: u32 = 25;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- compare --quick
  cargo run --release -p bench -- compare --only nats --only 'w16' --json result.json --svg result.svg")]
pub(crate) struct Args {
    /// Measure three rounds of half a second instead of five of one second
    #[arg(long)]
    quick: bool,

    /// Measure only servers or loads whose name contains this; repeatable. The baseline and Echosphere always run
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Write all medians to this file as JSON
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,

    /// Draw all medians into this file as SVG
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,

    /// Measure this build of echosphere too, to see the effect of a change
    #[arg(long, value_name = "PROGRAM")]
    before: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    process::raise_open_files();
    let (all, missing) = servers::find(&build()?, args.before.as_deref())?;
    for line in &missing {
        note!("not measured: {line}");
    }
    let (servers, loads) = args.chosen(all);
    let (rounds, warm_up, duration) = if args.quick { (3, 200, 500) } else { (5, 300, 1000) };
    let time = (Duration::from_millis(warm_up), Duration::from_millis(duration));

    let mut report = Report::new(&servers, &loads, missing, rounds);
    for round in 1..=rounds {
        for (at, load_spec) in loads.iter().enumerate() {
            note!("round {round} of {rounds}: {}", load_spec.name);
            for (number, server) in servers.iter().enumerate() {
                report.note(at, number, measure(server, load_spec, time));
            }
        }
        if args.only.is_empty() || args.only.iter().any(|name| "idle".contains(name)) {
            note!("round {round} of {rounds}: {IDLE} idle connections");
            for (number, server) in servers.iter().enumerate() {
                report.note_idle(number, idle_bytes(server));
            }
        }
    }

    write!(io::stdout(), "{}", report.to_text())?;
    if let Some(path) = &args.json {
        fs::write(path, serde_json::to_string_pretty(&report.summary())?)?;
    }
    if let Some(path) = &args.svg {
        fs::write(path, plot::draw(&report.summary()))?;
    }
    Ok(ExitCode::from(u8::from(!report.gates_met())))
}

impl Args {
    /// The servers and loads that `--only` selects. A name that matches no server selects loads, and vice versa.
    fn chosen(&self, servers: Vec<Server>) -> (Vec<Server>, Vec<LoadSpec>) {
        let named = |name: &str| self.only.iter().any(|only| name.contains(only.as_str()));
        let some_server = servers.iter().any(|server| named(&server.name));
        let some_shape = LOADS.iter().any(|load_spec| named(load_spec.name)) || named("idle");
        let always = |server: &Server| [BASELINE, OURS, "before"].contains(&server.name.as_str());
        let servers = servers
            .into_iter()
            .filter(|server| always(server) || !some_server || named(&server.name));
        let loads = LOADS
            .into_iter()
            .filter(|load_spec| !some_shape || named(load_spec.name));
        (servers.collect(), loads.collect())
    }
}

/// Builds the command line. Returns its path, which is next to this program.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "-p", "echosphere"]);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    ensure!(command.status()?.success(), "cannot build echosphere");
    let program = std::env::current_exe()?.with_file_name("echosphere");
    ensure!(
        program.exists(),
        "{} does not exist; run the bench with --release",
        program.display()
    );
    Ok(program)
}

fn measure(server: &Server, load_spec: &LoadSpec, (warm_up, duration): (Duration, Duration)) -> anyhow::Result<Sample> {
    let pinned = if load_spec.one_core {
        Some(Pinned::to_one_core()?)
    } else {
        None
    };
    let running = server.start()?;
    let mut generator = Generator::connect(server.wire(), running.addr, load_spec.connections)?;
    let load = Load {
        senders: load_spec.senders,
        window: load_spec.window,
        size: load_spec.size,
        warm_up,
        duration,
    };
    let outcome = generator.run(&load, running.pid())?;
    drop(pinned);
    Sample::of(&outcome).context("no round trip completed")
}

/// The memory of a server per idle connection, in bytes.
fn idle_bytes(server: &Server) -> anyhow::Result<f64> {
    let running = server.start()?;
    let warm_up = Generator::connect(server.wire(), running.addr, 100)?;
    let before = settled(running.pid())?;
    let connections = Generator::connect(server.wire(), running.addr, IDLE)?;
    let after = settled(running.pid())?;
    drop((warm_up, connections));
    Ok(after.saturating_sub(before) as f64 / f64::from(IDLE))
}

fn settled(pid: u32) -> anyhow::Result<u64> {
    let mut last = process::resident(pid)?;
    for _ in 0..READINGS {
        sleep(SETTLING);
        let next = process::resident(pid)?;
        if next == last {
            break;
        }
        last = next;
    }
    Ok(last)
}
