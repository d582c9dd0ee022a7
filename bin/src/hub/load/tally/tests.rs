use std::net::{Ipv4Addr, SocketAddr};

use echosphere_core::failure::Failure;
use rand_chacha::rand_core::SeedableRng;
use serde_json::json;

use super::*;

const PLAN: Plan = Plan {
    users: 4,
    messages: 10,
    fan_out: 2,
    size: 20,
    window: 3,
    seed: 7,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hub {
    Honest,
    /// Does not deliver the fifth body, and delivers the sixth twice, to one receiver.
    LosesAndDoubles,
    /// Changes the last byte of the fifth body.
    Changes,
    /// Delivers the fifth body after the next one of its sender.
    Reorders,
    /// States that the fifth body was not relayed to its first receiver.
    Refuses,
    /// Delivers the fifth body from another sender's id.
    Confuses,
    /// Delivers the fifth body without its last byte to its first receiver.
    Shortens,
    /// Stops to answer at the fifth body.
    Stops,
}

fn id(user: u64) -> u64 {
    100 + user
}

/// Runs a load against such a hub. Returns its report, and the bodies that the hub delivered, without their sizes.
fn run(hub: Hub) -> (serde_json::Value, u64) {
    let (commands, mut asked) = mpsc::unbounded_channel();
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1234));
    let remote = Remote::server(&addr.into(), "a hub", "hub serve --listen", "--timeout");
    let mut tally = Tally::new(PLAN, remote, ChaCha8Rng::seed_from_u64(7), commands).unwrap();
    for session in 0..u64::from(PLAN.users) {
        tally.note(Notice::Connected { session });
    }
    let (mut relays, mut delivered, mut held) = (0, 0, Vec::new());
    while let Ok(Command::Ask { session, request, .. }) = asked.try_recv() {
        let answered = |reply| Notice::Answered {
            session,
            ask: 0,
            reply,
            round_trip: Duration::from_micros(1),
        };
        let (to, body) = match request {
            Request::Identity => {
                tally.note(answered(Reply::Identity(id(session))));
                continue;
            }
            Request::Relay { to, body } => (to, body),
            other => panic!("{other:?} is not of a load"),
        };
        relays += 1;
        let odd = relays == 5;
        if odd && hub == Hub::Stops {
            tally.note(Notice::Ended {
                session,
                failure: Some(Failure::TimedOut),
            });
            break;
        }
        let mut unsent = Vec::new();
        let mut deliveries = Vec::new();
        for (at, receiver) in to.iter().enumerate() {
            let first = at == 0;
            let mut body = body.clone();
            let mut from = id(session);
            match hub {
                Hub::Refuses if odd && first => {
                    unsent.push((receiver, Unsent::TooSlow));
                    continue;
                }
                Hub::LosesAndDoubles if odd && first => continue,
                Hub::LosesAndDoubles if relays == 6 && first => deliveries.push((receiver, from, body.clone())),
                Hub::Changes if odd && first => {
                    let mut changed = body.to_vec();
                    *changed.last_mut().unwrap() ^= 1;
                    body = changed.into();
                }
                Hub::Shortens if odd && first => body.truncate(PLAN.size - 1),
                Hub::Confuses if odd && first => from = id((session + 1) % 4),
                Hub::Reorders if odd => {
                    held.push((receiver, from, body));
                    continue;
                }
                _ => {}
            }
            deliveries.push((receiver, from, body));
        }
        if relays > 5 + u64::from(PLAN.users * PLAN.window) {
            deliveries.append(&mut held);
        }
        let sent = PLAN.fan_out as u8 - unsent.len() as u8;
        tally.note(answered(Reply::Relayed { sent, unsent }));
        for (receiver, from, body) in deliveries {
            delivered += 1;
            let session = receiver - id(0);
            tally.note(Notice::Received { session, from, body });
        }
    }
    assert_eq!(tally.delivered(), delivered, "{hub:?}");
    assert_eq!(
        tally.commands.is_none(),
        !matches!(hub, Hub::LosesAndDoubles | Hub::Stops),
        "{hub:?}"
    );
    let mut report = serde_json::to_value(tally.report(Duration::from_secs(2), None)).unwrap();
    let latency = report.as_object_mut().unwrap().remove("latency_us").unwrap();
    assert!(latency["max"].as_f64() >= latency["p50"].as_f64(), "{latency}");
    (report, delivered)
}

#[test]
fn the_report_of_an_honest_hub_has_every_figure() {
    let (report, delivered) = run(Hub::Honest);
    assert_eq!(delivered, 80);
    let expected = json!({
        "passed": true, "missing": [], "more_missing": 0,
        "users": 4, "messages": 10, "fan_out": 2, "bytes": 20, "window": 3, "seed": "7",
        "elapsed_s": 2.0, "relayed": 40, "delivered": 80, "lost": 0,
        "relays_per_s": 20.0, "deliveries_per_s": 40.0, "delivered_bytes_per_s": 800.0,
        "server": null,
    });
    assert_eq!(report, expected);
}

#[test]
fn a_report_names_each_thing_that_a_hub_does_wrong() {
    for (hub, lost, sentences) in [
        (
            Hub::LosesAndDoubles,
            1,
            &[
                "1 delivery did not arrive",
                "1 delivery arrived twice or was never sent",
            ][..],
        ),
        (Hub::Changes, 0, &["body 1 of user 1 arrived changed"]),
        (
            Hub::Reorders,
            0,
            &["got body 1 of user 1 after", "got body 1 of user 1 after"],
        ),
        (Hub::Refuses, 0, &["that user does not read"]),
        (
            Hub::Confuses,
            1,
            &["has the sender id 102", "1 delivery did not arrive"],
        ),
        (
            Hub::Shortens,
            1,
            &["a body has 19 bytes instead of 20", "1 delivery did not arrive"],
        ),
    ] {
        let (report, delivered) = run(hub);
        let missing: Vec<&str> = report["missing"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|text| text.as_str())
            .collect();
        assert_eq!(report["passed"], false, "{hub:?}");
        assert_eq!(
            (&report["lost"], &report["delivered"]),
            (&lost.into(), &delivered.into()),
            "{hub:?}: {missing:?}"
        );
        assert_eq!(missing.len(), sentences.len(), "{hub:?}: {missing:?}");
        for (missing, sentence) in missing.iter().zip(sentences) {
            assert!(missing.contains(sentence), "{hub:?}: {missing}");
        }
    }
}

#[test]
fn a_report_counts_what_a_hub_did_not_answer() {
    let (report, delivered) = run(Hub::Stops);
    // Four relays were answered, and each let its user send another.
    assert_eq!(
        (&report["relayed"], &report["delivered"]),
        (&4.into(), &delivered.into())
    );
    assert_eq!(report["lost"], 16 * 2 - delivered);
    let missing = report["missing"].to_string();
    for sentence in [
        "did not answer in time",
        "24 deliveries did not arrive",
        "36 relays got no receipt",
    ] {
        assert!(missing.contains(sentence), "{missing}");
    }
}

#[test]
fn a_report_lists_ten_problems_and_counts_the_others() {
    let (commands, _asked) = mpsc::unbounded_channel();
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1234));
    let remote = Remote::server(&addr.into(), "a hub", "hub serve --listen", "--timeout");
    let mut tally = Tally::new(PLAN, remote, ChaCha8Rng::seed_from_u64(7), commands).unwrap();
    for _ in 0..13 {
        let body = Bytes::from_static(b"short");
        tally.note(Notice::Received {
            session: 0,
            from: 1,
            body,
        });
    }
    let report = tally.report(Duration::from_secs(1), None);
    assert_eq!((report.missing.len(), report.more_missing), (10, 4));
    assert!(
        report
            .to_text()
            .contains("missing: 4 more problems are left out here\nFAILED"),
        "{}",
        report.to_text()
    );
}
