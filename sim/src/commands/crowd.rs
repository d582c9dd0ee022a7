//! One run with a great many clients, and what it cost.

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use sim::direct::{Case, DirectReport, Options, run_direct};
use sim::marks::Mark;
use sim::oracle::echo::{Echo, EchoOracle};
use tokio::time::Instant;

use super::one::tell;
use super::{clients, exit_code, progress_bar, say};

/// How often the progress bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run this number of clients
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clients)]
    clients: usize,
    /// Let them arrive within this virtual time
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    over: u64,
    /// Inject every kind of fault into the network and the hosts
    #[arg(long)]
    faults: bool,
    /// Seed all random choices with this number
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `crowd`.
pub(crate) fn run(args: &Args) -> ExitCode {
    let case = Case::crowd(args.seed, Duration::from_secs(args.over), args.faults);
    let echo = Echo::crowd(args.seed, case.hosts, args.clients, case.safety);
    let clock = Arc::new(AtomicU64::new(0));
    let options = Options {
        clock: Some(Arc::clone(&clock)),
        ..Options::default()
    };
    let start = Instant::now();
    let over = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        let bar = scope.spawn(|| {
            let bar = progress_bar(args.over, "virtual seconds");
            while !over.load(Ordering::Relaxed) {
                bar.set_position(Duration::from_nanos(clock.load(Ordering::Relaxed)).as_secs());
                thread::park_timeout(DRAW_EVERY);
            }
            bar.finish_and_clear();
        });
        let outcome = run_direct(&case, &echo, options);
        over.store(true, Ordering::Relaxed);
        bar.thread().unpark();
        outcome
    });
    match &outcome.result {
        Ok(report) => print(args, report, start.elapsed()),
        Err(failure) if args.json => {
            let object = json!({
                "passed": false,
                "clients": args.clients,
                "seed": args.seed,
                "kind": format!("{:?}", failure.kind),
                "rule": failure.rule,
                "at_s": failure.at.as_secs_f64(),
            });
            say!("{object}");
            return ExitCode::from(exit_code(failure.kind));
        }
        Err(_) => {}
    }
    if args.json {
        return ExitCode::SUCCESS;
    }
    tell(&outcome)
}

fn print(args: &Args, report: &DirectReport<EchoOracle>, took: Duration) {
    let oracle = &report.oracle;
    let reforwards = report.marks.count(Mark::Reforward);
    let (cpu, peak) = (cpu_seconds(), peak_memory());
    if args.json {
        let object = json!({
            "passed": true,
            "clients": args.clients,
            "acknowledged": oracle.acknowledged(),
            "given_up": oracle.given_up(),
            "retries": oracle.retries(),
            "reforwards": reforwards,
            "events": report.events,
            "virtual_s": report.zero_at.as_secs_f64(),
            "elapsed_s": took.as_secs_f64(),
            "cpu_s": cpu,
            "peak_rss_mib": peak,
            "trace": format!("{:016x}", report.hash),
        });
        say!("{object}");
        return;
    }
    let or_unknown =
        |figure: Option<f64>, unit| figure.map_or_else(|| "unknown".to_owned(), |figure| format!("{figure:.2} {unit}"));
    say!("clients        {}", args.clients);
    say!("acknowledged   {}", oracle.acknowledged());
    if oracle.given_up() > 0 {
        say!("given up       {}, because their hosts were drained", oracle.given_up());
    }
    say!("retries        {}", oracle.retries());
    say!("re-forwards    {reforwards}");
    say!("virtual time   {:.3} s", report.zero_at.as_secs_f64());
    say!("took           {:.2} s", took.as_secs_f64());
    say!("CPU            {}", or_unknown(cpu, "s"));
    say!("peak memory    {}", or_unknown(peak, "MiB"));
}

/// CPU time of this thread, which is the one that ran; `None` where the operating system does not report it.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos: u64 = stat.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos).as_secs_f64())
}

/// The most memory that was resident at once, in MiB; `None` where the operating system does not report it.
fn peak_memory() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}
