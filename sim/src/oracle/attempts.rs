//! When a client retries and when it gives up, from section "How a client connects" of
//! `docs/PROTOCOL.md`.

use std::time::Duration;

use echosphere_core::Time;
use echosphere_core::random::Backoff;

/// What begins after the time for attempts is over, since its host was stopped until then, has the shortest time there is.
/// Whatever has arrived by then counts.
const SHORTEST: Duration = Duration::from_nanos(1);
/// Pauses are rounded to whole nanoseconds, and so are their halves.
const ROUNDED: Duration = Duration::from_nanos(2);

/// What all attempts of a client go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptRule {
    /// The first and the longest step.
    pub(super) steps: Backoff,
    /// How long one attempt may take.
    pub(super) attempt: Duration,
    /// How long all may take; `None`: for ever.
    pub(super) all: Option<Duration>,
    /// A refusal before any attempt has connected is no reason to give up.
    pub(super) insists: bool,
}

/// A client's attempts to connect.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    rule: AttemptRule,
    /// The first attempt, or the loss of the last connection that had proven its use.
    since: Time,
    failures: u32,
    proven: bool,
    /// The failure that was last is a refusal before any attempt has connected.
    refused: bool,
}

impl Attempts {
    pub(super) const fn begins(rule: AttemptRule, now: Time) -> Self {
        Self {
            rule,
            since: now,
            failures: 0,
            proven: false,
            refused: false,
        }
    }

    /// The connection has proven its use.
    pub(super) const fn proves(&mut self) {
        self.proven = true;
    }

    /// Failures since connections proved their use last.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) const fn is_proven(&self) -> bool {
        self.proven
    }

    /// The deadline of an attempt, or of a wait for an answer, that begins at `now`.
    pub(super) fn until(&self, now: Time) -> Time {
        (now + self.rule.attempt).min(self.last().max(now + SHORTEST))
    }

    /// The deadline of all attempts together.
    pub(super) fn last(&self) -> Time {
        self.rule.all.map_or(Time::FAR, |all| self.since + all)
    }

    /// An attempt, or the connection, has failed. `refused`: it did not connect, and none on its host has before.
    pub(super) const fn fails(&mut self, now: Time, refused: bool) {
        if self.proven {
            self.proven = false;
            self.since = now;
            self.failures = 0;
        }
        self.refused = refused;
    }

    fn step(&self) -> Duration {
        let doubled = self
            .rule
            .steps
            .first
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        doubled.min(self.rule.steps.max)
    }

    /// Checks that it may try again after this pause. Returns when that is.
    pub(super) fn pauses(&mut self, now: Time, after: Duration) -> Result<Time, String> {
        let step = self.step();
        if after + ROUNDED < step / 2 || after > step {
            return Err(format!("a pause of {after:?} is outside its step of {step:?}"));
        }
        if self.refused && !self.rule.insists {
            return Err("another attempt after a refusal, though no attempt has connected yet".to_owned());
        }
        if now + after > self.last() {
            let since = now.since(self.since) + after;
            return Err(format!("another attempt {since:?} after the first, which is too late"));
        }
        self.failures += 1;
        Ok(now + after)
    }

    /// Checks that it may give up.
    pub(super) fn gives_up(&self, now: Time) -> Result<(), String> {
        let refused = self.refused && !self.rule.insists;
        if !refused && now + self.step() <= self.last() {
            return Err(format!(
                "gives up {:?} after the first attempt, which is too early",
                now.since(self.since)
            ));
        }
        Ok(())
    }
}
