//! A chat as it goes on: what is typed or piped is said, what is heard and delivered is shown.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::chat::{Failure, Notice, Unsaid};
use echosphere_core::wire::ErrorCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::input::Input;
use super::rtt::{RoundTrips, milliseconds};
use super::show;
use super::side::Side;
use crate::output;
use crate::signals::{INTERRUPTED, Signals};

/// Bytes said and not delivered, after which no more is taken from a pipe.
const AHEAD: usize = 4 * 1024 * 1024;
/// The prompt waits so long for the acknowledgement of what was typed, so that both stand in order.
const PROMPT_WAITS: Duration = Duration::from_millis(150);
/// What is not acknowledged when somebody leaves has so long.
const LEAVING: Duration = Duration::from_secs(2);

/// How a chat is shown.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Looks {
    /// Write what is heard to stdout as it is, with nothing between the messages
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Print what happens as one JSON object a line
    #[arg(long, env = "ECHOSPHERE_JSON")]
    json: bool,

    /// At a terminal: Enter begins a new line, and Ctrl-D sends
    #[arg(long)]
    multiline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// At a terminal, above its prompt.
    Prompt,
    Text,
    Raw,
    Json,
}

/// A message that was said and of which nothing is known yet.
struct Said {
    bytes: usize,
    excerpt: String,
}

pub(super) struct Talk {
    side: Side,
    mode: Mode,
    input: Option<Input>,
    print: Box<dyn FnMut(String) -> anyhow::Result<()> + Send>,
    once: bool,
    reconnect: bool,
    connected: bool,
    /// It was said that attempts to connect fail.
    retrying: bool,
    said: BTreeMap<u64, Said>,
    said_bytes: usize,
    last_key: u64,
    /// What the prompt waits for, and until when.
    prompt_due: Option<(u64, Instant)>,
    round_trips: RoundTrips,
    undelivered: u64,
    /// Everything was delivered, and nothing failed.
    well: bool,
    /// The server could not be reached, or was lost for good.
    failed: bool,
    over: bool,
}

impl Talk {
    pub(super) fn new(side: Side, looks: &Looks, once: bool, reconnect: bool) -> anyhow::Result<Self> {
        let mode = match looks {
            Looks { raw: true, .. } => Mode::Raw,
            Looks { json: true, .. } => Mode::Json,
            _ if io::stdin().is_terminal() && io::stdout().is_terminal() => Mode::Prompt,
            _ => Mode::Text,
        };
        let print = |line| output::bytes(format!("{line}\n").as_bytes());
        let mut talk = Self {
            side,
            mode,
            input: None,
            print: Box::new(print),
            once,
            reconnect,
            connected: false,
            retrying: false,
            said: BTreeMap::new(),
            said_bytes: 0,
            last_key: 0,
            prompt_due: None,
            round_trips: RoundTrips::new()?,
            undelivered: 0,
            well: true,
            failed: false,
            over: false,
        };
        talk.open_input(looks.multiline)?;
        Ok(talk)
    }

    fn open_input(&mut self, multiline: bool) -> anyhow::Result<()> {
        if self.mode != Mode::Prompt {
            self.input = Some(Input::pipe()?);
            return Ok(());
        }
        let (input, print) = Input::prompt(multiline)?;
        self.print = Box::new(print);
        let sends = if multiline {
            "Ctrl-D sends, Ctrl-C leaves"
        } else {
            "Ctrl-D leaves"
        };
        (self.print)(format!(
            "✓ marks what was delivered, with its round trip; the prompt shows min/mean/p99. {sends}."
        ))?;
        input.ask(String::new());
        self.input = Some(input);
        Ok(())
    }

    /// Talks until it is over.
    pub(super) async fn run(mut self, mut signals: Signals) -> anyhow::Result<ExitCode> {
        let mut interrupted = false;
        while !self.over {
            let may_read = self.mode == Mode::Prompt || (self.connected && self.said_bytes < AHEAD);
            let message = async {
                match &mut self.input {
                    Some(input) if may_read => input.next().await,
                    _ => std::future::pending().await,
                }
            };
            let prompt_due = async {
                match self.prompt_due {
                    Some((_, due)) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = signals.next() => {
                    if interrupted {
                        return Ok(ExitCode::from(INTERRUPTED));
                    }
                    interrupted = true;
                    self.leave(LEAVING).await?;
                }
                notice = self.side.next() => match notice {
                    Some(notice) => self.take(notice).await?,
                    None => break,
                },
                () = prompt_due => self.ask_again(),
                message = message => self.typed(message).await?,
            }
        }
        self.finish(interrupted).await
    }

    async fn finish(mut self, interrupted: bool) -> anyhow::Result<ExitCode> {
        let server = !self.side.is_client();
        if !self.failed {
            let _ = self.side.leave(LEAVING).await;
            while let Some(notice) = self.side.next().await {
                self.take(notice).await?;
            }
        }
        if let Some(summary) = self.round_trips.summary().filter(|_| self.mode != Mode::Json) {
            let count = self.round_trips.count();
            eprintln!("{count} delivered; round trips min/mean/p99: {summary}");
        }
        if self.undelivered > 0 && self.mode != Mode::Json {
            eprintln!("✗ {} not acknowledged", self.undelivered);
        }
        let zero = if self.failed {
            self.side.abandon();
            false
        } else {
            self.side.finish().await?
        };
        Ok(match (interrupted && !server, self.well && zero) {
            (true, _) => ExitCode::from(INTERRUPTED),
            (false, well) => ExitCode::from(u8::from(!well)),
        })
    }

    /// Ends this side, once what it said is delivered, or after this time.
    async fn leave(&mut self, within: Duration) -> anyhow::Result<()> {
        self.input = None;
        // One that has ended already needs no asking.
        let _ = self.side.leave(within).await;
        Ok(())
    }

    /// Says what was typed or piped; `None` is the end of it.
    async fn typed(&mut self, message: Option<Bytes>) -> anyhow::Result<()> {
        let Some(body) = message else {
            self.input = None;
            if self.mode == Mode::Prompt {
                self.leave(LEAVING).await?;
            } else {
                // Who pipes has said all, and leaves once it is delivered, however long that takes.
                self.side.leave_when_delivered().await?;
            }
            return Ok(());
        };
        if body.is_empty() {
            self.ask_again();
            return Ok(());
        }
        self.last_key += 1;
        let key = self.last_key;
        self.said_bytes += body.len();
        let said = Said {
            bytes: body.len(),
            excerpt: show::excerpt(&body),
        };
        self.said.insert(key, said);
        self.prompt_due = Some((key, Instant::now() + PROMPT_WAITS));
        Ok(self.side.say(key, body).await?)
    }

    /// Shows the prompt again, with the round trips so far.
    fn ask_again(&mut self) {
        self.prompt_due = None;
        let Some(input) = &self.input else {
            return;
        };
        input.ask(self.round_trips.summary().unwrap_or_default());
    }

    async fn take(&mut self, notice: Notice) -> anyhow::Result<()> {
        match notice {
            Notice::Heard { id, body } => {
                self.heard(id, &body)?;
                // The driver may have ended.
                let _ = self.side.read(body.len()).await;
            }
            Notice::Delivered { key, id, round_trip } => self.delivered(key, id, round_trip)?,
            Notice::Undelivered { key, sent } => self.undelivered(key, sent)?,
            Notice::Refused { key, why } => self.refused(key, why)?,
            Notice::Ended { failure } => self.ended(failure).await?,
            Notice::Connected { resumed } => {
                self.connected = true;
                self.retrying = false;
                let line = if resumed {
                    "● connected again"
                } else {
                    "● connected"
                };
                self.tell(line.to_owned(), || json!({ "event": "connected", "resumed": resumed }))?;
            }
            Notice::Lost(reason) => {
                let why = show::closed(reason);
                let waiting = match self.said.len() {
                    0 => String::new(),
                    count => format!("; {count} not delivered yet"),
                };
                let line = format!("○ the connection was lost: {why}{waiting}");
                self.tell(line, || json!({ "event": "lost", "why": why, "waiting": waiting }))?;
            }
            // Said once, until it has worked.
            Notice::Retrying { .. } if self.retrying => {}
            Notice::Retrying { why, .. } => {
                self.retrying = true;
                let why = show::failure(&why);
                let line = format!("○ {why}; trying again");
                self.tell(line, || json!({ "event": "retrying", "why": why }))?;
            }
            Notice::TurnedAway => {
                let line = "○ somebody else knocked, and was told that you are busy";
                self.tell(line.to_owned(), || json!({ "event": "turned_away" }))?;
            }
        }
        Ok(())
    }

    fn heard(&mut self, id: u64, body: &Bytes) -> anyhow::Result<()> {
        match self.mode {
            Mode::Prompt => (self.print)(format!("‹ {}", show::for_terminal(body))),
            Mode::Text => (self.print)(show::printable(body)),
            Mode::Json => output::json(&show::heard_json(id, body)),
            Mode::Raw => output::bytes(body),
        }
    }

    /// A message of which there is news now: its excerpt, if others wait that it could be taken for.
    fn settle(&mut self, key: u64) -> String {
        let alone = self.said.len() == 1;
        let Some(said) = self.said.remove(&key) else {
            return String::new();
        };
        self.said_bytes -= said.bytes;
        if alone {
            String::new()
        } else {
            format!(" · {}", said.excerpt)
        }
    }

    /// The prompt comes back once there is news of what was typed last.
    fn prompt_after(&mut self, key: u64) {
        if self.prompt_due.is_some_and(|(awaited, _)| awaited <= key) {
            self.ask_again();
        }
    }

    fn delivered(&mut self, key: u64, id: u64, round_trip: Option<Duration>) -> anyhow::Result<()> {
        if let Some(round_trip) = round_trip {
            self.round_trips.note(round_trip);
        }
        let which = self.settle(key);
        match self.mode {
            Mode::Prompt => {
                let took = round_trip.map_or_else(|| "before the connection was lost".to_owned(), milliseconds);
                (self.print)(format!("✓ {took}{which}"))?;
            }
            Mode::Json => {
                let rtt = show::micros(round_trip);
                output::json(&json!({ "event": "delivered", "id": id, "rtt_us": rtt }))?;
            }
            Mode::Text | Mode::Raw => {}
        }
        self.prompt_after(key);
        Ok(())
    }

    fn undelivered(&mut self, key: u64, sent: bool) -> anyhow::Result<()> {
        self.well = false;
        self.undelivered += 1;
        let excerpt = self.said.get(&key).map(|said| said.excerpt.clone()).unwrap_or_default();
        self.settle(key);
        let how = if sent {
            "not acknowledged, so it may not have arrived"
        } else {
            "not delivered"
        };
        match self.mode {
            Mode::Prompt => (self.print)(format!("✗ {how}: {excerpt}"))?,
            Mode::Json => output::json(&json!({ "event": "undelivered", "sent": sent, "excerpt": excerpt }))?,
            // There may be very many: they are counted.
            Mode::Text | Mode::Raw => {}
        }
        self.prompt_after(key);
        Ok(())
    }

    fn refused(&mut self, key: u64, why: Unsaid) -> anyhow::Result<()> {
        self.well &= self.mode == Mode::Prompt;
        self.settle(key);
        let why = show::unsaid(why);
        self.tell(
            format!("✗ not sent: {why}"),
            || json!({ "event": "refused", "why": why }),
        )?;
        self.prompt_after(key);
        Ok(())
    }

    async fn ended(&mut self, failure: Option<Failure>) -> anyhow::Result<()> {
        let connected = std::mem::take(&mut self.connected);
        let why = failure.as_ref().map(show::failure);
        let by_choice = matches!(failure, None | Some(Failure::ShuttingDown));
        let line = match &why {
            Some(why) if !by_choice => format!("○ {why}"),
            _ if failure.is_none() && !self.side.is_client() => "○ the other side has left".to_owned(),
            _ => "○ the chat has ended".to_owned(),
        };
        self.tell(line, || json!({ "event": "ended", "why": why }))?;
        if !self.side.is_client() {
            self.well &= by_choice || !self.once;
            self.over = self.once;
            return Ok(());
        }
        let again = connected && self.reconnect && self.mode == Mode::Prompt && self.input.is_some();
        if again && may_begin_again(failure.as_ref()) {
            return Ok(self.side.connect().await?);
        }
        self.well &= by_choice;
        self.failed = !by_choice;
        self.over = true;
        Ok(())
    }

    /// Says what is not a message: above the prompt, on stderr, or as JSON.
    fn tell(&mut self, line: String, event: impl FnOnce() -> Value) -> anyhow::Result<()> {
        match self.mode {
            Mode::Prompt => (self.print)(line),
            Mode::Json => output::json(&event()),
            Mode::Text | Mode::Raw => {
                eprintln!("{line}");
                Ok(())
            }
        }
    }
}

/// Whether the server has forgotten the session, or does so: another one can be begun.
const fn may_begin_again(failure: Option<&Failure>) -> bool {
    matches!(
        failure,
        Some(Failure::Rejected(
            ErrorCode::UnknownSession | ErrorCode::ShuttingDown,
            _
        ))
    )
}
