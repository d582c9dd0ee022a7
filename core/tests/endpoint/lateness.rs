//! Time-outs that are noticed late, because the process was stopped.

use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::MAX_MESSAGE;

use crate::fixture::{Fixture, frame};

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);

impl Fixture {
    /// The process is stopped for this time; then time-outs are checked.
    fn sleep(&mut self, time: Duration) {
        self.now = self.now + time;
        self.endpoint.expire(self.now);
    }
}

#[test]
fn deadlines_except_keepalives_must_settle() {
    let must = |fixture: &Fixture, after: Duration| {
        assert!(!fixture.endpoint.must_settle(fixture.now + (after - NANOSECOND)));
        assert!(fixture.endpoint.must_settle(fixture.now + after));
    };
    let mut fixture = Fixture::new();
    assert!(
        !fixture.endpoint.must_settle(fixture.now + 1000 * SECOND),
        "nothing is due"
    );
    let peer = fixture.accept();
    must(&fixture, 10 * SECOND);
    fixture.feed(peer, &[0; 4]);
    must(&fixture, 60 * SECOND);
    fixture.fin(peer);
    must(&fixture, 5 * SECOND);

    let config = ConnectionConfig {
        max_backlog: 10,
        ..ConnectionConfig::default()
    };
    let mut fixture = Fixture::with(config, MAX_MESSAGE);
    let peer = fixture.accept_length();
    fixture.feed(peer, &frame("message x"));
    must(&fixture, 5 * SECOND);
}

#[test]
fn bytes_that_are_read_late_count() {
    let mut fixture = Fixture::new();
    let (peer, silent, new) = (fixture.accept_length(), fixture.accept_length(), fixture.accept());
    fixture.now = fixture.now + 1000 * SECOND;
    fixture.feed(peer, &[0]);
    fixture.feed(new, &[0; 4]);
    fixture.sleep(Duration::ZERO);
    assert!(fixture.read_text(silent).contains("error idle-timeout "));
    assert_eq!(fixture.live(), 2);
    assert_eq!(fixture.endpoint.counters().handshake_timeouts, 0);
}

#[test]
fn the_idle_timeout_counts_from_the_latest_possible_arrival() {
    let mut fixture = Fixture::new();
    let (peer, silent) = (fixture.accept_length(), fixture.accept_length());
    let read = fixture.now + 100 * SECOND;
    for id in [peer, silent] {
        fixture.feed(id, &[0; 4]);
    }
    fixture.endpoint.note_received(read, peer);
    // Received before, but noted after.
    fixture.feed(peer, &[0; 4]);
    fixture.now = read + (60 * SECOND - NANOSECOND);
    fixture.sleep(Duration::ZERO);
    assert_eq!(fixture.live(), 1);
    fixture.sleep(NANOSECOND);
    assert_eq!(fixture.live(), 0);
}

#[test]
fn a_backlog_timeout_that_is_noticed_late_starts_over() {
    let config = ConnectionConfig {
        max_backlog: 10,
        ..ConnectionConfig::default()
    };
    let time = config.backlog_timeout;
    for (late, dropped) in [(time / 10, true), (time / 10 + NANOSECOND, false)] {
        let mut fixture = Fixture::with(config, MAX_MESSAGE);
        let peer = fixture.accept_length();
        fixture.feed(peer, &frame("message x"));
        fixture.sleep(time + late);
        assert_eq!(fixture.released().is_empty(), !dropped);
        if !dropped {
            fixture.pass(time - NANOSECOND);
            assert_eq!(fixture.released(), []);
            fixture.pass(NANOSECOND);
            assert_eq!(fixture.released(), [peer]);
        }
        assert_eq!(fixture.endpoint.counters().slow_consumers, 1);
        assert!(fixture.endpoint.is_zero());
    }
}

#[test]
fn a_linger_time_that_is_noticed_late_starts_over() {
    let time = ConnectionConfig::default().linger;
    for (late, dropped) in [(time / 10, true), (time / 10 + NANOSECOND, false)] {
        let mut fixture = Fixture::new();
        let peer = fixture.accept_length();
        fixture.fin(peer);
        fixture.sleep(time + late);
        assert_eq!(fixture.released().is_empty(), !dropped);
        if !dropped {
            fixture.pass(time - NANOSECOND);
            assert_eq!(fixture.released(), []);
            fixture.pass(NANOSECOND);
            assert_eq!(fixture.released(), [peer]);
        }
        assert_eq!(fixture.endpoint.counters().lingered, 1);
        assert!(fixture.endpoint.is_zero());
    }
}
