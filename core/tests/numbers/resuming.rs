use std::time::Duration;

use echosphere_core::numbers::ServerConfig;
use proptest::prelude::*;

use crate::fixture::{Fixture, UUID, numbers, whole};
use crate::sequence::repeating;

#[test]
fn after_a_cut_at_any_byte_exactly_the_missing_numbers_arrive() {
    let n = 9;
    let all = whole(UUID, n);
    let text: String = all.iter().map(|number| format!("{number}\n")).collect();
    // Complete lines before the cut are numbers that the client has.
    for cut in 0..=text.len() {
        let got = numbers(&text[..text[..cut].rfind('\n').map_or(0, |end| end + 1)]);
        let Some(last) = got.iter().take(n.into()).next_back() else {
            continue;
        };
        for exact in [false, true] {
            let mut fixture = Fixture::new();
            let (conn, _) = fixture.open(&format!("START {UUID} {n}\n"));
            fixture.periods(conn, n.into());
            fixture.cut(conn);
            let count = got.len().min(n.into());
            let suffix = if exact { format!(" {count}") } else { String::new() };
            let (conn, said) = fixture.open(&format!("CONTINUE {UUID} {last}{suffix}\n"));
            let said = [numbers(&said), fixture.periods(conn, n.into())].concat();
            assert_eq!(said[0], count as u64);
            assert_eq!(said[1], crate::fixture::checksum(&all[..count]));
            assert_eq!(said[2..], all[count..]);
        }
    }
}

proptest! {
    #[test]
    fn after_any_cuts_exactly_the_missing_numbers_come(
        n in 1_u16..200,
        cuts in prop::collection::vec((0_u32..60, 0_usize..10, any::<bool>()), 0..10),
    ) {
        let mut fixture = Fixture::with(ServerConfig {
            session_ttl: Duration::from_secs(1000),
            ..ServerConfig::default()
        });
        let mut got: Vec<u64> = Vec::new();
        let (mut conn, mut said) = fixture.open(&format!("START {UUID} {n}\n"));
        for (periods, lost, exact) in cuts {
            got.extend(numbers(&said));
            got.extend(fixture.periods(conn, periods));
            fixture.cut(conn);
            got.truncate(got.len().saturating_sub(lost).min(n.into()));
            let count = got.len();
            let request = match got.last() {
                None => format!("CONTINUE {UUID} 0 0\n"),
                Some(last) if exact => format!("CONTINUE {UUID} {last} {count}\n"),
                Some(last) => format!("CONTINUE {UUID} {last}\n"),
            };
            (conn, said) = fixture.open(&request);
            let (head, rest) = said.split_at(said.match_indices('\n').nth(1).unwrap().0 + 1);
            prop_assert_eq!(numbers(head), [count as u64, crate::fixture::checksum(&got)]);
            said = rest.to_owned();
        }
        got.extend(numbers(&said));
        got.extend(fixture.periods(conn, u32::from(n) + 1));
        prop_assert_eq!(got, whole(UUID, n));
    }
}

#[test]
fn a_repeated_last_number_means_its_latest_position_unless_the_count_is_given() {
    let (uuid, number, places) = repeating();
    let uuid = uuid.to_string();
    let mut fixture = Fixture::new();
    let (conn, _) = fixture.open(&format!("START {uuid} 65535\n"));
    fixture.fin(conn);
    fixture.periods(conn, u32::from(places[1]) - 1);
    fixture.cut(conn);
    let mut ask = |rest: String| {
        let (conn, said) = fixture.open(&format!("CONTINUE {uuid} {rest}\n"));
        fixture.cut(conn);
        numbers(&said)[0]
    };
    assert_eq!(ask(format!("{number}")), u64::from(places[1]));
    assert_eq!(ask(format!("{number} {}", places[0])), u64::from(places[0]));
    assert_eq!(ask(format!("{number} {}", places[1])), u64::from(places[1]));
}

#[test]
fn no_session_is_resumed_from_a_number_that_was_not_sent() {
    let all = whole(UUID, 9);
    let mut fixture = Fixture::new();
    let (conn, _) = fixture.open(&format!("START {UUID} 9\n"));
    fixture.periods(conn, 3);
    fixture.cut(conn);
    let requests = [
        format!("{}", all[4]),
        format!("{} 5", all[4]),
        format!("{} 2", all[2]),
        format!("{} 3", all[3]),
        "7".to_owned(),
        "18446744073709551615".to_owned(),
    ];
    for request in requests {
        let (conn, said) = fixture.open(&format!("CONTINUE {UUID} {request}\n"));
        assert!(said.starts_with("error bad-number "), "{request}: {said}");
        fixture.cut(conn);
    }
    // The session still exists for a correct request.
    let (_, said) = fixture.open(&format!("CONTINUE {UUID} {} 4\n", all[3]));
    assert_eq!(numbers(&said)[2], all[4]);
}
