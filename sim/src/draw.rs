//! A picture of a run: one page of HTML that needs no network, with a lane for each host, and a log for
//! ShiViz.
//!
//! The page is `draw/page.html` with its style, its scripts and the run as JSON. A message can hold any
//! bytes; the page treats them as text only, which cannot close the element that contains it.
//!
//! The log has one line per event, with the host's vector clock.
//! <https://bestchai.bitbucket.io/shiviz/> reads it with the regular expression [`SHIVIZ`], which is
//! also in its first line.

mod arrows;
mod bands;
mod clocks;

use serde_json::{Value, json};

use self::arrows::Arrow;
use crate::direct::history::{Described, History, Kind, Step};
use crate::direct::{Case, Options, Outcome, run_with_history};
use crate::hosts::{CLIENTS, SERVER};
use crate::oracle::Workload;
use crate::words::Whose;

/// The regular expression with which ShiViz reads the log.
pub const SHIVIZ: &str = r"^(?<host>\S+) (?<clock>\{[^}]*\}) (?<event>.*)$";

const PAGE: &str = include_str!("draw/page.html");
const STYLE: &str = include_str!("draw/page.css");
const SCRIPTS: [&str; 4] = [
    include_str!("draw/run.js"),
    include_str!("draw/panel.js"),
    include_str!("draw/page.js"),
    include_str!("draw/controls.js"),
];

/// A run that can be drawn.
#[derive(Debug)]
pub struct Drawing {
    title: String,
    case: Case,
    history: History,
    arrows: Vec<Arrow>,
    verdict: Value,
}

impl Drawing {
    /// Runs `case` and records everything. `title` names the run.
    pub fn of<W: Workload>(title: &str, case: &Case, workload: &W, options: Options) -> (Self, Outcome<W::Oracle>) {
        let (outcome, history) = run_with_history(case, workload, options);
        let verdict = match &outcome.result {
            Ok(report) => json!({"at": report.zero_at.as_micros(), "hash": format!("{:016x}", report.hash)}),
            Err(failure) => json!({
                "at": failure.at.as_micros(),
                "hash": format!("{:016x}", failure.hash),
                "kind": format!("{:?}", failure.kind),
                "rule": failure.rule,
                // Without one it is the end of the run that is wrong.
                "step": history.broken,
            }),
        };
        let drawing = Self {
            title: format!("{}, {title}", W::NAME),
            case: case.clone(),
            arrows: arrows::arrows(case, &history),
            history,
            verdict,
        };
        (drawing, outcome)
    }

    /// How many events and faults it shows.
    #[must_use]
    pub const fn steps(&self) -> usize {
        self.history.steps.len()
    }

    /// How many of the messages, openings and closings it shows never arrived.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.arrows
            .iter()
            .filter(|arrow| arrow.to.is_none() && !arrow.under_way)
            .count()
    }

    /// The page.
    #[must_use]
    pub fn page(&self) -> String {
        let (before, after) = PAGE.split_once("{{data}}").unwrap_or((PAGE, ""));
        let before = before.replace("{{style}}", STYLE);
        let after = after.replace("{{scripts}}", &SCRIPTS.join("\n"));
        [before, inert(&self.data()), after].concat()
    }

    /// The log for ShiViz.
    #[must_use]
    pub fn shiviz(&self) -> String {
        let words = self.history.steps.iter();
        let words = words.map(|step| line(step, self.whose(step.who, step.life)));
        let log = clocks::log(&self.lanes(), &self.history, &self.arrows, words);
        format!(
            "# {}; the regular expression for ShiViz: {SHIVIZ}\n{log}",
            one_line(&self.title)
        )
    }

    fn lanes(&self) -> Vec<&'static str> {
        let clients = CLIENTS.into_iter().take(self.case.hosts);
        clients.chain([SERVER]).collect()
    }

    /// Whose connections a step names: those of the host in this lane. A step of no host names none.
    fn whose(&self, lane: Option<usize>, life: u32) -> Whose {
        let host = lane.and_then(|lane| self.lanes().get(lane).copied()).unwrap_or(SERVER);
        Whose { host, life }
    }

    fn data(&self) -> Value {
        let steps = self.history.steps.iter().map(|step| {
            let whose = self.whose(step.who, step.life);
            json!({
                "at": step.at.as_micros(),
                "who": step.who,
                "life": step.life,
                "event": told(&step.event, whose),
                "actions": step.actions.iter().map(|action| told(action, whose)).collect::<Vec<_>>(),
                "learnt": step.learnt,
                "forgotten": step.forgotten,
                "fault": step.fault.is_some(),
            })
        });
        let arrows = self.arrows.iter().map(Arrow::to_json);
        let ends = self.history.ends.iter();
        json!({
            "title": self.title,
            "seed": self.case.seed,
            "lanes": self.lanes(),
            "verdict": self.verdict,
            "steps": steps.collect::<Vec<_>>(),
            "arrows": arrows.collect::<Vec<_>>(),
            "ends": ends
                .map(|end| json!([end.conn, end.who, self.whose(Some(end.who), end.life).name(end.id)]))
                .collect::<Vec<_>>(),
            "faults": bands::bands(&self.case, &self.history),
            "weather": bands::weather(&self.case),
        })
    }
}

fn told(told: &Described, whose: Whose) -> Value {
    json!([colour(told), words(told, whose), told.conn.map(|id| whose.name(id))])
}

/// Which colour a drawing gives it: the first word of the message, or the kind of event.
fn colour(told: &Described) -> &str {
    match told.kind {
        Kind::Received | Kind::Sent => told.text.split(' ').next().unwrap_or_default(),
        Kind::Opened | Kind::Dial => "open",
        Kind::Closed | Kind::PeerFinished | Kind::Close | Kind::Finish => "close",
        Kind::DialFailed | Kind::Abandon | Kind::Drain => "close",
        Kind::Command | Kind::Notice | Kind::Deadline => "local",
        Kind::Note => "note",
    }
}

fn words(told: &Described, whose: Whose) -> String {
    let conn = told.conn.map(|id| whose.name(id)).unwrap_or_default();
    let dial = told.dial.map(|token| token.0.to_string()).unwrap_or_default();
    let text = &told.text;
    match told.kind {
        Kind::Opened if told.dial.is_some() => format!("{conn} opened by dial {dial}"),
        Kind::Opened => format!("{conn} opened"),
        Kind::Received => format!("from {conn} {text}"),
        Kind::Sent => format!("to {conn} {text}"),
        Kind::Closed => format!("{conn} ended: {text}"),
        Kind::PeerFinished => format!("{conn}: the peer has finished sending"),
        Kind::Close => format!("close {conn}: {text}"),
        Kind::Finish => format!("finish {conn}"),
        Kind::Dial => format!("dial {dial}"),
        Kind::DialFailed => format!("dial {dial} failed: {text}"),
        Kind::Abandon => format!("give up dial {dial}"),
        Kind::Command | Kind::Notice | Kind::Note => text.clone(),
        Kind::Deadline => "timer".to_owned(),
        Kind::Drain => "drain".to_owned(),
    }
}

fn line(step: &Step, whose: Whose) -> String {
    let actions = step.actions.iter().map(|action| format!(" → {}", words(action, whose)));
    one_line(&(words(&step.event, whose) + &actions.collect::<String>()))
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// JSON that means the same and has nothing in it that HTML or a script would notice.
fn inert(data: &Value) -> String {
    let mut text = String::new();
    for c in data.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => text.push(c),
        }
    }
    text
}
