//! The messages, commands and notices of numbers in short words.

use echosphere_core::numbers::{Command, Message, Notice, StreamSpec, Total};

use super::scripts::SimCommand;
use crate::trace::Brief;
use crate::words;

fn wanted(want: &StreamSpec) -> String {
    let (what, n, after) = match want {
        StreamSpec::Stateless { n, after } => ("a stateless one".to_owned(), n, after),
        StreamSpec::Session { uuid, n, after } => (format!("session {uuid}"), n, after),
    };
    let after = after.map(|after| format!(" after {after}")).unwrap_or_default();
    format!("{n} numbers of {what}{after}")
}

/// What a stream came to.
pub(super) fn total_in_words(total: Total) -> String {
    match total {
        Total::Sum(sum) => format!("sum {sum}"),
        Total::Checksum {
            value: said,
            valid: true,
        } => format!("checksum {said}, valid"),
        Total::Checksum {
            value: said,
            valid: false,
        } => format!("checksum {said}, not valid"),
    }
}

impl Brief for Message {
    fn brief(&self, line: &mut String) {
        *line += &match self {
            Self::Start => "START".to_owned(),
            Self::Continue(last) => format!("CONTINUE {last}"),
            Self::StartSession { uuid, n } => format!("START {uuid} {n}"),
            Self::ContinueSession { uuid, last, count } => {
                let count = count.map(|count| format!(" {count}")).unwrap_or_default();
                format!("CONTINUE {uuid} {last}{count}")
            }
            Self::End => "END".to_owned(),
            Self::Number(number) => format!("number {number}"),
            Self::Error(code, _) => format!("error {code}"),
        };
    }
}

impl Brief for SimCommand {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Get(Command::Get { key, stream: want }) => *line += &format!("get stream {key}: {}", wanted(want)),
            Self::Script { script, stays } => {
                line.push_str("say");
                for (after, message) in script {
                    *line += &format!(" after {after:?} ");
                    message.brief(line);
                }
                *line += &format!(" and leave after {stays:?}");
            }
        }
    }
}

impl Brief for Notice {
    fn brief(&self, line: &mut String) {
        *line += &match self {
            Self::Number { key, place, number } => format!("stream {key}: {number} at place {place}"),
            Self::Retrying {
                key,
                failure: why,
                after,
            } => {
                format!("stream {key} retries in {after:?}: {}", words::brief(why))
            }
            Self::Resumed { key, count } => format!("stream {key} is resumed after {count}"),
            Self::Done { key, total } => format!("stream {key} is done: {}", total_in_words(*total)),
            Self::Failed { key, failure } => format!("stream {key} fails: {}", words::brief(failure)),
        };
    }
}
