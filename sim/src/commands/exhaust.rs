//! Every schedule of a few clients.

use std::process::ExitCode;

use indicatif::HumanCount;
use serde_json::json;
use sim::FailureKind;
use sim::exhaust::{Explored, FailedSchedule, Scope, explore, replay};
use tokio::time::Instant;

use super::{counter, exit_code, say, wrong_use};

/// How many runs go by until the progress is shown again.
const SHOW_EVERY: u64 = 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run this number of clients, each with one message
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=8))]
    clients: u16,
    /// Try every choice in this number of first steps; later steps have a fixed order [default: 40 for two clients, which
    /// is every step; 12 for three; 8 for more]
    #[arg(long, value_name = "STEPS")]
    depth: Option<usize>,
    /// Allow this number of resets, crashes and deadlines that expire early in one schedule
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    disturbances: u32,
    /// Send the same X from all clients
    #[arg(long)]
    same_x: bool,
    /// Replay one schedule, given by its decisions, and print its steps
    #[arg(long, value_name = "DECISIONS", value_delimiter = ',', num_args = 0.., conflicts_with = "json")]
    replay: Option<Vec<usize>>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    fn depth(&self) -> usize {
        self.depth.unwrap_or(match self.clients {
            ..=2 => 40,
            3 => 12,
            _ => 8,
        })
    }
}

/// Runs `exhaust`.
pub(crate) fn run(args: &Args) -> ExitCode {
    let scope = Scope {
        disturbances: args.disturbances,
        same_x: args.same_x,
        ..Scope::new(args.clients.into(), args.depth())
    };
    if let Some(decisions) = &args.replay {
        return again(args, &scope, decisions);
    }
    let start = Instant::now();
    let bar = counter("runs");
    let result = explore(&scope, |explored| {
        if explored.runs.is_multiple_of(SHOW_EVERY) {
            bar.set_position(explored.runs);
            bar.set_message(format!(", {} states", HumanCount(explored.states)));
        }
    });
    bar.finish_and_clear();
    match result {
        Ok(explored) => {
            tell(args, &explored, start.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(broken) => fail(args, &scope, &broken),
    }
}

fn tell(args: &Args, explored: &Explored, took: f64) {
    if args.json {
        let report = json!({
            "passed": true,
            "clients": args.clients,
            "depth": args.depth(),
            "disturbances": args.disturbances,
            "same_x": args.same_x,
            // More than JSON's numbers can hold.
            "schedules": explored.schedules.to_string(),
            "runs": explored.runs,
            "states": explored.states,
            "steps": explored.steps,
            "longest": explored.longest,
            "elapsed_s": took,
        });
        say!("{report}");
        return;
    }
    say!("schedules      {}, all to depth {}", explored.schedules, args.depth());
    say!("runs           {}", explored.runs);
    say!("states         {}", explored.states);
    say!(
        "steps          {}, the longest run {}",
        explored.steps,
        explored.longest
    );
    say!("took           {took:.2} s");
    say!("PASSED");
}

fn again(args: &Args, scope: &Scope, decisions: &[usize]) -> ExitCode {
    match replay(scope, decisions) {
        Ok(Ok(steps)) => {
            say!("{}\nPASSED", steps.join("\n"));
            ExitCode::SUCCESS
        }
        Ok(Err(broken)) => fail(args, scope, &broken),
        Err(wrong) => wrong_use(&wrong),
    }
}

fn fail(args: &Args, scope: &Scope, broken: &FailedSchedule) -> ExitCode {
    let decisions: Vec<String> = broken.decisions.iter().map(ToString::to_string).collect();
    let decisions = decisions.join(",");
    if args.json {
        let report = json!({ "passed": false, "rule": broken.rule, "decisions": broken.decisions });
        say!("{report}");
    } else {
        let again = replay(scope, &broken.decisions).unwrap_or_else(|wrong| Ok(vec![wrong]));
        let steps = again.unwrap_or_else(|broken| broken.steps);
        let same_x = if args.same_x { " --same-x" } else { "" };
        say!("{}\n\n{}\n\nReplay it with:\n", steps.join("\n"), broken.rule);
        say!(
            "cargo run --release -p sim -- exhaust --clients {} --depth {} --disturbances {}{same_x} --replay {decisions}\n\nFAILED",
            args.clients,
            args.depth(),
            args.disturbances,
        );
    }
    ExitCode::from(exit_code(FailureKind::of(&broken.rule)))
}
