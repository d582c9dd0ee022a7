//! Time-outs that are noticed late, because the program was kept from running.

use std::time::Duration;

use echosphere_core::echo::MAX_MESSAGE;
use echosphere_core::link::LinkConfig;

use crate::bench::{Bench, frame};

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);

impl Bench {
    /// Nothing runs for this long; then time-outs are looked at.
    fn sleep(&mut self, time: Duration) {
        self.now = self.now + time;
        self.endpoint.expire(self.now, &mut self.effects);
    }
}

#[test]
fn what_ends_something_waits_for_what_has_arrived_and_a_keepalive_does_not() {
    let must = |bench: &Bench, after: Duration| {
        assert!(!bench.endpoint.must_settle(bench.now + (after - NANOSECOND)));
        assert!(bench.endpoint.must_settle(bench.now + after));
    };
    let mut bench = Bench::new();
    assert!(!bench.endpoint.must_settle(bench.now + 1000 * SECOND), "nothing is due");
    let peer = bench.accept();
    must(&bench, 10 * SECOND);
    bench.feed(peer, &[0; 4]);
    must(&bench, 60 * SECOND);
    bench.fin(peer);
    must(&bench, 5 * SECOND);

    let config = LinkConfig {
        max_backlog: 10,
        ..LinkConfig::default()
    };
    let mut bench = Bench::with(config, MAX_MESSAGE);
    let peer = bench.accept_length();
    bench.feed(peer, &frame("message x"));
    must(&bench, 5 * SECOND);
}

#[test]
fn bytes_that_are_read_late_count() {
    let mut bench = Bench::new();
    let (peer, silent, new) = (bench.accept_length(), bench.accept_length(), bench.accept());
    bench.now = bench.now + 1000 * SECOND;
    bench.feed(peer, &[0]);
    bench.feed(new, &[0; 4]);
    bench.sleep(Duration::ZERO);
    assert!(bench.read_text(silent).contains("error idle-timeout "));
    assert_eq!(bench.live(), 2);
    assert_eq!(bench.endpoint.counters().handshake_timeouts, 0);
}

#[test]
fn bytes_may_have_come_later_than_they_were_given() {
    let mut bench = Bench::new();
    let (peer, silent) = (bench.accept_length(), bench.accept_length());
    let read = bench.now + 100 * SECOND;
    for id in [peer, silent] {
        bench.feed(id, &[0; 4]);
    }
    bench.endpoint.heard(read, peer);
    // Given before, and noted after.
    bench.feed(peer, &[0; 4]);
    bench.now = read + (60 * SECOND - NANOSECOND);
    bench.sleep(Duration::ZERO);
    assert_eq!(bench.live(), 1);
    bench.sleep(NANOSECOND);
    assert_eq!(bench.live(), 0);
}

#[test]
fn a_peer_has_its_time_to_read_again_if_its_end_is_noticed_late() {
    let config = LinkConfig {
        max_backlog: 10,
        ..LinkConfig::default()
    };
    let time = config.backlog_timeout;
    for (late, dropped) in [(time / 10, true), (time / 10 + NANOSECOND, false)] {
        let mut bench = Bench::with(config, MAX_MESSAGE);
        let peer = bench.accept_length();
        bench.feed(peer, &frame("message x"));
        bench.sleep(time + late);
        assert_eq!(bench.released().is_empty(), !dropped);
        if !dropped {
            bench.pass(time - NANOSECOND);
            assert_eq!(bench.released(), []);
            bench.pass(NANOSECOND);
            assert_eq!(bench.released(), [peer]);
        }
        assert_eq!(bench.endpoint.counters().slow_consumers, 1);
        assert!(bench.endpoint.is_zero());
    }
}

#[test]
fn a_closing_connection_has_its_time_again_if_its_end_is_noticed_late() {
    let time = LinkConfig::default().linger;
    for (late, dropped) in [(time / 10, true), (time / 10 + NANOSECOND, false)] {
        let mut bench = Bench::new();
        let peer = bench.accept_length();
        bench.fin(peer);
        bench.sleep(time + late);
        assert_eq!(bench.released().is_empty(), !dropped);
        if !dropped {
            bench.pass(time - NANOSECOND);
            assert_eq!(bench.released(), []);
            bench.pass(NANOSECOND);
            assert_eq!(bench.released(), [peer]);
        }
        assert_eq!(bench.endpoint.counters().lingered, 1);
        assert!(bench.endpoint.is_zero());
    }
}
