use super::*;

const CONFIG: Config = Config {
    connections: 2,
    window: 3,
    size: 20,
    rate: None,
    messages: None,
    run: 7,
};

/// Connections that each send one message at a time, all together 10 per second.
const fn at_ten_a_second(connections: u32) -> Config {
    Config {
        connections,
        window: 1,
        rate: Some(10.0),
        ..CONFIG
    }
}

struct Fixture {
    clients: LongLivedClients,
    out: Out,
}

impl Fixture {
    /// With all connections open.
    fn open(config: Config) -> (Self, Vec<ConnId>) {
        let mut fixture = Self {
            clients: LongLivedClients::new(config).unwrap(),
            out: Actions::new(),
        };
        let dials = fixture.at(0, Event::Command(Command::Open));
        assert_eq!(dials.len(), config.connections as usize);
        let ids = (0..config.connections).map(|slot| ConnId { slot, generation: 0 });
        let ids: Vec<ConnId> = ids.collect();
        let mut last = Vec::new();
        for (id, dial) in ids.iter().zip(dials) {
            let Action::Dial(token, _) = dial else {
                panic!("{dial:?} instead of a dial")
            };
            let opened = echosphere_core::Opened {
                dial: Some(token),
                text: false,
                principal: None,
            };
            last = fixture.at(0, Event::Opened(*id, opened));
        }
        assert_eq!(last, [Action::Notify(Notice::Open)]);
        (fixture, ids)
    }

    fn at(&mut self, millis: u64, event: Event<Message, Command>) -> Vec<Action<Message, Notice>> {
        let now = Time::ZERO + Duration::from_millis(millis);
        self.clients.handle(now, event, &mut self.out);
        self.out.drain().collect()
    }

    fn latencies(&self) -> Vec<u64> {
        let recorded = self.clients.counts.round_trips.recorded();
        recorded.into_iter().map(|(nanos, _)| nanos / 1_000_000).collect()
    }
}

/// What was sent, with its connection.
fn sent(actions: &[Action<Message, Notice>]) -> Vec<(ConnId, Bytes)> {
    let x = |action: &Action<Message, Notice>| match action {
        Action::Send(id, Message::Message(x)) => Some((*id, x.clone())),
        _ => None,
    };
    actions.iter().filter_map(x).collect()
}

fn ok((id, x): (ConnId, Bytes)) -> Event<Message, Command> {
    Event::Received(id, Message::Ok(x))
}

#[test]
fn as_many_as_the_window_are_under_way_until_the_stop() {
    let (mut fixture, _) = Fixture::open(CONFIG);
    let mut under_way = sent(&fixture.at(0, Event::Command(Command::Begin)));
    assert_eq!(under_way.len(), 6);
    for _ in 0..20 {
        let answered = under_way.remove(0);
        let next = sent(&fixture.at(10, ok(answered.clone())));
        assert_eq!(next.len(), 1);
        assert_eq!(next[0].0, answered.0);
        assert!(!under_way.contains(&next[0]), "each is one of its own");
        under_way.extend(next);
    }
    assert!(fixture.at(11, Event::Command(Command::Stop)).is_empty());
    let last = under_way.pop().unwrap();
    for answered in under_way {
        assert!(fixture.at(12, ok(answered)).is_empty());
    }
    assert_eq!(fixture.at(12, ok(last)), [Action::Notify(Notice::Done)]);
    assert_eq!(fixture.clients.counts.acknowledged, 26);
}

#[test]
fn each_sends_once_when_it_is_to_send_once() {
    let config = Config {
        window: 1,
        messages: Some(1),
        ..CONFIG
    };
    let (mut fixture, ids) = Fixture::open(config);
    let under_way = sent(&fixture.at(0, Event::Command(Command::Begin)));
    assert_eq!(under_way.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    assert!(fixture.at(1, ok(under_way[0].clone())).is_empty());
    assert_eq!(fixture.at(1, ok(under_way[1].clone())), [Action::Notify(Notice::Done)]);
    let closed = fixture.at(2, Event::Command(Command::Close));
    let expected = ids.into_iter().map(|id| Action::Close(id, CloseReason::Finished));
    assert_eq!(closed, expected.collect::<Vec<_>>());
    assert!(fixture.clients.is_zero());
}

#[test]
fn at_a_rate_a_message_counts_from_its_moment_and_not_from_when_it_could_be_sent() {
    let config = at_ten_a_second(1);
    let (mut fixture, _) = Fixture::open(config);
    fixture.at(0, Event::Command(Command::Begin));
    let first = sent(&fixture.at(0, Event::Deadline)).remove(0);
    assert_eq!(
        fixture.clients.next_deadline(),
        Some(Time::ZERO + Duration::from_millis(100))
    );
    assert!(fixture.at(100, Event::Deadline).is_empty(), "the window is full");
    let second = sent(&fixture.at(150, ok(first))).remove(0);
    assert!(
        fixture.at(170, ok(second)).is_empty(),
        "the next one's moment has not come"
    );
    assert_eq!(fixture.latencies(), [70, 150], "100 to 170, and 0 to 150");
    assert_eq!((fixture.clients.counts.sent, fixture.clients.counts.late), (2, 1));
}

#[test]
fn what_was_late_by_no_more_than_the_timer_counts_from_when_it_was_sent() {
    let config = at_ten_a_second(1);
    let (mut fixture, _) = Fixture::open(config);
    fixture.at(0, Event::Command(Command::Begin));
    let first = sent(&fixture.at(2, Event::Deadline)).remove(0);
    fixture.at(7, ok(first));
    assert_eq!((fixture.latencies(), fixture.clients.counts.late), (vec![5], 0));
}

#[test]
fn what_was_unanswered_on_a_closed_connection_is_not_waited_for() {
    let (mut fixture, ids) = Fixture::open(CONFIG);
    fixture.at(0, Event::Command(Command::Begin));
    fixture.at(1, Event::Command(Command::Stop));
    assert!(fixture.at(2, Event::Closed(ids[0], CloseReason::Reset)).is_empty());
    let done = fixture.at(2, Event::Closed(ids[1], CloseReason::Reset));
    assert_eq!(done, [Action::Notify(Notice::Done)]);
    assert_eq!(
        fixture.clients.counts.broken["it broke (reset by the peer, or a network error)"],
        2
    );
    assert_eq!(
        (fixture.clients.counts.sent, fixture.clients.counts.acknowledged),
        (6, 0)
    );
}

#[test]
fn an_ok_counts_once_and_only_on_its_own_connection() {
    let (mut fixture, ids) = Fixture::open(CONFIG);
    let (id, x) = sent(&fixture.at(0, Event::Command(Command::Begin))).remove(0);
    let other = ids[1];
    assert_ne!(id, other);
    assert!(fixture.at(1, ok((other, x.clone()))).is_empty());
    assert_eq!(sent(&fixture.at(1, ok((id, x.clone())))).len(), 1);
    assert!(fixture.at(1, ok((id, x))).is_empty());
    assert_eq!(fixture.clients.counts.broken["ok for an unknown message"], 2);
    assert_eq!(fixture.clients.counts.acknowledged, 1);
}

#[test]
fn what_is_due_at_the_stop_is_sent_still() {
    let config = at_ten_a_second(1);
    let (mut fixture, _) = Fixture::open(config);
    fixture.at(0, Event::Command(Command::Begin));
    let first = sent(&fixture.at(0, Event::Deadline)).remove(0);
    fixture.at(100, Event::Deadline);
    assert!(fixture.at(250, Event::Command(Command::Stop)).is_empty());
    assert_eq!(fixture.clients.next_deadline(), None, "nothing more becomes due");
    let second = sent(&fixture.at(1000, ok(first))).remove(0);
    let third = sent(&fixture.at(1100, ok(second))).remove(0);
    assert_eq!(fixture.at(1200, ok(third)), [Action::Notify(Notice::Done)]);
    assert_eq!(fixture.latencies(), [1000], "each waited for a second");
    fixture.at(1300, Event::Command(Command::Close));
    assert_eq!((fixture.clients.counts.sent, fixture.clients.counts.never_sent), (3, 0));
}

#[test]
fn what_was_due_and_never_sent_is_counted_and_has_waited_until_the_end() {
    let config = at_ten_a_second(2);
    let (mut fixture, ids) = Fixture::open(config);
    fixture.at(0, Event::Command(Command::Begin));
    fixture.at(0, Event::Deadline);
    fixture.at(100, Event::Deadline);
    // Ten were due by now, and the connections stand still; one breaks.
    fixture.at(950, Event::Command(Command::Stop));
    fixture.at(960, Event::Closed(ids[0], CloseReason::Reset));
    fixture.at(1000, Event::Command(Command::Close));
    let counts = &fixture.clients.counts;
    assert_eq!((counts.sent, counts.never_sent), (2, 8));
    assert_eq!(fixture.latencies(), [100, 200, 300, 400, 500, 600, 700, 800, 900]);
}

#[test]
fn a_rate_that_is_far_too_high_takes_no_memory_and_one_far_too_low_never_comes_due() {
    let at = |rate| Config {
        connections: 1,
        window: 1,
        rate: Some(rate),
        ..CONFIG
    };
    let (mut fixture, _) = Fixture::open(at(1e12));
    fixture.at(0, Event::Command(Command::Begin));
    assert_eq!(sent(&fixture.at(3000, Event::Deadline)).len(), 1);
    fixture.at(3000, Event::Command(Command::Close));
    assert_eq!(fixture.clients.counts.never_sent, 3_000_000_000_000);
    assert_eq!(fixture.latencies().len() as u64, STEPS + 1);

    let (mut fixture, _) = Fixture::open(at(1e-300));
    fixture.at(0, Event::Command(Command::Begin));
    assert_eq!(sent(&fixture.at(0, Event::Deadline)).len(), 1);
    assert_eq!(fixture.clients.next_deadline(), Some(Time::FAR));
}

#[test]
fn a_run_whose_connections_are_all_gone_is_over() {
    let (mut fixture, ids) = Fixture::open(CONFIG);
    fixture.at(0, Event::Command(Command::Begin));
    assert!(fixture.at(1, Event::Closed(ids[0], CloseReason::Reset)).is_empty());
    let gone = fixture.at(1, Event::Closed(ids[1], CloseReason::Reset));
    assert_eq!(gone, [Action::Notify(Notice::Gone)]);
}

#[test]
fn a_message_of_another_client_is_acknowledged_and_counted() {
    let (mut fixture, ids) = Fixture::open(CONFIG);
    let x = Bytes::from_static(b"of another");
    for answered in 1..=3 {
        let event = Event::Received(ids[0], Message::Message(x.clone()));
        assert_eq!(fixture.at(1, event), [Action::Send(ids[0], Message::Ok(x.clone()))]);
        assert_eq!(fixture.clients.counts().answered, answered);
    }
}

#[test]
fn errors_and_failed_attempts_are_counted() {
    let (mut fixture, ids) = Fixture::open(CONFIG);
    let error = Message::Error(echosphere_core::wire::ErrorCode::Busy, Bytes::new());
    for _ in 0..2 {
        fixture.at(1, Event::Received(ids[0], error.clone()));
    }
    assert_eq!(fixture.clients.counts().broken["error busy"], 2);

    let mut clients = LongLivedClients::new(CONFIG).unwrap();
    let mut out = Actions::new();
    clients.handle(Time::ZERO, Event::Command(Command::Open), &mut out);
    let dials: Vec<_> = out.drain().collect();
    for dial in dials {
        assert!(!clients.is_zero());
        let Action::Dial(token, _) = dial else {
            panic!("{dial:?} instead of a dial")
        };
        let failed = Event::DialFailed(token, echosphere_core::DialError::Refused);
        clients.handle(Time::ZERO, failed, &mut out);
    }
    assert_eq!(out.drain().collect::<Vec<_>>(), [Action::Notify(Notice::Open)]);
    assert_eq!((clients.counts().dials_failed, clients.counts().opened), (2, 0));
    assert!(clients.is_zero());
}

#[test]
fn of_several_connections_one_that_breaks_is_not_waited_for_and_the_others_are() {
    let (mut fixture, ids) = Fixture::open(CONFIG);
    let under_way = sent(&fixture.at(0, Event::Command(Command::Begin)));
    fixture.at(1, Event::Command(Command::Stop));
    assert!(fixture.at(2, Event::Closed(ids[0], CloseReason::Reset)).is_empty());
    let mut others: Vec<_> = under_way.into_iter().filter(|(id, _)| *id == ids[1]).collect();
    let last = others.pop().unwrap();
    assert_eq!(others.len(), 2);
    for answered in others {
        assert!(fixture.at(3, ok(answered)).is_empty());
    }
    assert_eq!(fixture.at(4, ok(last)), [Action::Notify(Notice::Done)]);
}

#[test]
fn each_message_that_was_due_has_one_latency() {
    let (mut fixture, _) = Fixture::open(at_ten_a_second(1));
    fixture.at(0, Event::Command(Command::Begin));
    fixture.at(0, Event::Deadline);
    // The server answers nothing, while a hundred become due.
    fixture.at(9_950, Event::Command(Command::Stop));
    fixture.at(10_000, Event::Command(Command::Close));
    let counts = &fixture.clients.counts;
    assert_eq!(
        (counts.sent, counts.never_sent, counts.round_trips.count()),
        (1, 99, 100)
    );
}

#[test]
fn attempts_under_way_are_abandoned_at_the_beginning_and_at_the_end() {
    for command in [Command::Begin, Command::Close] {
        let mut fixture = Fixture {
            clients: LongLivedClients::new(CONFIG).unwrap(),
            out: Actions::new(),
        };
        let dials = fixture.at(0, Event::Command(Command::Open));
        let actions = fixture.at(1, Event::Command(command));
        for dial in dials {
            let Action::Dial(token, _) = dial else {
                panic!("{dial:?} instead of a dial")
            };
            assert!(actions.contains(&Action::AbandonDial(token)), "{actions:?}");
        }
    }
}
