use std::io;
use std::process::ExitCode;

use anyhow::anyhow;
use echosphere_core::hub::{Notice, Reply, Request};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::commands::{Commands, HELP, Input, LONGEST};
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

Type help at its prompt for what it understands. Each line is a command, also when several are pasted; `relay IDS` \
without a text takes the lines that follow, up to two empty ones. From a pipe it asks line by line, and ends when all \
is answered; exit code 1 says that something was refused or not understood, or did not reach everybody.")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) hub: HubArgs,

    /// Print one JSON object for each event
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    json: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let prompts = !args.json && terminal::is_usable();
        // What was piped may depend on what came before: after a loss, nobody knows what was done.
        let user = User::connect(&args.hub, prompts).await?;
        let mut session = Session {
            user,
            json: args.json,
            prompts,
            source: Source::None,
            commands: Commands::default(),
            well: true,
        };
        session.run().await
    })
}

/// Where commands come from.
enum Source {
    /// Not connected yet, or there are no more.
    None,
    Prompt(Box<Prompt>),
    /// Lines, and how many have come.
    Pipe(mpsc::Receiver<io::Result<stdin::Line>>, u64),
}

/// What has come from there.
enum Given {
    Typed(String),
    Piped(stdin::Line),
    End,
    Failed(io::Error),
}

impl Source {
    async fn next(&mut self) -> Given {
        match self {
            Self::None => std::future::pending().await,
            Self::Prompt(prompt) => match prompt.next().await {
                Typed::Text(text) => Given::Typed(text),
                Typed::End | Typed::Gone(None) => Given::End,
                Typed::Gone(Some(error)) => Given::Failed(error),
            },
            Self::Pipe(lines, count) => match lines.recv().await {
                Some(Ok(line)) => {
                    *count += 1;
                    Given::Piped(line)
                }
                Some(Err(error)) => Given::Failed(error),
                None => Given::End,
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
    /// Commands are typed at a prompt.
    prompts: bool,
    source: Source,
    commands: Commands,
    /// Nothing was refused, and everything reached everybody.
    well: bool,
}

impl Session {
    async fn run(&mut self) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::catch()?;
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
                    // What is being typed is given up first.
                    if self.source.is_prompt() && self.commands.drop_body() {
                        self.say("the body is dropped")?;
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
                    return Ok(ExitCode::from(u8::from(!self.well)));
                }
                Notice::Ended { failure, .. } => {
                    if let Some(line) = self.user.attempts_ended() {
                        self.remark(&line)?;
                    }
                    let why = self.user.explain(failure.as_ref());
                    self.source = Source::None;
                    self.tell(&format!("error: {why}"), || json!({ "event": "ended", "why": why }))?;
                    return Ok(ExitCode::FAILURE);
                }
                other => self.show(other)?,
            }
        }
    }

    /// Starts to take commands, now that there is somebody to ask.
    async fn begin(&mut self) -> anyhow::Result<()> {
        if self.prompts {
            self.source = Source::Prompt(Box::new(Prompt::open(false)?));
            self.say("type help for what can be asked; each line is a command, also when several are pasted")?;
            self.user.ask(Request::Identity).await?;
            self.ask();
        } else {
            self.source = Source::Pipe(stdin::lines(LONGEST)?, 0);
        }
        Ok(())
    }

    /// Shows the prompt, if there is one.
    fn ask(&mut self) {
        if let Source::Prompt(prompt) = &mut self.source {
            let label = match self.commands.receivers() {
                Some(to) => format!("to {to} > "),
                None => "> ".to_owned(),
            };
            prompt.ask(label);
        }
    }

    async fn take(&mut self, given: Given) -> anyhow::Result<()> {
        match given {
            Given::Typed(text) => {
                let mut lines: Vec<&str> = text.lines().collect();
                if lines.is_empty() {
                    lines.push("");
                }
                let before = self.commands.receivers().cloned();
                for line in lines {
                    let input = self.commands.line(line.as_bytes());
                    self.does(input, None).await?;
                    if !self.source.is_prompt() {
                        return Ok(());
                    }
                }
                self.commands.stop_skipping();
                if self.commands.receivers().is_some() && before.is_none() {
                    self.say("the lines that follow are sent at two empty lines or Ctrl-D; Ctrl-C drops them")?;
                }
                self.ask();
            }
            Given::Piped(Some(line)) => {
                let input = self.commands.line(&line);
                self.does(input, self.line_number()).await?;
            }
            Given::Piped(None) => {
                self.commands.drop_body();
                let why = anyhow!("longer than any command may be ({LONGEST} bytes)");
                self.does(Err(why), self.line_number()).await?;
            }
            // Ctrl-D in a body ends the body.
            Given::End if self.source.is_prompt() && self.commands.receivers().is_some() => {
                let input = self.commands.end();
                self.does(input, None).await?;
                self.ask();
            }
            Given::End => self.end().await?,
            Given::Failed(error) => {
                self.well = false;
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
            Source::Pipe(_, count) => Some(count),
            _ => None,
        }
    }

    /// There are no more commands: leaves once all is answered.
    async fn end(&mut self) -> anyhow::Result<()> {
        let input = self.commands.end();
        self.does(input, None).await?;
        self.leave().await
    }

    async fn leave(&mut self) -> anyhow::Result<()> {
        self.source = Source::None;
        self.user.leave().await
    }

    /// Does what a line asks for, or says what is wrong with it.
    async fn does(&mut self, input: anyhow::Result<Input>, line: Option<u64>) -> anyhow::Result<()> {
        match input {
            Ok(Input::Nothing) => {}
            Ok(Input::Help) => self.say(HELP)?,
            Ok(Input::Quit) => self.leave().await?,
            Ok(Input::Ask(request)) => {
                self.user.ask(request).await?;
            }
            Err(error) => {
                self.well = false;
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
                self.well &= !unsent && !matches!(reply, Reply::Error(..));
                if self.json {
                    return output::json(&format::answer_event(&reply));
                }
                output::line(&format::answer(&reply))
            }
            Notice::Delivered { from, body, .. } if self.json => output::json(&format::delivery_event(from, &body)),
            Notice::Delivered { from, body, .. } => output::line(&format::delivery(from, &body)),
            Notice::Unanswered { .. } => {
                self.well = false;
                let line = "not answered, so it may or may not have been done";
                self.tell(line, || json!({ "event": "unanswered" }))
            }
            Notice::Retrying { why, .. } if self.json => {
                let why = self.user.explain(Some(&why));
                output::json(&json!({ "event": "retrying", "why": why }))
            }
            Notice::Retrying { why, .. } => match self.user.attempt_failed(&why) {
                Some(line) => self.remark(&line),
                None => Ok(()),
            },
            Notice::Connected { .. } | Notice::Ended { .. } => Ok(()),
        }
    }

    /// Says what nobody asked for and no program reads.
    fn say(&self, line: &str) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        output::line(line)
    }

    /// Says what is not an answer: as JSON, above the prompt if there is one, or else on stderr.
    fn tell(&self, line: &str, event: impl FnOnce() -> Value) -> anyhow::Result<()> {
        if self.json {
            return output::json(&event());
        }
        self.remark(line)
    }

    /// The same, for what programs are told otherwise.
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
