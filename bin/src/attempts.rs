//! What the commands that connect have in common: whether they insist, and how they say that attempts fail.

use std::fmt::Display;
use std::time::Duration;

use echosphere_core::wire::Protocol;

use crate::values::yes_or_no;

/// Whether a command goes on when nobody listens.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Insist {
    /// Try again even if the first attempt to connect is refused
    #[arg(long, env = "ECHOSPHERE_RETRY", value_parser = yes_or_no)]
    pub(crate) retry: bool,
}

/// Says why attempts fail: each reason once, and how often it came again.
#[derive(Debug)]
pub(crate) struct Failures {
    give_up: Duration,
    last: Option<String>,
    repeated: u32,
}

impl Failures {
    /// For attempts that end after this time.
    pub(crate) const fn new(give_up: Duration) -> Self {
        Self {
            give_up,
            last: None,
            repeated: 0,
        }
    }

    /// An attempt has failed, and another follows. Returns what to say, if it is not what was said before.
    pub(crate) fn note(&mut self, why: String) -> Option<String> {
        if self.last.as_ref() == Some(&why) {
            self.repeated += 1;
            return None;
        }
        let limit = humantime::format_duration(self.give_up);
        let line = format!("{why}; trying again for up to {limit}");
        let line = match self.over() {
            Some(before) => format!("{before}\n{line}"),
            None => line,
        };
        self.last = Some(why);
        Some(line)
    }

    /// No more attempts fail. Returns what is left to say.
    pub(crate) fn over(&mut self) -> Option<String> {
        self.last = None;
        match std::mem::take(&mut self.repeated) {
            0 => None,
            1 => Some("(one more attempt failed like that)".to_owned()),
            more => Some(format!("({more} more attempts failed like that)")),
        }
    }
}

/// Says that something else listens at `to` than `wanted`, and what to use for it.
pub(crate) fn other_protocol(to: impl Display, protocol: Option<Protocol>, wanted: &str) -> String {
    let Some(protocol) = protocol else {
        return format!("{to} is not {wanted}: it speaks another protocol");
    };
    let command = match protocol {
        Protocol::Echo => format!("echo send --to {to} TEXT"),
        Protocol::Hub => format!("hub connect --to {to}"),
        Protocol::Chat => format!("chat connect {to}"),
        Protocol::Numbers => format!("numbers get --transport tcp --to {to} 5"),
        Protocol::Http2 => format!("numbers get --to {to} 5"),
        Protocol::Http1 | Protocol::Ssh => return format!("{to} is {protocol}, not {wanted}"),
    };
    format!("{to} is {protocol}, not {wanted} (`echosphere {command}` speaks to it)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_said_once_with_how_often_it_came_again() {
        let mut failures = Failures::new(Duration::from_secs(30));
        assert_eq!(
            failures.note("refused".to_owned()).as_deref(),
            Some("refused; trying again for up to 30s")
        );
        assert_eq!(failures.note("refused".to_owned()), None);
        assert_eq!(
            failures.note("lost".to_owned()).as_deref(),
            Some("(one more attempt failed like that)\nlost; trying again for up to 30s")
        );
        for _ in 0..3 {
            assert_eq!(failures.note("lost".to_owned()), None);
        }
        assert_eq!(failures.over().as_deref(), Some("(3 more attempts failed like that)"));
        assert_eq!(failures.over(), None);
        assert!(failures.note("lost".to_owned()).is_some(), "it is news again");
    }

    #[test]
    fn what_listens_there_is_said_where_it_is_known() {
        let to = "127.0.0.1:1";
        assert_eq!(
            other_protocol(to, Some(Protocol::Echo), "a hub"),
            "127.0.0.1:1 is an echo server, not a hub (`echosphere echo send --to 127.0.0.1:1 TEXT` speaks to it)"
        );
        assert_eq!(
            other_protocol(to, Some(Protocol::Ssh), "a hub"),
            "127.0.0.1:1 is an SSH server, not a hub"
        );
        assert_eq!(
            other_protocol(to, None, "a hub"),
            "127.0.0.1:1 is not a hub: it speaks another protocol"
        );
    }
}
