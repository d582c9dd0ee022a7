//! What goes to stdout.

use std::fmt;
use std::io::{self, Write};

use serde::{Serialize, Serializer};

/// Stdout takes nothing any more.
#[derive(Debug)]
pub(crate) struct Unwritable(io::Error);

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to stdout: {}", self.0)
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

/// Bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    part(bytes)?;
    Ok(())
}

/// Bytes of something that goes on. `false` if whoever reads has enough.
pub(crate) fn part(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Unwritable(error).into()),
        Ok(()) => Ok(true),
    }
}

/// `label  value` lines with the values in one column.
pub(crate) fn table<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let lines = rows.iter().map(|(label, value)| format!("  {label:width$}  {value}\n"));
    lines.collect()
}
