//! What goes to stdout.

use std::fmt;
use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::terminal;

/// What was to be written could not be.
#[derive(Debug)]
pub(crate) struct Unwritable {
    to: String,
    error: io::Error,
}

impl Unwritable {
    /// `to`: where it was to go.
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

/// Writes a number as a string. In JSON that is how each number is written that can exceed 2^53: many programs, JavaScript
/// among them, read numbers above that as other numbers.
pub(crate) fn exact<S: Serializer>(number: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&number.to_string())
}

/// The same as a value.
pub(crate) fn exactly(number: u64) -> Value {
    number.to_string().into()
}

/// An event with the bytes that somebody sent: their number, and the text that they are, or else Base64.
pub(crate) fn with_body(mut event: Value, body: &[u8]) -> Value {
    event["bytes"] = body.len().into();
    match str::from_utf8(body) {
        Ok(text) => event["text"] = text.into(),
        Err(_) => event["base64"] = BASE64_STANDARD.encode(body).into(),
    }
    event
}

/// What a command prints that has failed.
pub(crate) fn failure(error: &str) -> anyhow::Result<()> {
    json(&json!({ "error": error }))
}

/// A line for people, or several, broken between words where the terminal ends.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut text = terminal::fitted(text, io::stdout());
    text.push('\n');
    bytes(text.as_bytes())
}

/// Bytes as they are.
///
/// # Errors
///
/// Stdout does not take them, because its reader has left for example.
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
