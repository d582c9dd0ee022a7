//! Settings from the file `.env`, and variables by their former names. Both go into the environment, where clap reads them.

use std::cell::Cell;
use std::env;
use std::fs;
use std::io::{self, BufRead, Read};
use std::path::Path;

use anyhow::Context;
use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::stderr::complain;

/// The file in the working directory that is read without `--env-file`.
const FILE: &str = ".env";
/// Variables of this program whose names do not begin with `ECHOSPHERE_`.
const OTHERS: [&str; 3] = ["MODE", "IP_ADDR", "RUST_LOG"];
/// Former names of variables, and their present names.
pub(crate) const FORMER: [(&str, &str); 8] = [
    ("MODE", "ECHOSPHERE_CHAT_MODE"),
    ("IP_ADDR", "ECHOSPHERE_CHAT_ADDR"),
    ("ECHOSPHERE_GIVE_UP", "ECHOSPHERE_NUMBERS_TIMEOUT"),
    ("ECHOSPHERE_BODY", "ECHOSPHERE_HUB_SIZE"),
    ("ECHOSPHERE_BODY", "ECHOSPHERE_CHAT_SIZE"),
    ("ECHOSPHERE_HUB", "ECHOSPHERE_HUB_TO"),
    ("ECHOSPHERE_CHAT", "ECHOSPHERE_CHAT_TO"),
    ("ECHOSPHERE_NUMBERS", "ECHOSPHERE_NUMBERS_TO"),
];

/// Reads the settings of `--env-file` in `args`, or of `.env` in the working directory. The environment overrides them.
///
/// # Errors
///
/// If the file that `--env-file` names cannot be read.
pub(crate) fn load(args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut settings: Vec<(String, String)> = Vec::new();
    for (former, _) in FORMER {
        settings.extend(env::var(former).ok().map(|value| (former.to_owned(), value)));
    }
    let named = env_file(args);
    let file = named.as_deref().unwrap_or(FILE);
    match fs::read(file) {
        Ok(text) => {
            for warning in read(&text, Path::new(file), &mut settings) {
                complain!("warning: {warning}");
            }
        }
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if named.is_none() => complain!("warning: cannot read the file {file}: {error}; it is ignored"),
        Err(error) => return Err(error).with_context(|| format!("cannot read the file {file} (--env-file)")),
    }
    put_into_environment(&settings, file);
    Ok(())
}

/// The value of `--env-file`. Clap parses the command line later.
fn env_file(mut args: impl Iterator<Item = String>) -> Option<String> {
    while let Some(arg) = args.next().filter(|arg| arg != "--") {
        if arg == "--env-file" {
            return args.next();
        }
        if let Some(file) = arg.strip_prefix("--env-file=") {
            return Some(file.to_owned());
        }
    }
    None
}

/// Adds this program's settings in `text`. Returns warnings of invalid lines, without their contents, which can be secret.
fn read(text: &[u8], file: &Path, settings: &mut Vec<(String, String)>) -> Vec<String> {
    let mut warnings = Vec::new();
    let lines = Cell::new(0);
    let by_line = ByLine {
        rest: text,
        lines: &lines,
    };
    for setting in dotenvy::from_read_iter(by_line) {
        match setting {
            Ok(setting) if is_ours(&setting.0) => settings.push(setting),
            Ok(_) => {}
            Err(error) => {
                let last = lines.get();
                let count = match error {
                    dotenvy::Error::LineParse(content, _) => content.trim_end().lines().count().max(1),
                    _ => 1,
                };
                let first = last + 1 - count.min(last);
                if is_of_another(text.split(|&byte| byte == b'\n').nth(first - 1).unwrap_or_default()) {
                    continue;
                }
                let which = if count == 1 {
                    format!("line {last} is")
                } else {
                    format!("lines {first} to {last} are")
                };
                warnings.push(format!(
                    "{}: {which} not NAME=value, and ignored; quote values that contain spaces",
                    file.display()
                ));
            }
        }
    }
    warnings
}

/// Whether an invalid line sets a variable of another program.
fn is_of_another(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let name = line.split_once('=').map_or("", |(name, _)| name.trim_end());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    is_name && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !is_ours(name)
}

fn is_ours(name: &str) -> bool {
    name.starts_with("ECHOSPHERE_") || OTHERS.contains(&name)
}

/// Sets each variable that is not set, under all of its names. The library that can do so takes the text of a file.
fn put_into_environment(settings: &[(String, String)], file: &str) {
    let mut text = String::new();
    for (name, value) in settings {
        let value = quoted(value);
        let now_called = FORMER.iter().filter(|(former, _)| former == name).map(|(_, now)| *now);
        for name in now_called.chain([&**name]) {
            text += &format!("{name}={value}\n");
        }
    }
    if dotenvy::from_read(text.as_bytes()).is_err() {
        complain!("warning: the settings of {file} could not be put into the environment");
    }
}

/// A value in the syntax of a settings file.
fn quoted(value: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in value.chars() {
        match c {
            '\n' => quoted += "\\n",
            '"' | '\\' | '$' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// A reader that yields one line at a time and counts lines.
struct ByLine<'a> {
    rest: &'a [u8],
    lines: &'a Cell<usize>,
}

impl Read for ByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut line = Vec::new();
        let most = buffer.len() as u64;
        let length = (&mut self.rest).take(most).read_until(b'\n', &mut line)?;
        buffer[..length].copy_from_slice(&line);
        if length > 0 && (line.ends_with(b"\n") || self.rest.is_empty()) {
            self.lines.set(self.lines.get() + 1);
        }
        Ok(length)
    }
}

/// The source of an argument's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line.
    Flag,
    /// The environment or a settings file.
    Environment,
    /// The default.
    Default,
}

/// The source of the value of the argument `id`.
pub(crate) fn source(matches: &ArgMatches, id: &str) -> Source {
    match matches.value_source(id) {
        Some(ValueSource::CommandLine) => Source::Flag,
        Some(ValueSource::EnvVariable) => Source::Environment,
        _ => Source::Default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_before_the_command_line_is_parsed() {
        let named = |args: &str| env_file(args.split(' ').map(str::to_owned));
        assert_eq!(named("echosphere echo serve"), None);
        assert_eq!(named("echosphere --env-file a echo serve").as_deref(), Some("a"));
        assert_eq!(named("echosphere echo serve --env-file=b").as_deref(), Some("b"));
        assert_eq!(named("echosphere echo send -- --env-file=b"), None);
    }

    #[test]
    fn an_invalid_line_of_another_program_is_no_concern_of_this_one() {
        for of_another in ["NAME=of another", "_N1=a b", "NAME = a b"] {
            assert!(is_of_another(of_another.as_bytes()), "{of_another}");
        }
        for line in [
            "ECHOSPHERE_OVER=1 s",
            "MODE=a b",
            "1N=a b",
            "no name",
            "=a b",
            "A B=c d",
        ] {
            assert!(!is_of_another(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn warnings_name_the_invalid_lines() {
        for (text, lines) in [
            ("wrong", "line 1 is"),
            ("A=1\n\nwrong\nB=2", "line 3 is"),
            ("A=1\nECHOSPHERE_B=\"two\nlines\nwithout an end", "lines 2 to 4 are"),
            ("A=\"one\ntwo\"\nwrong\n", "line 3 is"),
        ] {
            let warnings = read(text.as_bytes(), Path::new("f"), &mut Vec::new());
            let expected = format!("f: {lines} not NAME=value, and ignored; quote values that contain spaces");
            assert_eq!(warnings, [expected], "{text}");
        }
    }

    #[test]
    fn only_this_programs_settings_are_read() {
        let mut settings = Vec::new();
        let text = b"# a comment\nSECRET=\"two\nlines\"\nECHOSPHERE_TO=1.2.3.4:5 # here\nECHOSPHERE_BODY='3 B'\nwhat is this\nMODE=client";
        let warnings = read(text, Path::new(FILE), &mut settings);
        let warning =
            |lines: &str| format!(".env: {lines} not NAME=value, and ignored; quote values that contain spaces");
        assert_eq!(warnings, [warning("line 6 is")]);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            settings,
            [
                ("ECHOSPHERE_TO", "1.2.3.4:5"),
                ("ECHOSPHERE_BODY", "3 B"),
                ("MODE", "client")
            ]
        );
    }
}
