//! The chat's messages in a few words.

use echosphere_core::chat::{Command, Message, Notice, ServerCommand};

use crate::trace::{Brief, brief_bytes};

impl Brief for Message {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Part { id, body, last } => {
                *line += &format!("{} {id} ", if *last { "message" } else { "part of" });
                brief_bytes(body, line);
            }
            Self::Error(code, _) => *line += &format!("error {code}"),
            Self::Begin { .. } | Self::Resume { .. } | Self::Welcome { .. } | Self::Taken { .. } | Self::Bye => {
                *line += &format!("{self:?}");
            }
        }
    }
}

impl Brief for Command {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Say { key, body } => {
                *line += &format!("say {key} ");
                brief_bytes(body, line);
            }
            Self::Connect | Self::Read { .. } | Self::Leave | Self::HangUp => *line += &format!("{self:?}"),
        }
    }
}

impl Brief for ServerCommand {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Say { key, body } => {
                *line += &format!("say {key} ");
                brief_bytes(body, line);
            }
            Self::Read { .. } => *line += &format!("{self:?}"),
        }
    }
}

impl Brief for Notice {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Heard { id, body, .. } => {
                *line += &format!("heard {id} ");
                brief_bytes(body, line);
            }
            _ => *line += &format!("{self:?}"),
        }
    }
}
