//! When a chat client connects, retries and gives up.

use echosphere_core::chat::{ClientConfig, Command, Message, Notice};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, ConnId, DialToken, Event, Machine};

use super::machines::SimClient;
use crate::marks::{Mark, Marks};
use crate::observe::{ActionOf, EventOf};
use crate::oracle::attempts::{AttemptRule, Attempts};
use crate::words;

/// After these another connection may do better.
const OF_THE_CONNECTION: [ErrorCode; 4] = [
    ErrorCode::HandshakeTimeout,
    ErrorCode::IdleTimeout,
    ErrorCode::Truncated,
    ErrorCode::Full,
];

/// One host's client, in one of its lives.
#[derive(Debug)]
pub(super) struct Connecting {
    config: ClientConfig,
    session: Option<Session>,
    draining: bool,
    /// Some attempt has connected.
    connected: bool,
}

#[derive(Debug)]
struct Session {
    stage: Stage,
    /// When the stage is over at the latest.
    due: Option<echosphere_core::Time>,
    attempts: Attempts,
    /// The server's last words were not about the connection alone.
    sent_away: bool,
    /// The server has welcomed it.
    welcomed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pause,
    Dialling(DialToken),
    Greeting(ConnId),
    Open(ConnId),
}

impl Stage {
    fn is_on(self, conn: ConnId) -> bool {
        [Self::Greeting(conn), Self::Open(conn)].contains(&self)
    }
}

impl Connecting {
    pub(super) const fn new(config: ClientConfig) -> Self {
        Self {
            config,
            session: None,
            draining: false,
            connected: false,
        }
    }

    /// Checks what an event leads to, as far as connections go.
    pub(super) fn step(
        &mut self,
        marks: &Marks,
        client: &SimClient,
        event: &EventOf<SimClient>,
        actions: &[ActionOf<SimClient>],
    ) -> Result<(), String> {
        let dials: Vec<DialToken> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Dial(token, _) => Some(*token),
                _ => None,
            })
            .collect();
        let ended = actions
            .iter()
            .any(|action| matches!(action, Action::Notify(Notice::Ended { .. })));
        let pause = actions.iter().find_map(|action| match action {
            Action::Notify(Notice::Retrying { after, .. }) => Some(*after),
            _ => None,
        });
        let now = client.now;
        let mut dial_expected = false;
        // Whether something has failed, and whether that is because an attempt did not connect.
        let mut failed = None;
        if let (Event::Command(Command::Connect), None) = (event, &self.session)
            && !self.draining
        {
            let rule = AttemptRule {
                steps: self.config.backoff,
                attempt: self.config.welcome_timeout,
                all: Some(self.config.connect_timeout),
                insists: self.config.retry_refused,
            };
            dial_expected = true;
            self.session = Some(Session {
                stage: Stage::Pause,
                due: None,
                attempts: Attempts::begins(rule, now),
                sent_away: false,
                welcomed: false,
            });
        }
        self.draining |= matches!(event, Event::Drain);
        let Some(session) = &mut self.session else {
            return compare(client, None, &dials, pause.is_some());
        };
        match event {
            Event::Opened(conn, opened) if opened.dial.map(Stage::Dialling) == Some(session.stage) => {
                session.stage = Stage::Greeting(*conn);
                self.connected = true;
                session.due = Some(session.attempts.until(now));
                if client.types {
                    session.welcomed(*conn);
                }
            }
            Event::Received(conn, Message::Welcome { .. }) if session.stage == Stage::Greeting(*conn) => {
                session.welcomed(*conn);
            }
            Event::Received(conn, Message::Error(code, _)) if session.stage.is_on(*conn) => {
                if *code == ErrorCode::Full {
                    marks.hit(Mark::ToldFull);
                }
                let ends = *code == ErrorCode::ShuttingDown && !session.welcomed;
                // It has no session with another client: half-received messages hold too much.
                let too_much = *code == ErrorCode::Busy && matches!(session.stage, Stage::Open(_));
                session.sent_away = !ends && !too_much && !OF_THE_CONNECTION.contains(code);
            }
            Event::DialFailed(token, _) if session.stage == Stage::Dialling(*token) => failed = Some(true),
            Event::Closed(conn, _) if session.stage.is_on(*conn) => failed = Some(false),
            Event::Deadline if session.due.is_some_and(|due| due <= now) => {
                dial_expected = session.stage == Stage::Pause;
                failed = (!dial_expected).then_some(false);
            }
            _ => {}
        }
        if let Some(refused) = failed {
            let connected = matches!(session.stage, Stage::Greeting(_) | Stage::Open(_));
            let hopeless = connected && (!self.config.reconnect || self.draining || session.sent_away);
            session.stage = Stage::Pause;
            session.due = None;
            session.sent_away = false;
            session.attempts.fails(now, refused && !self.connected);
            match pause {
                Some(_) if hopeless => return Err("another attempt, though the failure is final".to_owned()),
                Some(after) => session.due = Some(session.attempts.pauses(now, after)?),
                None if !hopeless => {
                    session.attempts.gives_up(now)?;
                    marks.hit(Mark::ChatGaveUp);
                }
                None => {}
            }
            // What the caller reads after that may have been all that was left.
            let left = ended && !client.reads.is_empty();
            if pause.is_some() == ended && !left {
                return Err(format!(
                    "an attempt failed; the pause is {pause:?}, and the session has ended: {ended}"
                ));
            }
        } else if pause.is_some() {
            return Err("a pause without a failure".to_owned());
        }
        if dial_expected && !ended {
            let [token] = dials[..] else {
                return Err(format!(
                    "an attempt to connect should begin, and there are {}",
                    dials.len()
                ));
            };
            session.stage = Stage::Dialling(token);
            session.due = Some(session.attempts.until(now));
        }
        let due = session.due.filter(|_| !ended);
        if ended {
            self.session = None;
        }
        let dials = if dial_expected { &[] } else { &dials[..] };
        compare(client, due, dials, false)
    }
}

impl Session {
    fn welcomed(&mut self, conn: ConnId) {
        self.stage = Stage::Open(conn);
        self.welcomed = true;
        self.due = None;
        self.attempts.proves();
    }
}

fn compare(
    client: &SimClient,
    due: Option<echosphere_core::Time>,
    dials: &[DialToken],
    pauses: bool,
) -> Result<(), String> {
    if !dials.is_empty() || pauses {
        return Err("an attempt to connect without a reason".to_owned());
    }
    let is = client.inner.next_deadline();
    if is != due {
        return Err(format!(
            "the client's next deadline is {}, should be {}",
            words::moment(is),
            words::moment(due)
        ));
    }
    Ok(())
}
