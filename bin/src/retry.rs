//! Attempts to connect: the option to continue after a refusal, and the reports of attempts that fail.

use std::time::Duration;

use crate::values::yes_or_no;

/// Whether a command continues when its first attempt to connect is refused.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct RetryArgs {
    /// Try again even if the first attempt to connect is refused
    #[arg(long, env = "ECHOSPHERE_RETRY", value_parser = yes_or_no)]
    pub(crate) retry: bool,
}

/// Reports failed attempts: each cause once, then how often it was repeated.
#[derive(Debug)]
pub(crate) struct FailedAttempts {
    give_up: Duration,
    last: Option<String>,
    repeated: u32,
}

impl FailedAttempts {
    /// Reports attempts that are given up after this time.
    pub(crate) const fn new(give_up: Duration) -> Self {
        Self {
            give_up,
            last: None,
            repeated: 0,
        }
    }

    /// Records a failed attempt that another follows. Returns the line to print, or `None` if the cause is the last one
    /// again.
    pub(crate) fn note(&mut self, why: String) -> Option<String> {
        if self.last.as_ref() == Some(&why) {
            self.repeated += 1;
            return None;
        }
        let limit = humantime::format_duration(self.give_up);
        let line = format!("{why}; trying again for up to {limit}");
        let line = match self.finish() {
            Some(before) => format!("{before}\n{line}"),
            None => line,
        };
        self.last = Some(why);
        Some(line)
    }

    /// Ends a series of failed attempts. Returns the line with the number of repetitions, if there were any.
    pub(crate) fn finish(&mut self) -> Option<String> {
        self.last = None;
        match std::mem::take(&mut self.repeated) {
            0 => None,
            1 => Some("(1 more attempt failed for the same reason)".to_owned()),
            more => Some(format!("({more} more attempts failed for the same reason)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_reported_once_with_its_repetitions() {
        let mut failed = FailedAttempts::new(Duration::from_secs(30));
        let mut note = |why: &str| failed.note(why.to_owned());
        assert_eq!(note("refused").as_deref(), Some("refused; trying again for up to 30s"));
        assert_eq!(note("refused"), None);
        assert_eq!(
            note("lost").as_deref(),
            Some("(1 more attempt failed for the same reason)\nlost; trying again for up to 30s")
        );
        for _ in 0..3 {
            assert_eq!(note("lost"), None);
        }
        let repeated = "(3 more attempts failed for the same reason)";
        assert_eq!(failed.finish().as_deref(), Some(repeated));
        assert_eq!(failed.finish(), None);
        assert!(failed.note("lost".to_owned()).is_some(), "a new series");
    }
}
