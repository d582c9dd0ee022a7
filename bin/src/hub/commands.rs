//! The commands of `hub connect`: lines at a prompt or from a pipe.

use std::fs;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use echosphere_core::hub::{MAX_BODY, Request, UserIds};

use crate::escape;

pub(super) const HELP: &str = "\
identity          print your user id
list              list the other connected users
relay IDS TEXT    send TEXT to users by their ids, such as: relay 2,3 hello
relay IDS         send the lines that follow, up to two empty lines (or Ctrl-D)
file IDS PATH     send a file
echo TEXT         get TEXT back from the hub
quit              end (Ctrl-D does too)
Each line is one command, also when several lines are pasted.";

/// The longest line: a command with the longest body.
pub(super) const LONGEST: usize = MAX_BODY + 4096;

/// A parsed line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Ask(Request),
    Help,
    Quit,
    Nothing,
}

/// Parses lines one after another.
#[derive(Debug, Default)]
pub(super) struct Commands {
    body: Option<Body>,
}

/// A body of several lines that is not complete.
#[derive(Debug)]
struct Body {
    /// `None` if the relay was refused and the body is skipped.
    to: Option<UserIds>,
    bytes: Vec<u8>,
    lines: u64,
    /// Empty lines at the end so far, which may not belong to the body.
    empty: usize,
}

impl Commands {
    /// The receivers of the body that is being entered.
    pub(super) fn receivers(&self) -> Option<&UserIds> {
        self.body.as_ref()?.to.as_ref()
    }

    /// Parses the next line, without its line break.
    pub(super) fn line(&mut self, line: &[u8]) -> anyhow::Result<Parsed> {
        let Some(body) = &mut self.body else {
            return self.command(line);
        };
        if line.is_empty() && body.empty == 1 {
            return self.end();
        }
        if line.is_empty() {
            body.empty += 1;
            return Ok(Parsed::Nothing);
        }
        // A body that is too long is not kept. Its end reports that.
        if body.to.is_some() && body.bytes.len() <= MAX_BODY {
            let breaks = body.empty + usize::from(body.lines > 0);
            body.bytes.extend(std::iter::repeat_n(b'\n', breaks));
            body.bytes.extend_from_slice(line);
        }
        body.lines += 1;
        body.empty = 0;
        Ok(Parsed::Nothing)
    }

    /// Ends the body that is being entered, if there is one.
    pub(super) fn end(&mut self) -> anyhow::Result<Parsed> {
        match self.body.take() {
            Some(Body {
                to: Some(to), bytes, ..
            }) => relay(to, bytes.into()),
            _ => Ok(Parsed::Nothing),
        }
    }

    /// Drops the body that is being entered. Returns whether there was one.
    pub(super) fn drop_body(&mut self) -> bool {
        self.body.take().is_some()
    }

    /// Stops skipping the body of a refused relay.
    pub(super) fn stop_skipping(&mut self) {
        self.body.take_if(|body| body.to.is_none());
    }

    fn command(&mut self, line: &[u8]) -> anyhow::Result<Parsed> {
        let line = line.trim_ascii_start();
        let (word, rest) = split(line);
        Ok(match (word, rest) {
            (b"", None) => Parsed::Nothing,
            (b"help", _) => Parsed::Help,
            (b"quit" | b"exit", None | Some(b"")) => Parsed::Quit,
            (b"identity", None | Some(b"")) => Parsed::Ask(Request::Identity),
            (b"list", None | Some(b"")) => Parsed::Ask(Request::List),
            (b"echo", rest) => Parsed::Ask(Request::Echo(body(Bytes::copy_from_slice(rest.unwrap_or_default()))?)),
            (b"relay", Some(rest)) => match split(rest) {
                (to, Some(text)) => relay(ids(to)?, Bytes::copy_from_slice(text))?,
                (to, None) => {
                    let to = ids(to);
                    self.body = Some(Body {
                        to: to.as_ref().ok().cloned(),
                        bytes: Vec::new(),
                        lines: 0,
                        empty: 0,
                    });
                    to.map(|_| Parsed::Nothing)?
                }
            },
            (b"file", Some(rest)) => {
                let (to, Some(path)) = split(rest) else {
                    bail!("expected file IDS PATH");
                };
                let to = ids(to)?;
                let path = str::from_utf8(path).context("the path is not UTF-8")?;
                let read = fs::read(path).with_context(|| format!("cannot read the file {path}"))?;
                relay(to, read.into())?
            }
            _ => bail!("\"{}\" is not a command; type help for a list", escape::start(word, 40)),
        })
    }
}

/// The first word, and the text after one space.
fn split(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    }
}

fn ids(bytes: &[u8]) -> anyhow::Result<UserIds> {
    let text = str::from_utf8(bytes).ok();
    let text = text.with_context(|| format!("\"{}\" is not a list of user ids", escape::start(bytes, 40)))?;
    Ok(text.parse()?)
}

fn relay(to: UserIds, bytes: Bytes) -> anyhow::Result<Parsed> {
    let body = body(bytes)?;
    Ok(Parsed::Ask(Request::Relay { to, body }))
}

fn body(bytes: Bytes) -> anyhow::Result<Bytes> {
    let length = bytes.len();
    ensure!(
        length <= MAX_BODY,
        "the body has {length} bytes, and the limit is {MAX_BODY}"
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_relay(to: &[u64], body: &'static [u8]) -> Parsed {
        Parsed::Ask(Request::Relay {
            to: to.iter().copied().collect(),
            body: Bytes::from_static(body),
        })
    }

    #[test]
    fn lines_are_understood() {
        for (line, input) in [
            (&b""[..], Parsed::Nothing),
            (b"  ", Parsed::Nothing),
            (b"identity", Parsed::Ask(Request::Identity)),
            (b" list", Parsed::Ask(Request::List)),
            (b"echo  two  spaces", Parsed::Ask(Request::Echo(" two  spaces".into()))),
            (b"echo", Parsed::Ask(Request::Echo(Bytes::new()))),
            (
                b"echo caf\xe9",
                Parsed::Ask(Request::Echo(Bytes::from_static(b"caf\xe9"))),
            ),
            (b"relay 2,3 foo bar", to_relay(&[2, 3], b"foo bar")),
            (b"relay 2 \xff\x00", to_relay(&[2], b"\xff\x00")),
            (b"relay 2 ", to_relay(&[2], b"")),
            (b"help", Parsed::Help),
            (b"quit", Parsed::Quit),
        ] {
            let mut commands = Commands::default();
            assert_eq!(commands.line(line).ok(), Some(input), "{}", line.escape_ascii());
        }
        for line in [
            &b"relay"[..],
            b"relay x y",
            b"relay 2,x y",
            b"relay \xff y",
            b"hello",
            b"identity 1",
            b"file 2",
            b"file 2 /none/such",
            b"file 2 /\xff",
        ] {
            assert!(Commands::default().line(line).is_err(), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_file_is_relayed_as_it_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let parsed = Commands::default().line(format!("file 2,3 {path}").as_bytes());
        let body = Bytes::from(fs::read(path).unwrap());
        let to = [2, 3].into_iter().collect();
        assert_eq!(parsed.ok(), Some(Parsed::Ask(Request::Relay { to, body })));
    }

    /// The results of these lines and the end of input.
    fn all(lines: &str) -> Vec<Option<Parsed>> {
        let mut commands = Commands::default();
        let mut asked: Vec<_> = lines.lines().map(|line| commands.line(line.as_bytes()).ok()).collect();
        asked.push(commands.end().ok());
        asked.retain(|input| *input != Some(Parsed::Nothing));
        asked
    }

    #[test]
    fn a_body_of_several_lines_ends_with_two_empty_ones() {
        let list = Parsed::Ask(Request::List);
        let asked = all("relay 2,3\nlist\n\nrelay 4 x\n\n\nlist");
        assert_eq!(asked, [Some(to_relay(&[2, 3], b"list\n\nrelay 4 x")), Some(list)]);
        assert_eq!(all("relay 2\n\nb\n"), [Some(to_relay(&[2], b"\nb"))]);
        assert_eq!(all("relay 2\nto the end\n\n"), [Some(to_relay(&[2], b"to the end"))]);
        assert_eq!(all("relay 2\n\n\n"), [Some(to_relay(&[2], b""))]);
    }

    #[test]
    fn the_body_of_a_relay_that_is_refused_is_no_command() {
        let list = Parsed::Ask(Request::List);
        assert_eq!(all("relay bob\nquit\n\n\nlist"), [None, Some(list)]);
        let long = format!("relay 2\n{}\nx\n\n\nquit", "y".repeat(MAX_BODY));
        assert_eq!(all(&long), [None, Some(Parsed::Quit)]);
    }

    #[test]
    fn a_body_can_be_dropped() {
        let mut commands = Commands::default();
        commands.line(b"relay 2,3").unwrap();
        assert_eq!(commands.receivers().map(ToString::to_string).as_deref(), Some("2,3"));
        assert!(commands.drop_body() && !commands.drop_body());
        commands.line(b"relay bob").unwrap_err();
        commands.stop_skipping();
        assert_eq!(commands.line(b"quit").ok(), Some(Parsed::Quit));
    }
}
