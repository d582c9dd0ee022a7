//! Every option and every variable of every command, each at a value of its own, and the field that it must reach.
//!
//! The tables are complete: a test compares them with clap's own list.

#[macro_use]
mod rows;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::{env, process};

use clap::{Arg, CommandFactory, Parser};

use self::tables::{all, common};
use crate::{Cli, System, chat, settings};

/// An option, a value, and the field that it reaches, before and after in the form of `{:?}`.
struct Row {
    id: &'static str,
    value: &'static str,
    expected: &'static str,
    field: fn(&Cli) -> String,
}

/// A command with its arguments.
struct Tested {
    path: &'static str,
    /// Its required argument.
    required: Option<(&'static str, &'static str)>,
    rows: Vec<Row>,
}

/// Every command of the program, by its path.
fn commands() -> BTreeMap<String, clap::Command> {
    fn add(command: &clap::Command, path: &str, all: &mut BTreeMap<String, clap::Command>) {
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let path = format!("{path} {}", inner.get_name()).trim_start().to_owned();
            add(inner, &path, all);
            all.insert(path, inner.clone());
        }
    }
    let mut root = Cli::command();
    root.build();
    let mut all = BTreeMap::new();
    add(&root, "", &mut all);
    all
}

/// The arguments of a command's own.
fn arguments(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    let own = |arg: &&Arg| !arg.is_global_set() && !["help", "version"].contains(&arg.get_id().as_str());
    command.get_arguments().filter(own)
}

impl Tested {
    /// The command line with this row set, or with none.
    fn line(&self, command: &clap::Command, set: Option<&Row>) -> Vec<String> {
        let mut line = vec!["echosphere".to_owned()];
        line.extend(self.path.split(' ').map(str::to_owned));
        if let Some((id, value)) = self.required
            && set.is_none_or(|row| row.id != id)
        {
            line.push(value.to_owned());
        }
        if let Some(row) = set {
            let arg = command.get_arguments().find(|arg| arg.get_id() == row.id).unwrap();
            line.extend(arg.get_long().map(|long| format!("--{long}")));
            if arg.get_long().is_none() || arg.get_action().takes_values() {
                line.push(row.value.to_owned());
            }
        }
        line
    }

    /// The fields of all rows after this line is parsed.
    fn fields(&self, line: &[String]) -> Vec<String> {
        let cli = Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        self.rows.iter().map(|row| (row.field)(&cli)).collect()
    }

    fn check_each_option(&self, command: &clap::Command) {
        let defaults = self.fields(&self.line(command, None));
        for (at, row) in self.rows.iter().enumerate() {
            let mut expected = defaults.clone();
            row.expected.clone_into(&mut expected[at]);
            assert_ne!(
                expected[at], defaults[at],
                "{} {}: not another value",
                self.path, row.id
            );
            let found = self.fields(&self.line(command, Some(row)));
            assert_eq!(found, expected, "{} with {} alone", self.path, row.id);
        }
    }
}

#[test]
fn each_option_reaches_its_field_and_no_other() {
    let commands = commands();
    let all = all();
    let leaves = commands
        .iter()
        .filter(|(path, command)| *path == "chat" || !command.has_subcommands());
    let leaves: BTreeSet<&str> = leaves.map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        leaves,
        all.iter().map(|tested| tested.path).collect(),
        "commands with a table"
    );
    for tested in &all {
        let command = &commands[tested.path];
        let known: BTreeSet<&str> = arguments(command).map(|arg| arg.get_id().as_str()).collect();
        let listed: BTreeSet<&str> = tested.rows.iter().map(|row| row.id).collect();
        assert_eq!(known, listed, "arguments of {}", tested.path);
        let values = tested.rows.iter().map(|row| row.value).filter(|value| *value != "true");
        let values: Vec<&str> = values.filter(|value| *value != "some.file").collect();
        let distinct: BTreeSet<&str> = values.iter().copied().collect();
        assert_eq!(values.len(), distinct.len(), "{}: a value stands twice", tested.path);
        tested.check_each_option(command);
    }
    let common = common();
    let globals = commands[common.path].get_arguments().filter(|arg| arg.is_global_set());
    let globals: BTreeSet<&str> = globals.map(|arg| arg.get_id().as_str()).collect();
    assert_eq!(
        globals,
        common.rows.iter().map(|row| row.id).collect(),
        "options of every command"
    );
    common.check_each_option(&commands[common.path]);
}

/// Which command's variables the test below checks.
const CHILD: &str = "OPTIONS_TESTS_COMMAND";

#[test]
fn each_variable_reaches_its_field_and_no_other() {
    let commands = commands();
    for tested in all().iter().chain([&common()]) {
        let command = &commands[tested.path];
        let mut child = process::Command::new(env::current_exe().unwrap());
        child
            .args([
                "--exact",
                "options_tests::of_a_process_with_variables",
                "--include-ignored",
            ])
            .env_clear()
            .env(CHILD, tested.path)
            .stdin(Stdio::null());
        let mut variables = BTreeSet::new();
        for row in &tested.rows {
            if let Some(variable) = variable(command, row.id) {
                assert!(
                    variables.insert(variable.clone()),
                    "{}: {variable} sets two options",
                    tested.path
                );
                child.env(variable, row.value);
            }
        }
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{}: {text}",
            tested.path
        );
    }
}

fn variable(command: &clap::Command, id: &str) -> Option<String> {
    let arg = command.get_arguments().find(|arg| arg.get_id() == id)?;
    Some(arg.get_env()?.to_str()?.to_owned())
}

#[test]
#[ignore = "the test above runs it with the variables of one command set"]
fn of_a_process_with_variables() {
    let path = env::var(CHILD).expect("run by the test above");
    let commands = commands();
    let log_format = env::var_os("ECHOSPHERE_LOG_FORMAT").is_some();
    let tested = if log_format {
        common()
    } else {
        all().into_iter().find(|tested| tested.path == path).unwrap()
    };
    let command = &commands[&*path];
    let found = tested.fields(&tested.line(command, None));
    for (row, found) in tested.rows.iter().zip(found) {
        let set = variable(command, row.id).is_some();
        assert_eq!(found == row.expected, set, "{path} {}: {found}", row.id);
    }
}

#[test]
fn each_variable_is_named_after_its_option() {
    Cli::command().debug_assert();
    for (path, command) in commands() {
        let system = path.split(' ').next().unwrap_or_default().to_uppercase();
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            let Some(variable) = variable(&command, id) else {
                continue;
            };
            let option = id.to_uppercase();
            let names = [format!("ECHOSPHERE_{option}"), format!("ECHOSPHERE_{system}_{option}")];
            assert!(names.contains(&variable), "{path} {id}: {variable}");
        }
    }
}

#[test]
fn the_example_settings_list_every_variable() {
    let example = include_str!("../../.env.example");
    let listed = example
        .lines()
        .filter_map(|line| line.strip_prefix("# ")?.split_once('='));
    let listed: Vec<String> = listed
        .map(|(name, _)| name.to_owned())
        .filter(|name| !name.contains(' '))
        .collect();
    let distinct: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(distinct.len(), listed.len(), "a variable stands twice");
    let commands = commands();
    let arguments = commands.values().flat_map(clap::Command::get_arguments);
    let variables = arguments.filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned()));
    let mut variables: BTreeSet<String> = variables.collect();
    for (former, now) in settings::FORMER {
        assert!(variables.contains(now), "{former} is now {now}, which no option has");
    }
    variables.insert("RUST_LOG".to_owned());
    assert_eq!(distinct, variables);
}

#[test]
fn every_command_has_an_example_and_its_exit_codes_in_its_help() {
    for tested in all() {
        let mut command = commands()[tested.path].clone();
        let help = command.render_long_help().to_string();
        assert!(help.contains(&format!("  echosphere {}", tested.path)), "{help}");
        assert!(help.contains("Exit codes: "), "{help}");
    }
}

#[test]
fn a_chat_takes_its_address_as_an_argument_or_as_an_option() {
    let to = |line: &str| {
        let System::Chat(args) = Cli::try_parse_from(line.split(' ')).unwrap().system else {
            panic!("{line} is a chat");
        };
        let address = match &args.command {
            Some(chat::Command::Connect(args)) => Some(args.to()),
            Some(chat::Command::Ping(args)) => args.to(),
            _ => None,
        };
        address.map(|address| address.clone().or_port(8001).to_string())
    };
    for (line, expected) in [
        ("echosphere chat connect", Some("127.0.0.1:8001")),
        ("echosphere chat connect 127.0.0.2", Some("127.0.0.2:8001")),
        ("echosphere chat connect --to 127.0.0.2:1", Some("127.0.0.2:1")),
        (
            "echosphere chat connect 127.0.0.2 --to 127.0.0.3",
            Some("127.0.0.2:8001"),
        ),
        (
            "echosphere chat connect --to 127.0.0.3 127.0.0.2",
            Some("127.0.0.2:8001"),
        ),
        ("echosphere chat ping", None),
        ("echosphere chat ping 127.0.0.2", Some("127.0.0.2:8001")),
        ("echosphere chat ping --to 127.0.0.2:1", Some("127.0.0.2:1")),
    ] {
        assert_eq!(to(line).as_deref(), expected, "{line}");
    }
}

#[test]
fn the_bounds_of_a_chat_reach_both_its_sides() {
    let system = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().system;
    let line = |command: &str| format!("echosphere chat {command} --window 53B");
    let System::Chat(args) = system(&line("connect")) else {
        panic!("a chat");
    };
    let Some(chat::Command::Connect(connect)) = args.command else {
        panic!("a client");
    };
    assert_eq!(connect.client().exchange.window, 53);
    let System::Chat(args) = system(&line("serve")) else {
        panic!("a chat");
    };
    let Some(chat::Command::Serve(serve)) = args.command else {
        panic!("a server");
    };
    assert_eq!(serve.server().exchange.window, 53);
    assert_eq!(serve.bounds.links().unwrap().max_connections, 64);
    let System::Chat(args) = system(&line("ping")) else {
        panic!("a chat");
    };
    let Some(chat::Command::Ping(ping)) = args.command else {
        panic!("a ping");
    };
    assert_eq!(ping.client().exchange.window, 53);
    assert!(!ping.client().retry_refused, "a refusal is its result");
    assert_eq!(ping.own_server().exchange.window, 53);
}
