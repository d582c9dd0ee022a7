//! One comparison: every server under every load, in turn, several times.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::generator::{Generator, Load};
use crate::note;
use crate::peers::{self, BASELINE, OURS, Peer};
use crate::plot;
use crate::process::{self, Pinned};
use crate::report::{Report, Sample};
use crate::shapes::{IDLE, SHAPES, Shape};

/// Between two looks at a server's memory; when they agree, it has settled.
const SETTLING: Duration = Duration::from_millis(200);
/// Looks at most.
const LOOKS: u32 = 25;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- compare --quick
  cargo run --release -p bench -- compare --only nats --only 'w16' --json result.json --svg result.svg")]
pub(crate) struct Args {
    /// Three rounds of half a second instead of five of one second
    #[arg(long)]
    quick: bool,

    /// Only servers, or loads, whose name contains this; may be given several times. The baseline and Echosphere always run
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Write all medians to this file
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,

    /// Draw them into this file
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,

    /// Another build of the echosphere command line, measured beside this workspace's: to see what a change brought
    #[arg(long, value_name = "PROGRAM")]
    before: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    process::raise_open_files();
    let (all, missing) = peers::find(&build()?, args.before.as_deref())?;
    for line in &missing {
        note!("left out: {line}");
    }
    let (peers, shapes) = args.chosen(all);
    let (rounds, warm_up, duration) = if args.quick { (3, 200, 500) } else { (5, 300, 1000) };
    let time = (Duration::from_millis(warm_up), Duration::from_millis(duration));

    let mut report = Report::new(&peers, &shapes, missing, rounds);
    for round in 1..=rounds {
        for (at, shape) in shapes.iter().enumerate() {
            note!("round {round} of {rounds}: {}", shape.name);
            for (server, peer) in peers.iter().enumerate() {
                report.note(at, server, measure(peer, shape, time));
            }
        }
        if args.only.is_empty() || args.only.iter().any(|name| "idle".contains(name)) {
            note!("round {round} of {rounds}: {IDLE} idle connections");
            for (server, peer) in peers.iter().enumerate() {
                report.note_idle(server, idle_bytes(peer));
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
    /// Names that match no server choose among the loads, and the other way round.
    fn chosen(&self, peers: Vec<Peer>) -> (Vec<Peer>, Vec<Shape>) {
        let named = |name: &str| self.only.iter().any(|only| name.contains(only.as_str()));
        let some_peer = peers.iter().any(|peer| named(&peer.name));
        let some_shape = SHAPES.iter().any(|shape| named(shape.name)) || named("idle");
        let always = |peer: &Peer| [BASELINE, OURS, "before"].contains(&peer.name.as_str());
        let peers = peers
            .into_iter()
            .filter(|peer| always(peer) || !some_peer || named(&peer.name));
        let shapes = SHAPES.into_iter().filter(|shape| !some_shape || named(shape.name));
        (peers.collect(), shapes.collect())
    }
}

/// Builds the command line, and returns where it is: beside this program.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "-p", "echosphere"]);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    ensure!(command.status()?.success(), "cannot build echosphere");
    let program = std::env::current_exe()?.with_file_name("echosphere");
    ensure!(
        program.exists(),
        "{} is missing: run this with --release",
        program.display()
    );
    Ok(program)
}

fn measure(peer: &Peer, shape: &Shape, (warm_up, duration): (Duration, Duration)) -> anyhow::Result<Sample> {
    let pinned = if shape.one_core {
        Some(Pinned::to_one_core()?)
    } else {
        None
    };
    let server = peer.start()?;
    let mut generator = Generator::connect(peer.wire(), server.addr, shape.connections)?;
    let load = Load {
        senders: shape.senders,
        window: shape.window,
        size: shape.size,
        warm_up,
        duration,
    };
    let outcome = generator.run(&load, server.pid())?;
    drop(pinned);
    Sample::of(&outcome).context("no round trip was finished")
}

/// What one more connection that does nothing costs a server in memory.
fn idle_bytes(peer: &Peer) -> anyhow::Result<f64> {
    let server = peer.start()?;
    let warm_up = Generator::connect(peer.wire(), server.addr, 100)?;
    let before = settled(server.pid())?;
    let connections = Generator::connect(peer.wire(), server.addr, IDLE)?;
    let after = settled(server.pid())?;
    drop((warm_up, connections));
    Ok(after.saturating_sub(before) as f64 / f64::from(IDLE))
}

fn settled(pid: u32) -> anyhow::Result<u64> {
    let mut last = process::resident(pid)?;
    for _ in 0..LOOKS {
        sleep(SETTLING);
        let next = process::resident(pid)?;
        if next == last {
            break;
        }
        last = next;
    }
    Ok(last)
}
