//! What numbers' machines say, in a few words.

use echosphere_core::numbers::{Command, Message, Notice};

use super::machines::Errand;
use crate::trace::Brief;

impl Brief for Message {
    fn brief(&self, line: &mut String) {
        *line += &match self {
            Self::Start => "START".to_owned(),
            Self::Continue(last) => format!("CONTINUE {last}"),
            Self::StartSession { uuid, n } => format!("START {uuid} {n}"),
            Self::ContinueSession { uuid, last, count } => format!("CONTINUE {uuid} {last} {count:?}"),
            Self::End => "END".to_owned(),
            Self::Number(number) => format!("number {number}"),
            Self::Error(code, _) => format!("error {code}"),
        };
    }
}

impl Brief for Errand {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Get(Command::Get { key, want }) => *line += &format!("get number {key}: {want:?}"),
            Self::Odd { script, stays } => {
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
        *line += &format!("{self:?}");
    }
}
