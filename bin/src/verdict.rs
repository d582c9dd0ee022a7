//! The end of every load's report: the server's state, what is missing, and whether the load passed.

use std::process::ExitCode;

use crate::server::State;
use crate::signals::INTERRUPTED;
use crate::values::counted;

/// The last lines of a report. `missing` has a sentence for each broken promise, `more_missing` counts those left out;
/// `promise` is what holds if there are none.
pub(crate) fn to_text(server: Option<&State>, missing: &[String], more_missing: u64, promise: &str) -> String {
    let state = server.map_or_else(
        || "server of --to: its state is not in this report".to_owned(),
        State::summary,
    );
    let missing_lines = missing.iter().map(|missing| format!("missing: {missing}\n"));
    let mut text: String = [state, "\n".to_owned()].into_iter().chain(missing_lines).collect();
    if more_missing > 0 {
        text += &format!("missing: {} are left out here\n", counted(more_missing, "more problem"));
    }
    if missing.is_empty() {
        text += &format!("PASSED: {promise}\n");
    } else {
        text += "FAILED\n";
    }
    text
}

/// The exit code of a load.
pub(crate) fn exit_code(interrupted: bool, passed: bool) -> ExitCode {
    match (interrupted, passed) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, passed) => ExitCode::from(u8::from(!passed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_ends_with_what_is_missing_and_the_verdict() {
        assert_eq!(
            to_text(None, &[], 0, "all is well"),
            "server of --to: its state is not in this report\nPASSED: all is well\n"
        );
        let server = State {
            zero: true,
            connections: 0,
            waiting: None,
            timers: 0,
            counters: [].into(),
        };
        assert_eq!(
            to_text(Some(&server), &["an ok".to_owned()], 2, "all is well"),
            "server at zero: 0 connections, 0 timers\nmissing: an ok\nmissing: 2 more problems are left out here\nFAILED\n"
        );
    }

    #[test]
    fn an_interruption_decides_the_exit_code_before_the_verdict_does() {
        let codes = [(false, true), (false, false), (true, true), (true, false)];
        let codes = codes.map(|(interrupted, passed)| exit_code(interrupted, passed));
        assert_eq!(codes, [0, 1, 130, 130].map(ExitCode::from));
    }
}
