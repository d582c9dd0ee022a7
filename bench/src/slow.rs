//! The command `slow`: measures whether long bodies and slow consumers disturb other users of a hub, and what they cost the
//! hub in memory.
//!
//! It uses the hub, because there the sender names the receiver. An echo server would choose a slow consumer as the receiver
//! of other clients' messages, and those clients would wait for it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};

use crate::compare::build;
use crate::generator::{Generator, Load};
use crate::note;
use crate::process;
use crate::servers::{self, HUB, Server};
use crate::wire::{Incoming, Wire};

/// The number of measured users, and how many of them send.
const USERS: u32 = 100;
const SENDERS: u32 = 10;
const SMALL: usize = 64;
/// The length of a long body without its first byte, which is the kind of message.
const BODY: usize = 1024 * 1024 - 1;
/// The number of bodies sent to each slow consumer: more than may wait for it.
const FLOOD: u32 = 256;
/// The maximum number of bytes waiting for one user of a hub by default, plus one more body.
const MAX_BACKLOG: u64 = 17 * 1024 * 1024;
/// The memory a hub may use besides: bodies that are being received, and everything shared.
const ALLOWANCE: u64 = 64 * 1024 * 1024;
/// The length of the frame with a user's id.
const IDENTITY_BYTES: usize = 4 + 1 + 8;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run this many senders of 1 MiB bodies, and as many receivers
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    others: u32,

    /// Send this many bodies per second, all senders together
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,

    /// Measure this many rounds and report the medians
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Measure this many seconds in each round
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    seconds: u64,
}

/// The load beside the measured users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Background {
    Absent,
    /// Long bodies at another hub, which show the cost to the machine rather than to the hub.
    Elsewhere,
    /// Long bodies that their receivers read.
    Read,
    /// Long bodies that their receivers do not read.
    Unread,
}

const CASES: [(Background, &str); 4] = [
    (Background::Absent, "no others"),
    (Background::Elsewhere, "bodies of 1 MiB, at another hub"),
    (Background::Read, "bodies of 1 MiB"),
    (Background::Unread, "bodies of 1 MiB to slow consumers"),
];

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    process::raise_open_files();
    let (all, _) = servers::find(&build()?, None)?;
    let hub = all.into_iter().find(|server| server.name == HUB).context("no hub")?;
    let mut rounds: [Vec<[f64; 3]>; CASES.len()] = Default::default();
    for round in 1..=args.rounds {
        note!("round {round} of {}", args.rounds);
        for (at, (others, _)) in CASES.iter().enumerate() {
            rounds[at].push(measure(&hub, *others, args)?);
        }
    }
    let mut out = io::stdout();
    writeln!(
        out,
        "| beside {USERS} users | round trips/s | p50 µs | p99 µs |\n|---|--:|--:|--:|"
    )?;
    for ((_, name), rounds) in CASES.iter().zip(&rounds) {
        let [a_second, p50, p99] = [0, 1, 2].map(|column| median(rounds.iter().map(|round| round[column]).collect()));
        writeln!(out, "| {name} | {a_second:.0} | {p50:.0} | {p99:.0} |")?;
    }
    let fits = flood(&hub, args.others)?;
    Ok(ExitCode::from(u8::from(!fits)))
}

/// Measures the round trips per second of the measured users, and the median and 99th percentile in microseconds.
fn measure(hub: &Server, others: Background, args: &Args) -> anyhow::Result<[f64; 3]> {
    let server = hub.start()?;
    let mut generator = Generator::connect(Wire::Hub, server.addr, USERS)?;
    let elsewhere = if others == Background::Elsewhere {
        Some(hub.start()?)
    } else {
        None
    };
    let to = elsewhere.as_ref().map_or(server.addr, |other| other.addr);
    let background_load = if others == Background::Absent {
        None
    } else {
        let pause = Duration::from_secs(1) / args.rate;
        Some(BackgroundLoad::start(
            to,
            args.others,
            others != Background::Unread,
            pause,
        )?)
    };
    let load = Load {
        senders: SENDERS,
        window: 1,
        size: SMALL,
        warm_up: Duration::from_millis(500),
        duration: Duration::from_secs(args.seconds),
    };
    let outcome = generator.run(&load, server.pid())?;
    if let Some(background_load) = background_load {
        background_load.end()?;
    }
    let at = |quantile| outcome.round_trips.value_at_quantile(quantile) as f64 / 1e3;
    Ok([
        outcome.round_trips.len() as f64 / outcome.elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
    ])
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Senders and receivers of long bodies.
struct BackgroundLoad {
    ended: Arc<AtomicBool>,
    sending: JoinHandle<io::Result<()>>,
    receivers: Vec<TcpStream>,
    reading: Vec<JoinHandle<io::Result<u64>>>,
}

impl BackgroundLoad {
    fn start(hub: SocketAddr, count: u32, read: bool, pause: Duration) -> anyhow::Result<Self> {
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        let mut reading = Vec::new();
        for _ in 0..count {
            let (receiver, id) = join(hub)?;
            if read {
                let mut receiver = receiver.try_clone()?;
                reading.push(thread("reads", move || io::copy(&mut receiver, &mut io::sink()))?);
            }
            receivers.push(receiver);
            senders.push((join(hub)?.0, relay_to(id)));
        }
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let sending = thread("sends", move || {
            while !told.load(Ordering::Relaxed) {
                for (sender, frame) in &mut senders {
                    sender.write_all(frame)?;
                    thread::sleep(pause);
                }
            }
            Ok(())
        })?;
        Ok(Self {
            ended,
            sending,
            receivers,
            reading,
        })
    }

    fn end(self) -> anyhow::Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        ensure!(
            joined(self.sending)?.is_ok(),
            "a sender of long bodies was disconnected"
        );
        for receiver in &self.receivers {
            // It may have been dropped as a slow consumer.
            let _ = receiver.shutdown(Shutdown::Both);
        }
        for reading in self.reading {
            ensure!(joined(reading)?? > 0, "no long body arrived");
        }
        Ok(())
    }
}

/// Sends slow consumers more than may wait for them, and prints the memory that costs. Returns whether it is within the bound.
fn flood(hub: &Server, count: u32) -> anyhow::Result<bool> {
    let server = hub.start()?;
    let mut receivers = Vec::new();
    let mut accepted = 0;
    for _ in 0..count {
        let (receiver, id) = join(server.addr)?;
        let (mut sender, _) = join(server.addr)?;
        receivers.push(receiver);
        let frame = relay_to(id);
        for _ in 0..FLOOD {
            sender.write_all(&frame)?;
        }
        for _ in 0..FLOOD {
            accepted += u32::from(receipt(&mut sender)?);
        }
    }
    let all = count * FLOOD;
    ensure!(accepted < all, "the hub accepted every body for slow consumers");
    let peak = process::peak(server.pid())?;
    let bound = u64::from(count) * MAX_BACKLOG + ALLOWANCE;
    let mib = |bytes: u64| bytes / 1024 / 1024;
    writeln!(
        io::stdout(),
        "\n{all} MiB to {count} slow consumers: the hub accepted {accepted} and refused the others in its receipts; its peak memory \
         was {} MiB, the bound is {} MiB",
        mib(peak),
        mib(bound)
    )?;
    Ok(peak <= bound)
}

/// Reads the next receipt. Returns the number of users its body is sent to.
fn receipt(sender: &mut TcpStream) -> io::Result<u8> {
    let mut length = [0; 4];
    sender.read_exact(&mut length)?;
    let mut payload = vec![0; u32::from_be_bytes(length) as usize];
    sender.read_exact(&mut payload)?;
    Ok(payload.get(1).copied().unwrap_or_default())
}

/// Connects a new user. Returns its connection and its id.
fn join(hub: SocketAddr) -> anyhow::Result<(TcpStream, u64)> {
    let mut user = TcpStream::connect(hub)?;
    let mut hello = Vec::new();
    Wire::Hub.hello(0, &mut hello);
    user.write_all(&hello)?;
    let mut answer = [0; IDENTITY_BYTES];
    user.read_exact(&mut answer)?;
    match Wire::Hub.decode(&answer)? {
        Some((_, Incoming::Named(id))) => Ok((user, id)),
        _ => bail!("the hub did not send an id"),
    }
}

/// The frame that relays a body of 1 MiB to this user.
fn relay_to(id: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    Wire::Hub.message(id, &vec![b'.'; BODY], &mut frame);
    frame
}

fn thread<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn joined<T>(thread: JoinHandle<T>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))
}
