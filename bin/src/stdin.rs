//! Input from stdin, and the bytes that a command sends.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;
use std::thread;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::stderr::status;
use crate::values::counted;

/// The most bytes of one read.
const PIECE: usize = 64 * 1024;

/// The bytes to send: those of `file`, of `text`, or of stdin to its end without both or if `text` is `-`.
///
/// # Errors
///
/// If they cannot be read, are more than `most` bytes, or if stdin is empty and no option asks for an empty message.
pub(crate) fn to_send(text: Option<&str>, file: Option<&Path>, most: usize) -> anyhow::Result<Bytes> {
    let limit = most as u64 + 1;
    let read = |from: &mut dyn Read| {
        let mut all = Vec::new();
        from.take(limit).read_to_end(&mut all).map(|_| Bytes::from(all))
    };
    let bytes = match (file, text) {
        (Some(path), _) => {
            let what = || format!("cannot read the file {}", path.display());
            read(&mut fs::File::open(path).with_context(what)?).with_context(what)?
        }
        (None, Some(text)) if text != "-" => text.to_owned().into(),
        (None, text) => {
            let mut stdin = io::stdin();
            let typed = stdin.is_terminal();
            if typed {
                status!("type the message to send; Ctrl-D at the start of a line ends it");
            }
            let bytes = read(&mut stdin).context("cannot read stdin")?;
            if bytes.is_empty() && text.is_none() && !typed {
                bail!("nothing to send: stdin is empty; use '' to send an empty message");
            }
            bytes
        }
    };
    ensure!(
        bytes.len() <= most,
        "the message is too long: the limit is {}",
        counted(most as u64, "byte")
    );
    Ok(bytes)
}

/// Stdin as it arrives, in pieces of at most 64 KiB; an error is the last. A thread reads it until the process ends.
pub(crate) fn pieces() -> io::Result<mpsc::Receiver<io::Result<Bytes>>> {
    let (sender, pieces) = mpsc::channel(1);
    let reading = thread::Builder::new().name("stdin".to_owned());
    reading.spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut piece = vec![0; PIECE];
        loop {
            let read = match stdin.read(&mut piece) {
                Ok(0) => return,
                Ok(length) => Ok(Bytes::copy_from_slice(&piece[..length])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    })?;
    Ok(pieces)
}

/// A line of stdin without its CR LF or LF; `None` if it was too long.
pub(crate) type Line = Option<Vec<u8>>;

/// The lines of stdin as they arrive, each of at most `most` bytes; an error is the last. A thread reads them.
pub(crate) fn lines(most: usize) -> io::Result<mpsc::Receiver<io::Result<Line>>> {
    let (sender, lines) = mpsc::channel(16);
    let reading = thread::Builder::new().name("stdin".to_owned());
    reading.spawn(move || {
        let mut stdin = io::stdin().lock();
        while let Some(line) = next_line(&mut stdin, most).transpose() {
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    })?;
    Ok(lines)
}

/// The next line; `None` at the end.
fn next_line(input: &mut impl BufRead, most: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    // With its line break.
    let limit = most as u64 + 2;
    if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_some() {
        line.pop_if(|last| *last == b'\r');
    } else if line.len() as u64 == limit {
        input.skip_until(b'\n')?;
    }
    Ok(Some(Some(line).filter(|line| line.len() <= most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bytes_of_a_bounded_length() {
        let mut input = &b"four\n\nfive!\r\nlonger than that\ncaf\xe9\r\nfive!"[..];
        let mut read = || next_line(&mut input, 5).unwrap();
        assert_eq!(read(), Some(Some(b"four".to_vec())));
        assert_eq!(read(), Some(Some(Vec::new())));
        assert_eq!(read(), Some(Some(b"five!".to_vec())));
        assert_eq!(read(), Some(None));
        assert_eq!(read(), Some(Some(b"caf\xe9".to_vec())));
        assert_eq!(read(), Some(Some(b"five!".to_vec())));
        assert_eq!(read(), None);
    }

    #[test]
    fn what_is_sent_has_a_limit_and_is_never_cut() {
        let zeroes = |most| to_send(None, Some(Path::new("/dev/zero")), most);
        assert!(zeroes(5).unwrap_err().to_string().contains("the limit is 5 bytes"));
        assert_eq!(to_send(Some("12345"), None, 5).unwrap(), "12345");
        to_send(Some("123456"), None, 5).unwrap_err();
        let this = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/stdin.rs"));
        let length = fs::read(this).unwrap().len();
        assert_eq!(to_send(None, Some(this), length).unwrap().len(), length);
        to_send(None, Some(this), length - 1).unwrap_err();
    }
}
