use std::io;
use std::process::ExitCode;

use anyhow::anyhow;
use echosphere_core::hub::{Notice, Reply, Request};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::commands::{Commands, HELP, LONGEST, Parsed};
use super::format;
use super::user::{HubArgs, User};
use crate::prompt::{Prompt, Typed};
use crate::signals::{INTERRUPTED, Signals};
use crate::stderr::complain;
use crate::values::yes_or_no;
use crate::{output, stdin, terminal};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere hub connect
  printf 'identity\\nrelay 2,3 hello\\n' | echosphere hub connect

Type help at the prompt for its commands. Each line is one command, also when several lines are pasted. `relay IDS` \
without a text sends the lines that follow, until two empty lines. If stdin is a pipe, hub connect runs one command \
per line and ends when every command is answered.

Exit codes: 0 every command succeeded; 1 a command was refused or not understood, a relay did not reach every receiver, \
or the connection was lost; 2 it could not start; 130 interrupted.")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) hub: HubArgs,

    /// Print each event as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    pub(crate) json: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let prompts = !args.json && terminal::is_usable();
        // Piped commands may depend on earlier ones, whose outcome is unknown after a loss.
        let user = User::connect(&args.hub, prompts).await?;
        let mut session = Session {
            user,
            json: args.json,
            prompts,
            source: CommandSource::None,
            commands: Commands::default(),
            all_succeeded: true,
        };
        session.run(&mut signals).await
    })
}

/// Where commands come from.
enum CommandSource {
    /// Not connected yet, or at the end of input.
    None,
    Prompt(Box<Prompt>),
    /// Lines, and how many of them were read.
    Pipe(mpsc::Receiver<io::Result<stdin::Line>>, u64),
}

/// What a source yields.
enum SourceEvent {
    Typed(String),
    Piped(stdin::Line),
    End,
    Failed(io::Error),
}

impl CommandSource {
    async fn next(&mut self) -> SourceEvent {
        match self {
            Self::None => std::future::pending().await,
            Self::Prompt(prompt) => match prompt.next().await {
                Typed::Text(text) => SourceEvent::Typed(text),
                Typed::End | Typed::Gone(None) => SourceEvent::End,
                Typed::Gone(Some(error)) => SourceEvent::Failed(error),
            },
            Self::Pipe(lines, count) => match lines.recv().await {
                Some(Ok(line)) => {
                    *count += 1;
                    SourceEvent::Piped(line)
                }
                Some(Err(error)) => SourceEvent::Failed(error),
                None => SourceEvent::End,
            },
        }
    }

    const fn is_prompt(&self) -> bool {
        matches!(self, Self::Prompt(_))
    }
}

struct Session {
    user: User,
    json: bool,
    /// Whether commands are typed at a prompt.
    prompts: bool,
    source: CommandSource,
    commands: Commands,
    /// Whether every command has succeeded so far.
    all_succeeded: bool,
}

impl Session {
    async fn run(&mut self, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        let mut begun = false;
        loop {
            let notice = tokio::select! {
                biased;
                notice = self.user.next() => notice?,
                given = self.source.next() => {
                    self.take(given).await?;
                    continue;
                }
                () = signals.next() => {
                    // The first Ctrl-C drops a body that is being typed.
                    if self.source.is_prompt() && self.commands.drop_body() {
                        self.say("the message is dropped")?;
                        self.ask();
                        continue;
                    }
                    return Ok(ExitCode::from(INTERRUPTED));
                }
            };
            match notice {
                Notice::Connected { .. } if !begun => {
                    begun = true;
                    self.begin().await?;
                }
                Notice::Connected { .. } => {
                    self.user.ask(Request::Identity).await?;
                }
                Notice::Ended { failure: None, .. } => {
                    if self.json {
                        output::json(&json!({ "event": "ended", "why": null }))?;
                    }
                    return Ok(ExitCode::from(u8::from(!self.all_succeeded)));
                }
                Notice::Ended { failure, .. } => {
                    if let Some(line) = self.user.attempts_ended() {
                        self.remark(&line)?;
                    }
                    let why = self.user.explain(failure.as_ref());
                    self.source = CommandSource::None;
                    self.tell(&format!("error: {why}"), || json!({ "event": "ended", "why": why }))?;
                    return Ok(ExitCode::FAILURE);
                }
                other => self.show(other)?,
            }
        }
    }

    /// Starts to read commands, once connected.
    async fn begin(&mut self) -> anyhow::Result<()> {
        if self.prompts {
            self.source = CommandSource::Prompt(Box::new(Prompt::open(false)?));
            self.say("type help for the commands; each line is one command, also when several lines are pasted")?;
            self.user.ask(Request::Identity).await?;
            self.ask();
        } else {
            self.source = CommandSource::Pipe(stdin::lines(LONGEST)?, 0);
        }
        Ok(())
    }

    /// Shows the prompt, if there is one.
    fn ask(&mut self) {
        if let CommandSource::Prompt(prompt) = &mut self.source {
            let label = match self.commands.receivers() {
                Some(to) => format!("to {to} > "),
                None => "> ".to_owned(),
            };
            prompt.ask(label);
        }
    }

    async fn take(&mut self, given: SourceEvent) -> anyhow::Result<()> {
        match given {
            SourceEvent::Typed(text) => {
                let mut lines: Vec<&str> = text.lines().collect();
                if lines.is_empty() {
                    lines.push("");
                }
                let before = self.commands.receivers().cloned();
                for line in lines {
                    let input = self.commands.line(line.as_bytes());
                    self.execute(input, None).await?;
                    if !self.source.is_prompt() {
                        return Ok(());
                    }
                }
                self.commands.stop_skipping();
                if self.commands.receivers().is_some() && before.is_none() {
                    self.say("type the message; two empty lines or Ctrl-D send it, Ctrl-C drops it")?;
                }
                self.ask();
            }
            SourceEvent::Piped(Some(line)) => {
                let input = self.commands.line(&line);
                self.execute(input, self.line_number()).await?;
            }
            SourceEvent::Piped(None) => {
                self.commands.drop_body();
                let why = anyhow!("longer than a command may be ({LONGEST} bytes)");
                self.execute(Err(why), self.line_number()).await?;
            }
            // Ctrl-D in a body ends the body.
            SourceEvent::End if self.source.is_prompt() && self.commands.receivers().is_some() => {
                let input = self.commands.end();
                self.execute(input, None).await?;
                self.ask();
            }
            SourceEvent::End => self.end().await?,
            SourceEvent::Failed(error) => {
                self.all_succeeded = false;
                let from = if self.source.is_prompt() {
                    "this terminal"
                } else {
                    "stdin"
                };
                let why = format!("cannot read {from}: {error}");
                self.tell(&format!("error: {why}"), || json!({ "event": "error", "why": why }))?;
                self.end().await?;
            }
        }
        Ok(())
    }

    /// The number of the line that came last.
    const fn line_number(&self) -> Option<u64> {
        match self.source {
            CommandSource::Pipe(_, count) => Some(count),
            _ => None,
        }
    }

    /// Ends the session once every command is answered.
    async fn end(&mut self) -> anyhow::Result<()> {
        let input = self.commands.end();
        self.execute(input, None).await?;
        self.leave().await
    }

    async fn leave(&mut self) -> anyhow::Result<()> {
        self.source = CommandSource::None;
        self.user.leave().await
    }

    /// Runs a command, or reports why it cannot run.
    async fn execute(&mut self, input: anyhow::Result<Parsed>, line: Option<u64>) -> anyhow::Result<()> {
        match input {
            Ok(Parsed::Nothing) => {}
            Ok(Parsed::Help) => self.say(HELP)?,
            Ok(Parsed::Quit) => self.leave().await?,
            Ok(Parsed::Ask(request)) => {
                self.user.ask(request).await?;
            }
            Err(error) => {
                self.all_succeeded = false;
                let why = match line {
                    Some(line) => format!("line {line}: {error:#}"),
                    None => format!("{error:#}"),
                };
                self.tell(&format!("error: {why}"), || json!({ "event": "error", "why": why }))?;
            }
        }
        Ok(())
    }

    fn show(&mut self, notice: Notice) -> anyhow::Result<()> {
        match notice {
            Notice::Answered { reply, .. } => {
                if let Some(line) = self.user.attempts_ended() {
                    self.remark(&line)?;
                }
                let unsent = matches!(&reply, Reply::Relayed { unsent, .. } if !unsent.is_empty());
                self.all_succeeded &= !unsent && !matches!(reply, Reply::Error(..));
                if self.json {
                    return output::json(&format::answer_event(&reply));
                }
                output::line(&format::answer(&reply))
            }
            Notice::Received { from, body, .. } if self.json => output::json(&format::delivery_event(from, &body)),
            Notice::Received { from, body, .. } => output::line(&format::delivery(from, &body)),
            Notice::Unanswered { .. } => {
                self.all_succeeded = false;
                let line = "no answer: the request may or may not have been carried out";
                self.tell(line, || json!({ "event": "unanswered" }))
            }
            Notice::Retrying { failure: why, .. } if self.json => {
                let why = self.user.explain(Some(&why));
                output::json(&json!({ "event": "retrying", "why": why }))
            }
            Notice::Retrying { failure: why, .. } => match self.user.attempt_failed(&why) {
                Some(line) => self.remark(&line),
                None => Ok(()),
            },
            Notice::Connected { .. } | Notice::Ended { .. } => Ok(()),
        }
    }

    /// Prints a hint for a human; with JSON output, nothing.
    fn say(&self, line: &str) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        output::line(line)
    }

    /// Reports what is not an answer: as a JSON event, or as a line above the prompt or on stderr.
    fn tell(&self, line: &str, event: impl FnOnce() -> Value) -> anyhow::Result<()> {
        if self.json {
            return output::json(&event());
        }
        self.remark(line)
    }

    /// Prints a line above the prompt or on stderr; with JSON output, nothing.
    fn remark(&self, line: &str) -> anyhow::Result<()> {
        if self.source.is_prompt() {
            return output::line(line);
        }
        if !self.json {
            complain!("{line}");
        }
        Ok(())
    }
}
