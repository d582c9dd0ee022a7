//! A chat: sends what is typed or piped, and prints what is received and acknowledged.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::chat::{ClientConfig, Notice, SendError};
use echosphere_core::failure::Failure;
use echosphere_core::wire::ErrorCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::driver::ChatDriver;
use super::format;
use super::input::{Input, InputEvent};
use crate::latency::{Latencies, micros, milliseconds};
use crate::prompt::Prompt;
use crate::retry::FailedAttempts;
use crate::signals::{INTERRUPTED, Signals, end_at_once};
use crate::stderr::{complain, status};
use crate::values::yes_or_no;
use crate::{escape, output, terminal};

/// Nothing more is read from a pipe while this many bytes are not acknowledged.
const AHEAD: usize = 4 * 1024 * 1024;
/// The prompt waits this long for the acknowledgement of the last message, which then stands above it.
const PROMPT_WAITS: Duration = Duration::from_millis(150);
/// The prompt shows round trips on terminals with at least this many columns.
const STATUS_FROM: usize = 50;
/// Time for missing acknowledgements after the user leaves.
const LEAVING: Duration = Duration::from_secs(2);

/// Options of a chat's output.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Write received messages to stdout unchanged, without separators
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,

    /// Print each event as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    pub(crate) json: bool,

    /// At a terminal, start a new line with Enter and send with Ctrl-D
    #[arg(long)]
    pub(crate) multiline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Lines above a prompt at a terminal.
    Prompt,
    Text,
    Raw,
    Json,
}

/// A sent message without its acknowledgement.
struct Said {
    bytes: usize,
    excerpt: String,
}

pub(super) struct Conversation {
    driver: ChatDriver,
    mode: Mode,
    input: Input,
    once: bool,
    reconnect: bool,
    connected: bool,
    failed_attempts: FailedAttempts,
    said: BTreeMap<u64, Said>,
    said_bytes: usize,
    last_key: u64,
    /// The key of the message that the prompt waits for, and its deadline.
    prompt_due: Option<(u64, Instant)>,
    round_trips: Latencies,
    undelivered: u64,
    /// Whether everything was delivered and nothing failed.
    all_succeeded: bool,
    /// Whether the session has failed.
    failed: bool,
    over: bool,
}

impl Conversation {
    /// The conversation of a server; with `once`, it ends with its first client.
    pub(super) fn of_server(driver: ChatDriver, args: &OutputArgs, once: bool) -> anyhow::Result<Self> {
        Self::new(driver, args, once, false, Duration::ZERO)
    }

    /// The conversation of a client. With `reconnect`, it begins another session if the server has forgotten this one.
    pub(super) fn of_client(driver: ChatDriver, args: &OutputArgs, config: &ClientConfig) -> anyhow::Result<Self> {
        Self::new(driver, args, false, config.reconnect, config.connect_timeout)
    }

    fn new(
        driver: ChatDriver,
        args: &OutputArgs,
        once: bool,
        reconnect: bool,
        connect_timeout: Duration,
    ) -> anyhow::Result<Self> {
        let mode = match args {
            OutputArgs { raw: true, .. } => Mode::Raw,
            OutputArgs { json: true, .. } => Mode::Json,
            _ if terminal::is_usable() => Mode::Prompt,
            _ => Mode::Text,
        };
        let mut conversation = Self {
            driver,
            mode,
            input: Input::None,
            once,
            reconnect,
            connected: false,
            failed_attempts: FailedAttempts::new(connect_timeout),
            said: BTreeMap::new(),
            said_bytes: 0,
            last_key: 0,
            prompt_due: None,
            round_trips: Latencies::new()?,
            undelivered: 0,
            all_succeeded: true,
            failed: false,
            over: false,
        };
        conversation.open_input(args.multiline)?;
        Ok(conversation)
    }

    fn open_input(&mut self, multiline: bool) -> anyhow::Result<()> {
        if self.mode != Mode::Prompt {
            self.input = Input::pipe()?;
            return Ok(());
        }
        let keys = if multiline {
            "Enter starts a new line, Ctrl-D sends, and Ctrl-C leaves."
        } else {
            "Enter sends, Alt-Enter starts a new line, and Ctrl-D leaves."
        };
        output::line(&format!(
            "{keys} Pasted lines are one message. ✓ marks a delivered message and its round trip; the prompt shows \
             min/mean/p99."
        ))?;
        self.input = Input::Prompt(Box::new(Prompt::open(multiline)?));
        self.ask_again();
        Ok(())
    }

    /// Runs the chat to its end.
    pub(super) async fn run(mut self, mut signals: Signals) -> anyhow::Result<ExitCode> {
        let server = !self.driver.is_client();
        let outcome = self.converse(&mut signals).await;
        self.input = Input::None;
        let interrupted = match outcome {
            Ok(interrupted) => interrupted,
            Err(error) => {
                // A message that cannot be printed stays unacknowledged, and the peer must not wait for it.
                self.driver.abandon().await;
                return Err(error);
            }
        };
        let zero = if self.failed {
            self.driver.abort();
            false
        } else {
            self.driver.finish().await?
        };
        Ok(match (interrupted && !server, self.all_succeeded && zero) {
            (true, _) => ExitCode::from(INTERRUPTED),
            (false, well) => ExitCode::from(u8::from(!well)),
        })
    }

    /// Runs the chat. Returns whether a signal ended it.
    async fn converse(&mut self, signals: &mut Signals) -> anyhow::Result<bool> {
        let mut interrupted = false;
        while !self.over {
            let may_read = self.mode == Mode::Prompt || (self.connected && self.said_bytes < AHEAD);
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
                        end_at_once(INTERRUPTED);
                    }
                    interrupted = true;
                    self.leave(LEAVING).await?;
                }
                notice = self.driver.next() => match notice {
                    Some(notice) => self.take(notice).await?,
                    None => break,
                },
                () = prompt_due => self.ask_again(),
                event = self.input.next(), if may_read => self.input(event).await?,
            }
        }
        self.finish().await?;
        Ok(interrupted)
    }

    /// Handles the last notices, and prints the summary.
    async fn finish(&mut self) -> anyhow::Result<()> {
        self.input = Input::None;
        if !self.failed {
            let _ = self.driver.drain(LEAVING).await;
            while let Some(notice) = self.driver.next().await {
                self.take(notice).await?;
            }
        }
        if let Some(summary) = self.round_trips.summary().filter(|_| self.mode != Mode::Json) {
            let count = self.round_trips.count();
            status!("{count} delivered; round trips min/mean/p99: {summary}");
        }
        if self.undelivered > 0 && self.mode != Mode::Json {
            complain!("✗ {} not acknowledged", self.undelivered);
        }
        Ok(())
    }

    /// Ends the chat once every message is acknowledged, or after this time.
    async fn leave(&mut self, within: Duration) -> anyhow::Result<()> {
        self.input = Input::None;
        // A driver that has ended needs nothing.
        let _ = self.driver.drain(within).await;
        Ok(())
    }

    /// Sends what was typed or piped.
    async fn input(&mut self, event: InputEvent) -> anyhow::Result<()> {
        let body = match event {
            InputEvent::Message(body) => body,
            InputEvent::End => return self.end().await,
            InputEvent::Failed(error) => {
                let from = if self.mode == Mode::Prompt {
                    "this terminal"
                } else {
                    "stdin"
                };
                let why = format!("cannot read {from}: {error}");
                self.all_succeeded = false;
                self.tell(format!("error: {why}"), || json!({ "event": "error", "why": why }))?;
                return self.end().await;
            }
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
            excerpt: format::excerpt(&body),
        };
        self.said.insert(key, said);
        self.prompt_due = Some((key, Instant::now() + PROMPT_WAITS));
        Ok(self.driver.say(key, body).await?)
    }

    /// Handles the end of the input.
    async fn end(&mut self) -> anyhow::Result<()> {
        if self.mode == Mode::Prompt {
            return self.leave(LEAVING).await;
        }
        self.input = Input::None;
        // A piped input is delivered completely, however long that takes.
        Ok(self.driver.leave_when_delivered().await?)
    }

    /// Shows the prompt, with the round trips so far.
    fn ask_again(&mut self) {
        self.prompt_due = None;
        let room = terminal::size(std::io::stdout()).is_some_and(|(columns, _)| columns >= STATUS_FROM);
        let label = match self.round_trips.summary().filter(|_| room) {
            Some(summary) => format!("{summary} > "),
            None => "> ".to_owned(),
        };
        self.input.ask(label);
    }

    async fn take(&mut self, notice: Notice) -> anyhow::Result<()> {
        match notice {
            Notice::Received { session, id, body } => {
                self.heard(id, &body)?;
                // The driver may have ended already.
                let _ = self.driver.read(session, id).await;
            }
            Notice::Acknowledged { key, id, round_trip } => self.delivered(key, id, round_trip)?,
            Notice::Unacknowledged { key, sent } => self.undelivered(key, sent)?,
            Notice::Refused { key, why } => self.refused(key, why)?,
            Notice::Ended { failure } => self.ended(failure).await?,
            Notice::Connected { resumed } => {
                self.connected = true;
                if let Some(line) = self.failed_attempts.finish() {
                    self.remark(&format!("○ {line}"))?;
                }
                let line = if resumed {
                    "● connected again"
                } else {
                    "● connected"
                };
                self.tell(line.to_owned(), || json!({ "event": "connected", "resumed": resumed }))?;
            }
            Notice::Lost(reason) => {
                let why = reason.to_string();
                let waiting = self.said.len();
                let more = match waiting {
                    0 => String::new(),
                    count => format!("; {count} not delivered yet"),
                };
                let line = format!("○ the connection was lost: {why}{more}");
                self.tell(line, || json!({ "event": "lost", "why": why, "waiting": waiting }))?;
            }
            Notice::Retrying { failure: why, after } => {
                let why = self.driver.remote().explain(&why);
                if self.mode == Mode::Json {
                    let after = after.as_millis() as u64;
                    output::json(&json!({ "event": "retrying", "why": why, "after_ms": after }))?;
                } else if let Some(line) = self.failed_attempts.note(why) {
                    self.remark(&format!("○ {line}"))?;
                }
            }
            Notice::PeerRefused => {
                let line = "○ another client connected and was refused: this chat is busy";
                self.tell(line.to_owned(), || json!({ "event": "turned_away" }))?;
            }
        }
        Ok(())
    }

    fn heard(&mut self, id: u64, body: &Bytes) -> anyhow::Result<()> {
        match self.mode {
            Mode::Prompt => output::line(&format!("‹ {}", format::for_terminal(body))),
            Mode::Text => output::line(&escape::lines(body)),
            Mode::Json => {
                let event = json!({ "event": "heard", "id": output::exactly(id) });
                output::json(&output::with_body(event, body))
            }
            Mode::Raw => output::bytes(body),
        }
    }

    /// Removes a message whose outcome is known. Returns its excerpt if other messages wait.
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

    /// Shows the prompt again once the outcome of the last message is known.
    fn prompt_after(&mut self, key: u64) {
        if self.prompt_due.is_some_and(|(awaited, _)| awaited <= key) {
            self.ask_again();
        }
    }

    fn delivered(&mut self, key: u64, id: u64, round_trip: Option<Duration>) -> anyhow::Result<()> {
        if let Some(round_trip) = round_trip {
            self.round_trips.record(round_trip);
        }
        let which = self.settle(key);
        match self.mode {
            Mode::Prompt => {
                let took = round_trip.map_or_else(|| "before the connection was lost".to_owned(), milliseconds);
                output::line(&format!("✓ {took}{which}"))?;
            }
            Mode::Json => {
                let (id, round_trip) = (output::exactly(id), round_trip.map(micros));
                output::json(&json!({ "event": "delivered", "id": id, "round_trip_us": round_trip }))?;
            }
            Mode::Text | Mode::Raw => {}
        }
        self.prompt_after(key);
        Ok(())
    }

    fn undelivered(&mut self, key: u64, sent: bool) -> anyhow::Result<()> {
        self.all_succeeded = false;
        self.undelivered += 1;
        let said = self.said.get(&key);
        let (excerpt, bytes) = said.map(|said| (said.excerpt.clone(), said.bytes)).unwrap_or_default();
        self.settle(key);
        let how = if sent {
            "not acknowledged: it may or may not have arrived"
        } else {
            "not delivered"
        };
        match self.mode {
            Mode::Prompt => output::line(&format!("✗ {how}: {excerpt}"))?,
            Mode::Json => output::json(&json!({ "event": "undelivered", "sent": sent, "bytes": bytes }))?,
            // There can be many: the summary counts them.
            Mode::Text | Mode::Raw => {}
        }
        self.prompt_after(key);
        Ok(())
    }

    fn refused(&mut self, key: u64, why: SendError) -> anyhow::Result<()> {
        self.all_succeeded &= self.mode == Mode::Prompt;
        self.settle(key);
        let why = format::unsaid(why);
        self.tell(
            format!("✗ not sent: {why}"),
            || json!({ "event": "refused", "why": why }),
        )?;
        self.prompt_after(key);
        Ok(())
    }

    async fn ended(&mut self, failure: Option<Failure>) -> anyhow::Result<()> {
        let connected = std::mem::take(&mut self.connected);
        let why = failure.as_ref().map(|failure| self.driver.remote().explain(failure));
        let by_choice = matches!(failure, None | Some(Failure::ShuttingDown));
        let line = match &why {
            Some(why) if !by_choice => format!("○ {why}"),
            _ if failure.is_none() && !self.driver.is_client() => "○ the other side has left".to_owned(),
            _ => "○ the chat has ended".to_owned(),
        };
        self.tell(line, || json!({ "event": "ended", "why": why }))?;
        if !self.driver.is_client() {
            self.all_succeeded &= by_choice;
            self.over = self.once;
            return Ok(());
        }
        let again = connected && self.reconnect && self.mode == Mode::Prompt && !self.input.is_over();
        if again && may_begin_again(failure.as_ref()) {
            return Ok(self.driver.connect().await?);
        }
        self.all_succeeded &= by_choice;
        self.failed = !by_choice;
        self.over = true;
        Ok(())
    }

    /// Reports what is not a message: as a JSON event, or as a line above the prompt or on stderr.
    fn tell(&self, line: String, event: impl FnOnce() -> Value) -> anyhow::Result<()> {
        if self.mode == Mode::Json {
            return output::json(&event());
        }
        self.remark(&line)
    }

    /// Prints a line above the prompt or on stderr; with JSON output, nothing.
    fn remark(&self, line: &str) -> anyhow::Result<()> {
        match self.mode {
            Mode::Prompt => output::line(line)?,
            Mode::Json => {}
            Mode::Text | Mode::Raw => complain!("{line}"),
        }
        Ok(())
    }
}

/// Whether the server has forgotten the session or is about to, so that a new one can begin.
const fn may_begin_again(failure: Option<&Failure>) -> bool {
    matches!(
        failure,
        Some(Failure::Rejected(
            ErrorCode::UnknownSession | ErrorCode::ShuttingDown,
            _
        ))
    )
}
