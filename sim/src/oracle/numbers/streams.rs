//! The rules of each stream's notices, over all lives of its host: each number once and in order, and
//! the right total.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use echosphere_core::numbers::{Command, Failure, Mode, Notice, StreamSpec, Total};
use echosphere_core::wire::ErrorCode;

use super::Numbers;
use super::draws::PATIENT;
use super::planned::{Ask, Name, Planned, Wanted};
use super::scripts::SimCommand;
use super::sequence::Sequences;
use super::server::LARGEST_FIRST;
use super::words::total_in_words;
use crate::words;

#[derive(Debug)]
pub(super) struct StreamsModel {
    planned: Vec<Planned>,
    mode: Mode,
    progress: Vec<Progress>,
    /// Uuids that are requested with different n: a client with another n than the session's gets unexpected replies.
    mixed: BTreeSet<Name>,
    sequences: Sequences,
    /// Sessions that one stream begins and no other requests.
    own: BTreeSet<Name>,
    /// The server keeps sessions for as long as anybody could need them, and has lost none by ending.
    keeps: bool,
}

/// What one caller received of its stream.
#[derive(Debug, Default)]
struct Progress {
    /// The place of the last number that it received.
    place: Option<u32>,
    /// How many numbers it received.
    told: u16,
    last: Option<u64>,
    over: bool,
}

impl StreamsModel {
    pub(super) fn new(numbers: &Numbers) -> Self {
        let mut counts: BTreeMap<Name, BTreeSet<u16>> = BTreeMap::new();
        for (name, n) in numbers.planned.iter().flat_map(Planned::begins) {
            counts.entry(name).or_default().insert(n);
        }
        counts.retain(|_, counts| counts.len() > 1);
        let mut asked: BTreeMap<Name, usize> = BTreeMap::new();
        for name in numbers.planned.iter().flat_map(Planned::names) {
            *asked.entry(name).or_default() += 1;
        }
        asked.retain(|_, times| *times == 1);
        Self {
            planned: numbers.planned.clone(),
            mode: numbers.server.mode,
            progress: numbers.planned.iter().map(|_| Progress::default()).collect(),
            mixed: counts.into_keys().collect(),
            sequences: Sequences::default(),
            own: asked.into_keys().collect(),
            keeps: numbers.server.session_ttl >= PATIENT,
        }
    }

    /// The server ends, or is about to, and with it all its sessions.
    pub(super) const fn server_ends(&mut self) {
        self.keeps = false;
    }

    /// What a host is to do in its next life: all that has not come to an end, from where it was.
    pub(super) fn commands(&mut self, host: usize) -> Vec<(Duration, SimCommand)> {
        let mut commands = Vec::new();
        for (number, planned) in self.planned.clone().iter().enumerate() {
            match planned {
                Planned::Get { host: of, at, want } if *of == host && !self.progress[number].over => {
                    if let Some(want) = self.left(number, want) {
                        let key = number as u64;
                        commands.push((*at, SimCommand::Get(Command::Get { key, stream: want })));
                    }
                }
                Planned::Script {
                    host: of,
                    at,
                    script,
                    stays,
                } if *of == host => {
                    let said = script.iter().map(|(after, ask)| (*after, self.request(ask)));
                    let script = said.collect();
                    commands.push((*at, SimCommand::Script { script, stays: *stays }));
                }
                Planned::Get { .. } | Planned::Script { .. } => {}
            }
        }
        commands.sort_by_key(|(at, _)| *at);
        commands
    }

    fn left(&mut self, number: usize, want: &Wanted) -> Option<StreamSpec> {
        let progress = &mut self.progress[number];
        match *want {
            Wanted::Plain { n, after } => {
                let left = n.saturating_sub(progress.told);
                progress.over |= left == 0;
                (left > 0).then_some(StreamSpec::Stateless {
                    n: left,
                    after: progress.last.or(after),
                })
            }
            Wanted::Session { name, n, after } => {
                let after = after.map(|place| self.sequences.at(name.uuid(), place));
                Some(StreamSpec::Session {
                    uuid: name.uuid(),
                    n,
                    after: progress.last.or(after),
                })
            }
        }
    }

    fn request(&mut self, ask: &Ask) -> echosphere_core::numbers::Message {
        use echosphere_core::numbers::Message;
        match *ask {
            Ask::Start => Message::Start,
            Ask::Continue(last) => Message::Continue(last),
            Ask::StartSession(name, n) => Message::StartSession { uuid: name.uuid(), n },
            Ask::ContinueSession(name, place, count) => Message::ContinueSession {
                uuid: name.uuid(),
                last: self.sequences.at(name.uuid(), place),
                count,
            },
            Ask::End => Message::End,
        }
    }

    /// A caller received a notice.
    pub(super) fn told(&mut self, notice: &Notice) -> Result<(), String> {
        let (Notice::Number { key, .. }
        | Notice::Retrying { key, .. }
        | Notice::Resumed { key, .. }
        | Notice::Done { key, .. }
        | Notice::Failed { key, .. }) = *notice;
        let number = key as usize;
        let Some(Planned::Get { want, .. }) = self.planned.get(number) else {
            return Err(format!("a notice of stream {key}, which was not requested"));
        };
        let want = want.clone();
        if self.progress[number].over {
            return Err(format!(
                "a notice after the end of stream {key}: {}",
                words::brief(notice)
            ));
        }
        match (&want, notice) {
            (_, Notice::Retrying { .. }) => Ok(()),
            (Wanted::Plain { .. }, _) => self.plain(number, &want, notice),
            (Wanted::Session { .. }, _) => self.session(number, &want, notice),
        }
        .map_err(|rule| format!("stream {key}: {rule}"))
    }

    fn plain(&mut self, at: usize, want: &Wanted, notice: &Notice) -> Result<(), String> {
        let Wanted::Plain { n, after } = *want else {
            return Ok(());
        };
        let progress = &mut self.progress[at];
        match notice {
            Notice::Number { number, .. } => {
                let right = match progress.last.or(after) {
                    Some(last) => last.wrapping_mul(3) == *number,
                    None => (1..=LARGEST_FIRST).contains(number),
                };
                if !right {
                    return Err(match progress.last.or(after) {
                        Some(last) => format!("{number} does not follow {last}"),
                        None => format!("{number} is no first number"),
                    });
                }
                progress.last = Some(*number);
                progress.told += 1;
            }
            Notice::Done { .. } => {
                progress.over = true;
                if progress.told != n {
                    return Err(format!("done after {} numbers of {n}", progress.told));
                }
            }
            Notice::Failed { failure, .. } => {
                progress.over = true;
                let wrong_mode = self.mode == Mode::Stateful;
                let fair = match failure {
                    Failure::Rejected(ErrorCode::WrongMode, _) => wrong_mode,
                    Failure::Rejected(code, _) => is_retried(*code),
                    Failure::Dial(_) | Failure::Closed(_) | Failure::TimedOut | Failure::ShuttingDown => true,
                    Failure::ProtocolViolation | Failure::OtherProtocol(_) | Failure::Replaced => false,
                };
                if !fair {
                    return Err(format!("a stateless stream failed: {}", words::brief(failure)));
                }
            }
            Notice::Resumed { .. } | Notice::Retrying { .. } => {}
        }
        Ok(())
    }

    fn session(&mut self, at: usize, want: &Wanted, notice: &Notice) -> Result<(), String> {
        let Wanted::Session { name, n, after } = *want else {
            return Ok(());
        };
        let pure = !self.mixed.contains(&name);
        let kept = self.keeps && self.own.contains(&name) && after.is_none();
        let first = after.map(|place| self.sequences.at(name.uuid(), place));
        let all = self.sequences.first(name.uuid(), n);
        let progress = &mut self.progress[at];
        match *notice {
            Notice::Resumed { count, .. } if pure => {
                let number = (count as usize).checked_sub(1).and_then(|before| all.get(before));
                let last = progress.last.or(first);
                if number.copied() != last {
                    return Err(format!(
                        "resumed after {count} numbers, where the last one was {}",
                        words::or_none(last)
                    ));
                }
                // Where the number repeats, a caller that has forgotten the count may be told another.
                if !name.repeats() && progress.place.unwrap_or(count) != count {
                    return Err(format!(
                        "resumed after {count} numbers, having {}",
                        words::or_none(progress.place)
                    ));
                }
                progress.place = Some(count);
            }
            Notice::Number { place, number, .. } => {
                if pure && (place != progress.place.unwrap_or(0) + 1 || all.get(place as usize - 1) != Some(&number)) {
                    return Err(format!(
                        "{number} is reported at place {place}, after place {}",
                        progress.place.unwrap_or(0)
                    ));
                }
                progress.place = Some(place);
                progress.last = Some(number);
            }
            Notice::Done { total, .. } => {
                progress.over = true;
                let said = self.sequences.checksum(name.uuid(), n);
                let right = Total::Checksum {
                    value: said,
                    valid: true,
                };
                if pure && (total != right || progress.place != Some(n.into())) {
                    return Err(format!(
                        "done ({}) after {} of {n} numbers",
                        total_in_words(total),
                        progress.place.unwrap_or(0)
                    ));
                }
            }
            Notice::Failed { ref failure, .. } => {
                progress.over = true;
                if pure && matches!(failure, Failure::ProtocolViolation | Failure::OtherProtocol(_)) {
                    return Err("a client found a session invalid".into());
                }
                if kept && matches!(failure, Failure::Rejected(ErrorCode::UnknownSession, _)) {
                    return Err("the session is lost, though it is kept for longer than any loss lasts".into());
                }
            }
            Notice::Resumed { .. } | Notice::Retrying { .. } => {}
        }
        Ok(())
    }

    pub(super) fn unfinished(&self) -> Option<String> {
        let open = |(number, planned): &(usize, &Planned)| {
            matches!(planned, Planned::Get { .. }) && !self.progress[*number].over
        };
        let mut open = self.planned.iter().enumerate().filter(open);
        let (first, _) = open.next()?;
        let count = open.count() + 1;
        Some(format!("{count} streams have not finished, among them number {first}"))
    }
}

/// Whether a client of numbers retries after this error: PROTOCOL.md, Errors.
pub(super) const fn is_retried(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Busy
            | ErrorCode::TooManySessions
            | ErrorCode::TakenOver
            | ErrorCode::ShuttingDown
            | ErrorCode::Full
            | ErrorCode::Truncated
            | ErrorCode::HandshakeTimeout
            | ErrorCode::IdleTimeout
    )
}
