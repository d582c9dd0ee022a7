//! What clients sent in each session, and how much of it was received.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use echosphere_core::chat::Message;
use echosphere_core::{Action, ConnId, Time};

use super::machines::ANSWER;
use super::typed;
use super::workload::read;
use crate::words;

/// What a part counts beside its bytes.
const AROUND: usize = 32;

/// All sessions that clients began, in all their lives.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: Vec<Session>,
    of_key: BTreeMap<u64, (usize, usize)>,
    of_number: BTreeMap<u64, usize>,
    /// Messages that were reported as never sent.
    never: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Session {
    /// What the client sent, in order.
    pub(super) said: Vec<(u64, Bytes)>,
    /// How many of these the server has received, and how many its caller has read.
    pub(super) heard: usize,
    pub(super) read: usize,
    /// How many answers to these the client has received, and how many its caller has read.
    pub(super) answers: usize,
    pub(super) answers_read: usize,
    /// How many of the client's messages, and of the server's, were reported as acknowledged.
    pub(super) delivered: usize,
    pub(super) answers_delivered: usize,
}

impl Sessions {
    pub(super) fn begin(&mut self) -> usize {
        self.all.push(Session::default());
        self.all.len() - 1
    }

    pub(super) fn number(&mut self, session: usize, number: u64) -> Result<(), String> {
        match self.of_number.insert(number, session) {
            Some(other) if other != session => Err(format!("two sessions have the number {number:016x}")),
            _ => Ok(()),
        }
    }

    pub(super) fn get(&self, session: usize) -> &Session {
        &self.all[session]
    }

    pub(super) fn get_mut(&mut self, session: usize) -> &mut Session {
        &mut self.all[session]
    }

    pub(super) fn say(&mut self, session: usize, key: u64, body: &Bytes) {
        let said = &mut self.all[session].said;
        self.of_key.insert(key, (session, said.len()));
        said.push((key, body.clone()));
    }

    /// The server receives a message: it must be the next of its session. Returns which session that is.
    pub(super) fn heard(&mut self, body: &Bytes) -> Result<usize, String> {
        let key = body.first_chunk().map(|key| read(*key));
        let Some((session, index)) = key.and_then(|key| self.of_key.get(&key).copied()) else {
            return Err("the server receives a message that no client sent".into());
        };
        let (key, said) = self.all[session].said[index].clone();
        if said != *body {
            return Err(format!("message {key} is received with another body than was sent"));
        }
        if self.never.contains(&key) {
            return Err(format!("message {key} is received, though it was reported as not sent"));
        }
        let entry = &mut self.all[session];
        if entry.heard != index {
            let (next, _) = entry.said[entry.heard.min(entry.said.len() - 1)];
            return Err(format!(
                "message {key} is received, where {next} comes next or all were received"
            ));
        }
        entry.heard += 1;
        Ok(session)
    }

    /// Whether this is what a stream that ended too soon leaves of what comes next in this session, or in any that nothing was
    /// received of.
    pub(super) fn is_cut(&self, session: Option<usize>, line: &[u8]) -> bool {
        let next = |session: &Session| session.said.get(session.heard).map(|(_, body)| body.clone());
        match session {
            Some(session) => typed::is_cut(line, next(&self.all[session]).as_ref()),
            None => self
                .all
                .iter()
                .any(|session| session.heard == 0 && typed::is_cut(line, next(session).as_ref())),
        }
    }

    /// The client receives an answer: it must be the next of its session.
    pub(super) fn answered(&mut self, session: usize, body: &Bytes) -> Result<(), String> {
        let entry = &mut self.all[session];
        let (_, said) = entry.said[..entry.heard]
            .get(entry.answers)
            .ok_or("an answer to a message that the server has not received")?;
        if body.strip_prefix(ANSWER) != Some(&said[..]) {
            return Err("an answer that is not the next one".into());
        }
        entry.answers += 1;
        Ok(())
    }

    pub(super) fn undelivered(&mut self, session: usize, key: u64, sent: bool) -> Result<(), String> {
        let (of, index) = self
            .of_key
            .get(&key)
            .copied()
            .ok_or("a message is reported as lost that was not sent")?;
        if of != session || (!sent && self.all[session].heard > index) {
            return Err(format!("message {key} is reported as not sent, and was sent"));
        }
        if !sent {
            self.never.insert(key);
        }
        Ok(())
    }
}

/// What one side sends on its present connection.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// The id that comes next, and whether a part of that message was sent.
    next: u64,
    in_parts: bool,
    /// Parts that are not answered: their bytes, and what each counts beside them.
    unanswered: VecDeque<usize>,
    /// When each message was begun.
    began: BTreeMap<u64, Time>,
}

impl Sending {
    /// A connection on which the peer reported all messages up to this one as received.
    pub(super) fn after(received: u64) -> Self {
        Self {
            next: received + 1,
            ..Self::default()
        }
    }

    /// The peer has answered a part.
    pub(super) fn answered(&mut self) {
        self.unanswered.pop_front();
    }

    /// Notes the parts that one step sends: all of a message in order, then of the next; and no more while `window` bytes
    /// are not answered.
    pub(super) fn note<N>(&mut self, now: Time, window: usize, actions: &[Action<Message, N>]) -> Result<(), String> {
        for action in actions {
            let Action::Send(_, Message::Part { id, body, last }) = action else {
                continue;
            };
            if *id != self.next {
                return Err(format!("message {id} is sent, where {} comes next", self.next));
            }
            let unanswered: usize = self.unanswered.iter().sum();
            if unanswered >= window && !self.unanswered.is_empty() {
                return Err(format!("more is sent while {unanswered} bytes are not answered"));
            }
            self.unanswered.push_back(body.len() + AROUND);
            if !self.in_parts {
                self.began.insert(*id, now);
            }
            self.in_parts = !last;
            self.next += u64::from(*last);
        }
        Ok(())
    }

    /// Checks the reported round trip of this message.
    pub(super) fn check(&mut self, now: Time, id: u64, took: std::time::Duration) -> Result<(), String> {
        let began = self
            .began
            .remove(&id)
            .ok_or("a round trip of a message that was not sent")?;
        if took != now.since(began) {
            return Err(format!(
                "a round trip is reported as {took:?}, and took {:?}",
                now.since(began)
            ));
        }
        Ok(())
    }
}

/// The parts that came to one side on its present connection and are not answered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Answers(VecDeque<(u64, bool)>);

impl Answers {
    /// Whether some part is not answered.
    pub(super) fn are_withheld(&self) -> bool {
        !self.0.is_empty()
    }

    /// A message has come.
    pub(super) fn came(&mut self, message: &Message) {
        if let Message::Part { id, last, .. } = *message {
            self.0.push_back((id, last));
        }
    }

    /// Checks what one step answers, after which all up to the message `read` are read: each part in its turn, at once, but for
    /// the last of a message, which is answered once the message is read.
    pub(super) fn check<N>(&mut self, conn: ConnId, read: u64, actions: &[Action<Message, N>]) -> Result<(), String> {
        let answers = actions.iter().filter_map(|action| match action {
            Action::Send(to, Message::Taken { id, last }) if *to == conn => Some((*id, *last)),
            _ => None,
        });
        let answers: Vec<_> = answers.collect();
        let due = self.0.iter().take_while(|(id, last)| !last || *id <= read).count();
        let due: Vec<_> = self.0.drain(..due).collect();
        if answers == due {
            Ok(())
        } else {
            Err(format!(
                "on {conn:?} these parts are answered: {}; should be: {}",
                parts(&answers),
                parts(&due)
            ))
        }
    }
}

/// Parts, each as its message, and whether it is the last.
fn parts(parts: &[(u64, bool)]) -> String {
    words::list(parts.iter().map(|(id, last)| {
        let which = if *last { "the last" } else { "a" };
        format!("{which} part of message {id}")
    }))
}
