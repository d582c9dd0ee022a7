use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use bytes::Bytes;
use echosphere_core::hub::{Ids, MAX_BODY, Notice, Reply, Request};
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc;

use super::show;
use super::user::{Hub, User};
use crate::output;
use crate::signals::{INTERRUPTED, Signals};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere hub connect
  printf 'identity\\nrelay 2,3 hello\\n' | echosphere hub connect

Type help at its prompt for what it understands. From a pipe it asks line by line, and ends when all is answered; exit \
code 1 says that something was refused, or did not reach everybody.")]
pub(crate) struct Args {
    #[command(flatten)]
    hub: Hub,
}

const HELP: &str = "\
identity          your user id
list              who else is connected
relay IDS TEXT    send TEXT to users by their ids: relay 2,3 hello
file IDS PATH     send what a file holds
echo TEXT         have TEXT sent back
quit              end (Ctrl-D does too)";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Input {
    Ask(Request),
    Help,
    Quit,
    Nothing,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let typed = io::stdin().is_terminal();
        // What was piped may depend on what came before: after a loss, nobody knows what was done.
        let user = User::connect(&args.hub, typed).await?;
        let mut session = Session {
            user,
            typed,
            lines: None,
            print: Box::new(|line| output::bytes(format!("{line}\n").as_bytes())),
            well: true,
        };
        session.run().await
    })
}

struct Session {
    user: User,
    /// A person types; else lines come from a pipe or a file.
    typed: bool,
    /// None before the session is connected, and once there are no more.
    lines: Option<mpsc::Receiver<String>>,
    print: Box<dyn FnMut(String) -> anyhow::Result<()> + Send>,
    /// Nothing was refused, and everything reached everybody.
    well: bool,
}

impl Session {
    async fn run(&mut self) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::catch()?;
        let mut begun = false;
        loop {
            let line = async {
                match &mut self.lines {
                    Some(lines) => lines.recv().await,
                    None => std::future::pending().await,
                }
            };
            let notice = tokio::select! {
                biased;
                notice = self.user.next() => notice?,
                line = line => {
                    self.take(line).await?;
                    continue;
                }
                () = signals.next() => return Ok(ExitCode::from(INTERRUPTED)),
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
                    return Ok(ExitCode::from(u8::from(!self.well)));
                }
                Notice::Ended { failure, .. } => {
                    if let Some(line) = self.user.works() {
                        self.complain(line)?;
                    }
                    let why = self.user.explain(failure.as_ref());
                    self.complain(format!("error: {why:#}"))?;
                    return Ok(ExitCode::FAILURE);
                }
                other => self.tell(other)?,
            }
        }
    }

    /// Starts to read lines, now that there is somebody to ask.
    async fn begin(&mut self) -> anyhow::Result<()> {
        let (sender, lines) = mpsc::channel(16);
        self.lines = Some(lines);
        let reading = thread::Builder::new().name("input".to_owned());
        if self.typed {
            let mut editor = DefaultEditor::new()?;
            let mut printer = editor.create_external_printer()?;
            self.print = Box::new(move |line| Ok(printer.print(format!("{line}\n"))?));
            (self.print)("type help for what can be asked".to_owned())?;
            self.user.ask(Request::Identity).await?;
            reading.spawn(move || read_typed(&mut editor, &sender))?;
        } else {
            reading.spawn(move || read_piped(&sender))?;
        }
        Ok(())
    }

    /// Does what a line asks for; there are no more after `None`.
    async fn take(&mut self, line: Option<String>) -> anyhow::Result<()> {
        match line.as_deref().map(parse) {
            None | Some(Ok(Input::Quit)) => {
                self.lines = None;
                self.user.leave().await?;
            }
            Some(Ok(Input::Nothing)) => {}
            Some(Ok(Input::Help)) => (self.print)(HELP.to_owned())?,
            Some(Ok(Input::Ask(request))) => {
                self.user.ask(request).await?;
            }
            Some(Err(error)) => {
                self.well = false;
                self.complain(format!("error: {error:#}"))?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, notice: Notice) -> anyhow::Result<()> {
        match notice {
            Notice::Answered { reply, .. } => {
                if let Some(line) = self.user.works() {
                    self.complain(line)?;
                }
                let unsent = matches!(&reply, Reply::Relayed { unsent, .. } if !unsent.is_empty());
                self.well &= !unsent && !matches!(reply, Reply::Error(..));
                (self.print)(show::answer(&reply))
            }
            Notice::Delivered { from, body, .. } => (self.print)(show::delivery(from, &body)),
            Notice::Unanswered { .. } => {
                self.well = false;
                self.complain("not answered, so it may or may not have been done".to_owned())
            }
            Notice::Retrying { why, .. } => match self.user.retrying(&why) {
                Some(line) => self.complain(line),
                None => Ok(()),
            },
            Notice::Connected { .. } | Notice::Ended { .. } => Ok(()),
        }
    }

    /// Says what is not an answer: beside the prompt if there is one, else on stderr.
    fn complain(&mut self, line: String) -> anyhow::Result<()> {
        if self.typed {
            return (self.print)(line);
        }
        eprintln!("{line}");
        Ok(())
    }
}

fn read_typed(editor: &mut DefaultEditor, sender: &mpsc::Sender<String>) {
    loop {
        match editor.readline("> ") {
            Ok(line) => {
                // A line that is not remembered is no reason to stop.
                let _ = editor.add_history_entry(&line);
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => return,
            Err(error) => {
                eprintln!("error: cannot read from this terminal: {error}");
                return;
            }
        }
    }
}

fn read_piped(sender: &mpsc::Sender<String>) {
    for line in io::stdin().lock().lines() {
        match line {
            Ok(line) => {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
            Err(error) => {
                eprintln!("error: cannot read stdin: {error}");
                return;
            }
        }
    }
}

fn parse(line: &str) -> anyhow::Result<Input> {
    let line = line.trim_start();
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    Ok(match (word, rest.is_empty()) {
        ("", true) => Input::Nothing,
        ("help", _) => Input::Help,
        ("quit" | "exit", true) => Input::Quit,
        ("identity", true) => Input::Ask(Request::Identity),
        ("list", true) => Input::Ask(Request::List),
        ("echo", _) => Input::Ask(Request::Echo(body(rest.to_owned().into())?)),
        ("relay", false) => {
            let (to, text) = rest.split_once(' ').unwrap_or((rest, ""));
            relay(to, text.to_owned().into())?
        }
        ("file", false) => {
            let (to, path) = rest.split_once(' ').context("expected file IDS PATH")?;
            let read = fs::read(path).with_context(|| format!("cannot read the file {path}"))?;
            relay(to, read.into())?
        }
        _ => anyhow::bail!("{word:?} is not known; type help for what is"),
    })
}

fn relay(to: &str, bytes: Bytes) -> anyhow::Result<Input> {
    let to: Ids = to.parse()?;
    let body = body(bytes)?;
    Ok(Input::Ask(Request::Relay { to, body }))
}

fn body(bytes: Bytes) -> anyhow::Result<Bytes> {
    let length = bytes.len();
    anyhow::ensure!(
        length <= MAX_BODY,
        "{length} bytes to send; a body has at most {MAX_BODY}"
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let relay = |to: &[u64], body: &'static str| {
            Input::Ask(Request::Relay {
                to: to.iter().copied().collect(),
                body: Bytes::from_static(body.as_bytes()),
            })
        };
        for (line, input) in [
            ("", Input::Nothing),
            ("  ", Input::Nothing),
            ("identity", Input::Ask(Request::Identity)),
            (" list", Input::Ask(Request::List)),
            ("echo  two  spaces", Input::Ask(Request::Echo(" two  spaces".into()))),
            ("echo", Input::Ask(Request::Echo(Bytes::new()))),
            ("relay 2,3 foo bar", relay(&[2, 3], "foo bar")),
            ("relay 2", relay(&[2], "")),
            ("help", Input::Help),
            ("quit", Input::Quit),
        ] {
            assert_eq!(parse(line).ok(), Some(input), "{line:?}");
        }
        for line in [
            "relay",
            "relay x y",
            "relay 2,x y",
            "hello",
            "identity 1",
            "file 2",
            "file 2 /none/such",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
