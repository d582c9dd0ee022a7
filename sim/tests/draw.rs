//! Drawings of runs: what they contain, and what cannot escape from them.

use std::collections::BTreeMap;
use std::time::Duration;

use echosphere_core::random::Delay;
use serde_json::Value;
use sim::direct::{Case, Fault, Options};
use sim::draw::{Drawing, SHIVIZ};
use sim::oracle::Workload;
use sim::oracle::echo::{Echo, Planned};

const HOSTILE: &str = "</script><script>alert(1)</script><!-- {{style}} {{scripts}} {{data}} &amp; \u{2028}";

fn drawn(seed: u64) -> Drawing {
    let case = Case::draw(seed);
    let workload = Echo::draw(seed, case.hosts, case.safety, None);
    Drawing::of(&format!("seed {seed}"), &case, &workload, Options::default()).0
}

fn sending(x: &[u8], case: &Case) -> Drawing {
    let planned = |host| Planned {
        host,
        at: Duration::from_millis(10),
        x: x.to_vec().into(),
    };
    let messages = (0..case.hosts).map(planned).collect();
    Drawing::of("a test", case, &Echo::new(Delay::None, messages), Options::default()).0
}

/// The run in the page, read as a browser would: up to the first thing that ends the element.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"data\">").expect("a page has data");
    let (data, _) = rest.split_once("</script").expect("the data ends");
    serde_json::from_str(data).expect("the data is JSON")
}

fn list<'a>(data: &'a Value, name: &str) -> &'a [Value] {
    data[name].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn page_needs_nothing_else() {
    let page = drawn(13).page();
    for outside in [
        "http:", "https:", "src=", "<link", "@import", "url(", "import ", "fetch(",
    ] {
        assert!(!page.contains(outside), "the page asks for something: {outside}");
    }
    assert!(page.contains("default-src 'none'"), "and is allowed to");
    assert!(!page.contains("{{"), "something was not filled in");
}

#[test]
fn page_has_every_step() {
    let drawing = drawn(13);
    let data = data(&drawing.page());
    let replayed = {
        let case = Case::draw(13);
        let workload = Echo::draw(13, case.hosts, case.safety, None);
        sim::direct::run_direct(&case, &workload, Options::default())
    };
    let report = replayed.result.expect("seed 13 passes");
    assert_eq!(drawing.steps() as u64, report.events);
    assert_eq!(list(&data, "steps").len() as u64, report.events);
    assert_eq!(
        data["verdict"]["hash"],
        format!("{:016x}", report.hash),
        "drawing changes the run"
    );
}

#[test]
fn every_fault_has_a_band() {
    let case = Case {
        safety: Duration::from_secs(2),
        faults: vec![
            (Duration::from_millis(12), Fault::Partition(0, Duration::from_secs(1))),
            (Duration::from_millis(13), Fault::Pause(1, Duration::from_secs(3))),
            (
                Duration::from_millis(100),
                Fault::ServerCrash(Duration::from_millis(100)),
            ),
        ],
        ..Case::calm(7, 2)
    };
    let data = data(&sending(b"hello", &case).page());
    let bands = list(&data, "faults");
    let names: Vec<_> = bands
        .iter()
        .map(|band| band["name"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(names, ["cut off", "paused", "crashed"]);
    let steps = list(&data, "steps");
    let at = |step: &Value| steps[step.as_u64().expect("a step") as usize]["at"].clone();
    assert_eq!(at(&bands[0]["to"]), 1_012_000);
    assert_eq!(bands[1]["until"], 2_000_000, "all faults end together");
    assert_eq!(at(&bands[2]["to"]), 200_000);
}

#[test]
fn hostile_text_stays_text() {
    for x in [HOSTILE.as_bytes(), b"\xff\0<!--<script>", b"]]>\r\n'\"\\"] {
        let page = sending(x, &Case::calm(7, 2)).page();
        let plain = sending(b"hello", &Case::calm(7, 2)).page();
        for tag in ["<script", "</script", "<!--", "<b"] {
            let (hostile, usual) = (page.matches(tag).count(), plain.matches(tag).count());
            assert_eq!(hostile, usual, "{tag} comes from {:?}", x.escape_ascii().to_string());
        }
        let said = data(&page).to_string();
        let start = x[..8].escape_ascii().to_string();
        let start = Value::String(start).to_string();
        assert!(said.contains(start.trim_matches('"')), "X is not in the page: {start}");
    }
}

#[test]
fn what_is_sent_arrives_or_is_said_not_to() {
    let calm = sending(b"hello", &Case::calm(7, 2));
    assert_eq!(calm.lost(), 0, "nothing is lost when all is calm");
    let data = data(&calm.page());
    let messages = list(&data, "arrows").iter().filter(|arrow| arrow[3] == "message");
    // Each of two messages goes to the server and on to a holder.
    assert_eq!(messages.count(), 4);
    let cut = Case {
        safety: Duration::from_secs(1),
        faults: vec![(Duration::from_millis(1), Fault::Partition(0, Duration::from_secs(1)))],
        ..Case::calm(7, 2)
    };
    assert!(sending(b"hello", &cut).lost() > 0, "a dial over a cut link is lost");
}

#[test]
fn a_failure_is_marked() {
    let late = Case {
        liveness: Duration::ZERO,
        ..Case::calm(7, 2)
    };
    let verdict = data(&sending(b"hello", &late).page())["verdict"].clone();
    assert_eq!(verdict["kind"], "Liveness");
    let rule = verdict["rule"].as_str().expect("a rule");
    assert!(rule.contains("not acknowledged"), "{rule}");
    assert!(rule.contains("\"hello\""), "which message? {rule}");
    assert_eq!(verdict["step"], Value::Null, "no step is to blame");
}

type Clock = BTreeMap<String, u64>;

/// A line of the log as its regular expression takes it apart.
fn parse(line: &str) -> (&str, Clock, &str) {
    let (host, rest) = line.split_once(" {").expect("a host");
    let (clock, event) = rest.split_once("} ").expect("a clock");
    let clock = serde_json::from_str(&format!("{{{clock}}}")).expect("a clock is JSON");
    (host, clock, event)
}

#[test]
fn clocks_of_the_log_agree_with_the_arrows() {
    for drawing in [drawn(13), drawn(17), sending(HOSTILE.as_bytes(), &Case::calm(7, 2))] {
        let data = data(&drawing.page());
        let lanes = list(&data, "lanes");
        let log = drawing.shiviz();
        let (head, log) = log.split_once('\n').expect("a first line");
        assert!(head.starts_with("# ") && head.contains(SHIVIZ));
        let mut lines = log.lines();
        let mut clocks: Vec<Option<Clock>> = Vec::new();
        let mut own: BTreeMap<&str, u64> = BTreeMap::new();
        for step in list(&data, "steps") {
            let Some(who) = step["who"].as_u64() else {
                clocks.push(None);
                continue;
            };
            let (host, clock, event) = parse(lines.next().expect("a line for each step of a machine"));
            assert_eq!(lanes[who as usize], host);
            assert!(!event.is_empty());
            let count = own.entry(host).or_default();
            *count += 1;
            assert_eq!(clock.get(host), Some(&*count), "a host counts its own events");
            clocks.push(Some(clock));
        }
        assert_eq!(lines.next(), None);
        let mut arrived = 0;
        for arrow in list(&data, "arrows") {
            let (Some(from), Some(to)) = (arrow[0].as_u64(), arrow[1].as_u64()) else {
                continue;
            };
            let (Some(sent), Some(received)) = (&clocks[from as usize], &clocks[to as usize]) else {
                continue;
            };
            arrived += 1;
            assert!(from < to);
            assert!(
                sent.iter().all(|(host, count)| received.get(host) >= Some(count)),
                "{arrow} arrived without knowing what was known when it was sent"
            );
        }
        assert!(arrived > 5, "hardly anything arrived");
    }
}
