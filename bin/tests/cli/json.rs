//! The JSON that commands print, as `docs/JSON.md` has it.

use std::io::Write;
use std::process::{Output, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Serving, address, echosphere, json, lines, stderr, stdout};

fn run(name: &str, args: &[&str], input: &str) -> Output {
    let mut child = echosphere(name, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that fails may not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The names of an object's fields.
fn fields(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Checks that no number is larger than every program reads exactly.
fn check_numbers(value: &Value) {
    const MOST: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => assert!(number.as_f64().unwrap() <= MOST, "{number}"),
        Value::Array(values) => values.iter().for_each(check_numbers),
        Value::Object(object) => object.values().for_each(check_numbers),
        _ => {}
    }
}

/// Every event of a stream, by its name.
fn events(output: &Output) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for event in lines(output) {
        check_numbers(&event);
        let name = event["event"].as_str().unwrap_or_else(|| panic!("{event}")).to_owned();
        all.push((name, event));
    }
    all
}

#[test]
fn whoever_connects_to_a_hub_prints_events() {
    let hub = Serving::start("hub", "json-hub", &[]);
    let connect = ["hub", "connect", "--to", &hub.addr, "--json"];
    let asked = "identity\nlist\necho é\nrelay 1,18446744073709551615 x\nrelay x y\n";
    let output = run("json-hub", &connect, asked);
    assert_eq!(output.status.code(), Some(1));
    let mut told: Vec<Value> = events(&output).into_iter().map(|(_, event)| event).collect();
    // Answers come in the order of the requests, and anything else in between.
    told.sort_by_key(|event| {
        let order = ["identity", "list", "echo", "relayed", "delivery", "error", "ended"];
        order.iter().position(|name| event["event"] == *name)
    });
    assert_eq!(
        told,
        [
            json!({ "event": "identity", "user_id": "1" }),
            json!({ "event": "list", "user_ids": [] }),
            json!({ "event": "echo", "bytes": 2, "text": "é" }),
            json!({ "event": "relayed", "sent": 1, "unknown": ["18446744073709551615"], "too_slow": [] }),
            json!({ "event": "delivery", "from": "1", "bytes": 1, "text": "x" }),
            json!({ "event": "error", "why": told[5]["why"] }),
            json!({ "event": "ended", "why": null }),
        ]
    );
    assert!(told[5]["why"].as_str().unwrap().starts_with("line 5: "), "{}", told[5]);
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_listener_that_cannot_connect_prints_that_it_ended() {
    let listen = [
        "hub",
        "listen",
        "--to",
        "127.0.0.1:1",
        "--timeout",
        "1s",
        "--format",
        "json",
    ];
    let output = run("json-listen", &listen, "");
    assert_eq!(output.status.code(), Some(1));
    let told = events(&output);
    let (name, event) = told.last().unwrap();
    assert!(name == "ended" && event["why"].is_string(), "{told:?}");
}

#[test]
fn what_is_asked_of_a_hub_once_is_one_object() {
    let hub = Serving::start("hub", "json-once", &[]);
    let ask = |args: &[&str]| {
        let output = run(
            "json-once",
            &[&["hub"], args, &["--to", &hub.addr, "--json"]].concat(),
            "",
        );
        assert_eq!(stdout(&output).lines().count(), 1);
        json(&output)
    };
    assert_eq!(ask(&["identity"]), json!({ "user_id": "1" }));
    assert_eq!(ask(&["list"]), json!({ "user_ids": [] }));
    assert_eq!(
        ask(&["relay", "9", "x"]),
        json!({ "sent": 0, "unknown": ["9"], "too_slow": [] })
    );
}

#[test]
fn a_command_that_fails_prints_an_object_too() {
    for args in [
        &["hub", "identity", "--to", "127.0.0.1:1", "--timeout", "1s"][..],
        &["hub", "list", "--to", "127.0.0.1:1", "--timeout", "1s"],
        &["hub", "relay", "1", "x", "--to", "127.0.0.1:1", "--timeout", "1s"],
        &["chat", "ping", "127.0.0.1:1", "--timeout", "1s"],
        &["echo", "send", "x", "--to", "127.0.0.1:1", "--timeout", "1s"],
    ] {
        let output = run("json-fails", &[args, &["--json"]].concat(), "");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let error = &json(&output)["error"];
        assert!(error.is_string(), "{args:?}: {}", stdout(&output));
        assert!(stderr(&output).contains("error: "), "{args:?}");
    }
    let args = [
        "numbers",
        "get",
        "1",
        "--to",
        "127.0.0.1:1",
        "--timeout",
        "1s",
        "--json",
    ];
    let output = run("json-fails", &args, "");
    assert_eq!(output.status.code(), Some(1));
    let told = events(&output);
    assert_eq!(fields(&told.last().unwrap().1), ["event", "why"]);
    assert_eq!(told.last().unwrap().0, "failed");
}

#[test]
fn a_command_that_cannot_start_prints_nothing_and_exits_with_2() {
    for args in [
        &["hub", "identity", "--to", "no.such.host.invalid"][..],
        &["hub", "relay", "1", "x", "--to", "no.such.host.invalid"],
        &["chat", "ping", "no.such.host.invalid"],
        &["echo", "send", "x", "--to", "no.such.host.invalid"],
    ] {
        let output = run("json-no-start", &[args, &["--json"]].concat(), "");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(stdout(&output), "", "{args:?}");
        assert!(stderr(&output).contains("cannot resolve"), "{args:?}");
    }
}

#[test]
fn a_chat_prints_events() {
    let serving = Serving::start("chat", "json-chat", &["--json"]);
    let connect = ["chat", "connect", &serving.addr, "--json"];
    let client = run("json-chat", &connect, "hello");
    serving.signal(Signal::INT);
    let server = serving.wait();
    let shape = |output: &Output| -> Vec<(String, Vec<String>)> {
        let told = events(output);
        let named = |event: &Value| fields(event).into_iter().map(str::to_owned).collect();
        told.iter().map(|(name, event)| (name.clone(), named(event))).collect()
    };
    let expected = |events: &[(&str, &[&str])]| -> Vec<(String, Vec<String>)> {
        let owned = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect();
        events
            .iter()
            .map(|(name, fields)| ((*name).to_owned(), owned(fields)))
            .collect()
    };
    assert_eq!(
        shape(&client),
        expected(&[
            ("connected", &["event", "resumed"]),
            ("delivered", &["event", "id", "round_trip_us"]),
            ("ended", &["event", "why"]),
        ])
    );
    assert_eq!(
        shape(&server)[1..],
        expected(&[
            ("connected", &["event", "resumed"]),
            ("heard", &["bytes", "event", "id", "text"]),
            ("ended", &["event", "why"]),
        ])
    );
    let nobody = [
        "chat",
        "connect",
        "127.0.0.1:1",
        "--timeout",
        "300ms",
        "--json",
        "--retry",
    ];
    let told = events(&run("json-chat", &nobody, "hello"));
    assert_eq!(fields(&told[0].1), ["after_ms", "event", "why"]);
    let (last, attempts) = told.split_last().unwrap();
    assert!(attempts.len() > 1, "one event for each attempt: {told:?}");
    assert!(attempts.iter().all(|(name, _)| name == "retrying"), "{told:?}");
    assert!(last.0 == "ended" && last.1["why"].is_string(), "{told:?}");
}

#[test]
fn what_is_not_delivered_is_an_event() {
    let serving = Serving::start("chat", "json-undelivered", &[]);
    serving.signal(Signal::STOP);
    let connect = ["chat", "connect", &serving.addr, "--timeout", "300ms", "--json"];
    let output = run("json-undelivered", &connect, "never taken");
    assert_eq!(output.status.code(), Some(1));
    let told = events(&output);
    assert_eq!(told.last().unwrap().0, "ended", "{told:?}");
    serving.signal(Signal::KILL);
    serving.wait();
}

#[test]
fn numbers_are_events() {
    let args = ["numbers", "serve", "--grpc", "127.0.0.1:0", "--period", "1ms"];
    let mut server = echosphere("json-numbers", &args)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = std::io::BufReader::new(server.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    let addr = &address(&line);
    let get = |args: &[&str]| {
        let output = run(
            "json-numbers",
            &[&["numbers", "get", "--json", "--to", addr], args].concat(),
            "",
        );
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        events(&output)
    };
    let told = get(&["1", "--resume", "3002399751580331"]);
    let number = json!({ "event": "number", "place": 1, "number": "9007199254740993" });
    assert_eq!(told[1].1, number);
    assert_eq!(told[2].1, json!({ "event": "done", "sum": "9007199254740993" }));
    let told = get(&["2", "--uuid", "67e55044-10b1-426f-9247-bb680e5fe0c8"]);
    let number = |place: u64, number: &str| json!({ "event": "number", "place": place, "number": number });
    assert_eq!(told[0].1, number(1, "884115364"));
    assert_eq!(told[1].1, number(2, "984080323"));
    assert_eq!(fields(&told[2].1), ["checksum", "event", "valid"]);
    server.kill().unwrap();
    server.wait().unwrap();
}
