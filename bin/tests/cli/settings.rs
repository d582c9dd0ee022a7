//! The settings and where they are written down.

use crate::support::{echosphere, stdout};

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
    let help: Vec<String> = commands
        .map(|[system, command]| stdout(&echosphere("help", &[system, command, "--help"]).output().unwrap()))
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
