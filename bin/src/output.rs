//! The only writer to stdout.

use std::fmt;
use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::terminal;

/// An error of writing a result.
#[derive(Debug)]
pub(crate) struct Unwritable {
    to: String,
    error: io::Error,
}

impl Unwritable {
    /// `to` names the destination.
    pub(crate) fn new(to: &str, error: io::Error) -> Self {
        let to = to.to_owned();
        Self { to, error }
    }
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to {}: {}", self.to, self.error)
    }
}

impl std::error::Error for Unwritable {}

/// One JSON object on a line of its own.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    bytes(&line)
}

/// Serializes a number that can exceed 2^53 as a string, since many programs cannot read larger JSON numbers exactly.
pub(crate) fn exact<S: Serializer>(number: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&number.to_string())
}

/// A number that can exceed 2^53 as a JSON value.
pub(crate) fn exactly(number: u64) -> Value {
    number.to_string().into()
}

/// Adds a body to an event: its length, and its text or its Base64.
pub(crate) fn with_body(mut event: Value, body: &[u8]) -> Value {
    event["bytes"] = body.len().into();
    match str::from_utf8(body) {
        Ok(text) => event["text"] = text.into(),
        Err(_) => event["base64"] = BASE64_STANDARD.encode(body).into(),
    }
    event
}

/// Prints the object of a command that has failed.
pub(crate) fn failure(error: &str) -> anyhow::Result<()> {
    json(&json!({ "error": error }))
}

/// Prints lines of text, wrapped between words to the width of the terminal.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut text = terminal::fitted(text, io::stdout());
    text.push('\n');
    bytes(text.as_bytes())
}

/// Writes bytes unchanged.
///
/// # Errors
///
/// If stdout cannot be written, for example after its reader has ended.
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let written = terminal::above(|| {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush())
    });
    written.map_err(|error| Unwritable::new("stdout", error).into())
}

/// `label  value` lines with the values in one column.
pub(crate) fn table<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let lines = rows.iter().map(|(label, value)| format!("  {label:width$}  {value}\n"));
    lines.collect()
}
