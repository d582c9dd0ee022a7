//! The settings and where they are written down.

use std::fs;

use crate::support::{Serving, echosphere, folder, json, stderr, stdout};

#[test]
fn the_example_settings_are_the_defaults_of_flags_that_exist() {
    let example = include_str!("../../../.env.example");
    let settings = example.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("# ECHOSPHERE_")?.split_once('=')?;
        Some((format!("ECHOSPHERE_{name}"), rest.split(' ').next()?.to_owned()))
    });
    let commands = [
        ("echo", &["serve", "send", "load"][..]),
        (
            "hub",
            &["serve", "connect", "identity", "list", "relay", "listen", "load"],
        ),
        ("numbers", &["serve", "get"]),
        ("chat", &["serve", "connect", "ping"]),
    ];
    let commands = commands
        .iter()
        .flat_map(|(system, commands)| commands.iter().map(move |command| [*system, *command]));
    let commands = commands.map(Vec::from).chain([vec!["chat"]]);
    let help: Vec<String> = commands
        .map(|command| {
            stdout(
                &echosphere("help", &[&command, &["--help"][..]].concat())
                    .output()
                    .unwrap(),
            )
        })
        .collect();
    let mut count = 0;
    for (name, value) in settings {
        count += 1;
        let entry = format!("[env: {name}=]");
        let default = format!("[default: {value}]");
        let of_flag = |text: &String| {
            let flag = text.split("\n      --").find(|flag| flag.contains(&entry))?;
            Some(!flag.contains("[default") || flag.contains(&default) || flag.contains(&format!("[default: {value},")))
        };
        let found: Vec<bool> = help.iter().filter_map(of_flag).collect();
        assert!(found.contains(&true), "{name}={value} in .env.example: {found:?}");
    }
    let flags: usize = {
        let mut names: Vec<&str> = help.iter().flat_map(|text| text.split("[env: ").skip(1)).collect();
        names
            .iter_mut()
            .for_each(|name| *name = name.split('=').next().unwrap());
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    assert_eq!(
        count, flags,
        "settings in .env.example, and variables that --help names"
    );
}

#[test]
fn settings_come_from_a_file_the_environment_and_flags_in_rising_order() {
    let file = "ECHOSPHERE_CLIENTS=20\nECHOSPHERE_OVER=10ms\nECHOSPHERE_JSON=true\n";
    fs::write(folder("settings").join(".env"), file).unwrap();
    let clients = |env: &[(&str, &str)], args: &[&str]| {
        let mut command = echosphere("settings", &[&["echo", "load"], args].concat());
        json(&command.envs(env.iter().copied()).output().unwrap())["clients"].clone()
    };
    assert_eq!(clients(&[], &[]), 20);
    assert_eq!(clients(&[("ECHOSPHERE_CLIENTS", "30")], &[]), 30);
    assert_eq!(clients(&[("ECHOSPHERE_CLIENTS", "30")], &["--clients", "40"]), 40);
}

#[test]
fn only_the_working_folders_settings_of_this_program_are_read() {
    let parent = folder("settings-parent");
    let inner = parent.join("inner");
    // What an earlier run has left.
    drop(fs::remove_dir_all(&inner));
    fs::create_dir_all(&inner).unwrap();
    fs::write(parent.join(".env"), "ECHOSPHERE_CLIENTS=20\nSECRET\n").unwrap();
    let mut command = echosphere(
        "settings-parent",
        &["echo", "load", "--over", "10ms", "--clients", "3", "--json"],
    );
    let output = command.current_dir(&inner).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));

    fs::write(
        inner.join(".env"),
        "NAME=of another\nECHOSPHERE_CLIENTS=5\nmy secret\nECHOSPHERE_OVER=1 secret\n",
    )
    .unwrap();
    let mut command = echosphere("settings-parent", &["echo", "load", "--over", "10ms", "--json"]);
    let output = command.current_dir(&inner).output().unwrap();
    assert_eq!(json(&output)["clients"], 5);
    let warnings = stderr(&output);
    for line in ["line 3 is not NAME=value", "line 4 is not NAME=value"] {
        assert!(warnings.contains(line), "{warnings}");
    }
    assert!(
        !warnings.contains("secret") && !warnings.contains("line 1"),
        "{warnings}"
    );
    let mut version = echosphere("settings-parent", &["--version"]);
    assert!(version.current_dir(&inner).output().unwrap().status.success());
}

#[test]
fn another_file_of_settings_can_be_named() {
    let here = folder("settings-named");
    fs::write(here.join("mine.env"), "ECHOSPHERE_CLIENTS=4\n").unwrap();
    let load = |args: &[&str]| {
        let all = [&["echo", "load", "--over", "10ms", "--json"], args].concat();
        echosphere("settings-named", &all).output().unwrap()
    };
    assert_eq!(json(&load(&["--env-file", "mine.env"]))["clients"], 4);
    let output = load(&["--env-file=none.env"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("cannot read the file none.env (--env-file)"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn variables_work_by_their_former_names() {
    let serving = Serving::start("hub", "former-names", &[]);
    let mut command = echosphere("former-names", &["hub", "identity"]);
    let output = command.env("ECHOSPHERE_HUB", &serving.addr).output().unwrap();
    assert_eq!(stdout(&output), "1\n", "{}", stderr(&output));
    fs::write(
        folder("former-names").join(".env"),
        format!("ECHOSPHERE_HUB={}\n", serving.addr),
    )
    .unwrap();
    let output = echosphere("former-names", &["hub", "identity"]).output().unwrap();
    assert_eq!(stdout(&output), "2\n", "{}", stderr(&output));
}

#[test]
fn a_chats_argument_overrides_its_variable() {
    let serving = Serving::start("chat", "chat-to", &[]);
    let run = |args: &[&str], to: &str| {
        let mut command = echosphere("chat-to", &[&["chat", "connect"], args].concat());
        let output = command.env("ECHOSPHERE_CHAT_TO", to).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    for args in [&[&*serving.addr][..], &["--to", &serving.addr]] {
        let (code, said) = run(args, "127.0.0.1:1");
        assert_eq!(code, Some(0), "{args:?}: {said}");
    }
    assert_eq!(run(&[], &serving.addr).0, Some(0));
}

#[test]
fn switches_in_the_environment_are_read_in_every_usual_way() {
    let load = |value: &str| {
        let mut command = echosphere("switches", &["echo", "load", "--clients", "3", "--over", "1ms"]);
        command
            .env("ECHOSPHERE_JSON", value)
            .env("ECHOSPHERE_HOLD", "false")
            .output()
            .unwrap()
    };
    for value in ["1", "yes", "TRUE", "on"] {
        assert_eq!(json(&load(value))["clients"], 3, "{value}");
    }
    for value in ["0", "no", "false", ""] {
        assert!(stdout(&load(value)).starts_with("3 clients"), "{value}");
    }
    let output = load("perhaps");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("expected true or false"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn flags_of_another_kind_of_load_are_refused_and_the_environment_gives_way_to_flags() {
    let load = |env: &[(&str, &str)], args: &[&str]| {
        let all = [&["echo", "load", "--json"], args].concat();
        let output = echosphere("kinds", &all).envs(env.iter().copied()).output().unwrap();
        (output.status.code(), stderr(&output), json(&output))
    };
    for (args, said) in [
        (&["--window", "10"][..], "--window is for long-lived connections"),
        (&["--rate", "10"], "--rate is for long-lived connections"),
        (
            &["--clients", "3", "--connections", "3"],
            "--clients is for clients that each send one message",
        ),
        (&["--hold", "--rate", "3"], "so that there is no --rate"),
        (&["--hold", "--window", "3"], "--window has no effect with --hold"),
        (
            &["--to", "127.0.0.1:1", "--max-kept", "3"],
            "--max-kept is a bound of the server that this command starts",
        ),
    ] {
        let (code, stderr, _) = load(&[], args);
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    let stays = [("ECHOSPHERE_CONNECTIONS", "3"), ("ECHOSPHERE_DURATION", "10ms")];
    assert_eq!(load(&stays, &[]).2["connections"], 3);
    assert_eq!(load(&stays, &["--clients", "4", "--over", "1ms"]).2["clients"], 4);
    let arrivals = [("ECHOSPHERE_CLIENTS", "4"), ("ECHOSPHERE_DURATION", "10ms")];
    assert_eq!(load(&arrivals, &["--connections", "5"]).2["connections"], 5);
    let holds = [("ECHOSPHERE_HOLD", "true"), ("ECHOSPHERE_DURATION", "10ms")];
    assert_eq!(
        load(&holds, &["--connections", "5", "--rate", "1"]).2["rate_per_s"],
        1.0
    );
}

#[test]
fn a_command_without_its_system_is_suggested_with_each() {
    let output = echosphere("suggest", &["serve"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    for system in ["echo", "hub", "numbers", "chat"] {
        assert!(text.contains(&format!("echosphere {system} serve")), "{text}");
    }
}

#[test]
fn a_bare_port_is_one_of_the_loopback_address() {
    for listen in ["0", ":0", "127.0.0.1:0"] {
        let serving = Serving::start("echo", "bare-port", &["--listen", listen]);
        assert!(serving.addr.starts_with("127.0.0.1:"), "{listen}: {}", serving.addr);
    }
    let output = echosphere("bare-port", &["echo", "serve", "--listen", "70000"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("a port is a number from 0 to 65535"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_file_of_settings_that_cannot_be_read_is_warned_of() {
    fs::create_dir_all(folder("settings-unread").join(".env")).unwrap();
    let load = ["echo", "load", "--clients", "2", "--over", "1ms", "--json"];
    let output = echosphere("settings-unread", &load).output().unwrap();
    assert_eq!(json(&output)["clients"], 2);
    let text = stderr(&output);
    assert!(
        text.contains("cannot read the file .env") && text.contains("it is ignored"),
        "{text}"
    );
}

#[test]
fn an_option_for_more_lines_takes_the_place_of_the_log_filter() {
    let ping = ["chat", "ping", "--count", "1"];
    for (option, warns) in [(&[][..], true), (&["-v"], false), (&["-q"], false)] {
        let mut command = echosphere("settings-filter", &[&ping, option].concat());
        let output = command.env("RUST_LOG", "nonsense").output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(
            stderr(&output).contains("RUST_LOG=nonsense"),
            warns,
            "{}",
            stderr(&output)
        );
    }
}
