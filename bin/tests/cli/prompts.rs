//! Prompts: whatever ends one, the terminal is left as it was.

use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use crate::pty::Terminal;
use crate::support::{Serving, stdout};

/// A chat at a terminal with a server.
fn chat(name: &'static str) -> (Serving, Terminal) {
    let serving = Serving::start("chat", name, &[]);
    let mut terminal = Terminal::run(name, &["chat", "connect", &serving.addr]);
    terminal.until("● connected");
    terminal.until_prompt();
    (serving, terminal)
}

/// A user of a hub at a terminal.
fn hub(name: &'static str) -> (Serving, Terminal) {
    let serving = Serving::start("hub", name, &[]);
    let mut terminal = Terminal::run(name, &["hub", "connect", "--to", &serving.addr]);
    terminal.until("you are user 1");
    terminal.until_prompt();
    (serving, terminal)
}

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";
const CTRL_L: &str = "\u{c}";
const CTRL_Z: &str = "\u{1a}";

#[test]
fn a_prompt_that_its_user_leaves() {
    for (keys, code) in [(CTRL_D, 0), (CTRL_C, 130)] {
        let (_serving, mut terminal) = chat("prompt-chat-left");
        terminal.type_in(keys);
        assert_eq!(terminal.end(), Some(code), "chat, {keys:?}");
        assert!(terminal.shown.contains("○ the chat has ended"), "{:?}", terminal.shown);
        let (_serving, mut terminal) = hub("prompt-hub-left");
        terminal.type_in(keys);
        assert_eq!(terminal.end(), Some(code), "hub, {keys:?}");
    }
    let (_serving, mut terminal) = hub("prompt-hub-left");
    terminal.type_in("quit\r");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn a_prompt_with_text_that_its_user_leaves() {
    let (_serving, mut terminal) = chat("prompt-text");
    terminal.type_in("not sent");
    terminal.until("not sent");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.end(), Some(130));
}

#[test]
fn a_prompt_that_a_signal_ends() {
    for (signal, code) in [
        (Signal::INT, 130),
        (Signal::TERM, 130),
        (Signal::HUP, 130),
        (Signal::QUIT, 131),
    ] {
        let (_serving, mut terminal) = chat("prompt-chat-signal");
        terminal.signal(signal);
        assert_eq!(terminal.end(), Some(code), "chat, {signal:?}");
        let (_serving, mut terminal) = hub("prompt-hub-signal");
        terminal.signal(signal);
        assert_eq!(terminal.end(), Some(code), "hub, {signal:?}");
    }
}

#[test]
fn a_prompt_that_is_interrupted_twice() {
    // A server that does not answer keeps the chat waiting for its acknowledgements.
    let (serving, mut terminal) = chat("prompt-twice");
    serving.signal(Signal::STOP);
    terminal.type_in("are you there?\r");
    terminal.until("are you there?");
    terminal.type_in(CTRL_C);
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.end(), Some(130));
    serving.signal(Signal::KILL);
    serving.wait();
}

#[test]
fn a_prompt_whose_server_is_not_there() {
    let args = ["chat", "connect", "127.0.0.1:1", "--timeout", "300ms"];
    let mut terminal = Terminal::run("prompt-nobody", &args);
    assert_eq!(terminal.end(), Some(1));
    assert!(terminal.shown.contains("no server listens at"), "{:?}", terminal.shown);
}

#[test]
fn a_prompt_whose_server_talks_with_somebody_else() {
    let (serving, _first) = chat("prompt-busy");
    let mut terminal = Terminal::run("prompt-busy", &["chat", "connect", &serving.addr]);
    assert_eq!(terminal.end(), Some(1));
    assert!(terminal.shown.contains("busy"), "{:?}", terminal.shown);
}

#[test]
fn a_prompt_whose_server_ends_or_is_killed() {
    for (signal, why) in [(Signal::INT, "shutting-down"), (Signal::KILL, "○ ")] {
        let (serving, mut terminal) = chat("prompt-server-ends");
        serving.signal(signal);
        serving.wait();
        assert_eq!(terminal.end(), Some(1), "{signal:?}");
        assert!(terminal.shown.contains(why), "{:?}", terminal.shown);
        // Without --reconnect it does not try again.
        assert_eq!(terminal.shown.matches("○ ").count(), 1, "{:?}", terminal.shown);
    }
}

#[test]
fn a_prompt_whose_server_speaks_something_else() {
    let serving = Serving::start("echo", "prompt-echo", &[]);
    let mut terminal = Terminal::run("prompt-echo", &["chat", "connect", &serving.addr, "--timeout", "2s"]);
    assert_eq!(terminal.end(), Some(1));
}

#[test]
fn a_prompt_of_a_server_whose_only_peer_leaves() {
    let mut server = Terminal::run("prompt-once", &["chat", "serve", "--listen", "127.0.0.1:0", "--once"]);
    server.until("listening on ");
    let addr = server.until(" ");
    let mut client = Terminal::run("prompt-once", &["chat", "connect", addr.trim()]);
    server.until("● connected");
    client.until("● connected");
    client.until_prompt();
    client.type_in("goodbye\r");
    client.until("✓ ");
    client.type_in(CTRL_D);
    assert_eq!(client.end(), Some(0));
    assert_eq!(server.end(), Some(0));
    // Nothing of what was said last is lost.
    for shown in ["‹ goodbye", "○ the other side has left"] {
        assert!(server.shown.contains(shown), "{:?}", server.shown);
    }
}

#[test]
fn a_prompt_that_is_stopped_and_goes_on() {
    let (_serving, mut terminal) = hub("prompt-stopped");
    terminal.type_in("ident");
    terminal.until("ident");
    let pid = Pid::from_child(&terminal.child);
    terminal.type_in(CTRL_Z);
    // Its rows go, and what others print begins there.
    terminal.until("\r\u{1b}[J\u{1b}[?2004l");
    let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped() && terminal.is_as_before());
    terminal.signal(Signal::CONT);
    terminal.until("> ident");
    terminal.type_in("ity\r");
    terminal.until("you are user 1");
    terminal.type_in(CTRL_D);
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn a_prompt_that_is_continued_after_others_used_its_terminal() {
    let (_serving, mut terminal) = hub("prompt-continued");
    let pid = Pid::from_child(&terminal.child);
    terminal.signal(Signal::STOP);
    waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    terminal.set_back();
    terminal.signal(Signal::CONT);
    terminal.until_prompt();
    terminal.type_in(CTRL_D);
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn pasted_commands_are_commands_of_their_own() {
    let (serving, mut terminal) = hub("prompt-paste");
    let mut other = Terminal::run("prompt-paste", &["hub", "connect", "--to", &serving.addr]);
    other.until("you are user 2");
    terminal.type_in("\u{1b}[200~relay 1 for one only\rrelay 2 secret for two\u{1b}[201~\r");
    terminal.until("from 1: for one only");
    other.until("from 1: secret for two");
    assert!(!terminal.shown.contains("from 1: secret"), "{:?}", terminal.shown);
}

#[test]
fn a_body_of_several_lines_is_sent_or_dropped() {
    let (_serving, mut terminal) = hub("prompt-body");
    terminal.type_in("relay 1\r");
    terminal.until("to 1 > ");
    terminal.type_in("list\r\rquit\r\r\r");
    let shown = terminal.until("  quit");
    assert!(shown.contains("from 1: list\r\n\r\n  quit"), "{shown:?}");
    terminal.type_in("relay 1\r");
    terminal.until("to 1 > ");
    terminal.type_in("one line\r");
    terminal.until("one line");
    terminal.type_in(CTRL_D);
    terminal.until("from 1: one line");
    terminal.type_in("relay 1\r");
    terminal.until("to 1 > ");
    terminal.type_in(CTRL_C);
    terminal.until("the message is dropped");
    terminal.type_in(CTRL_D);
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn a_pasted_text_is_one_message() {
    let (mut serving, mut terminal) = chat("prompt-chat-paste");
    terminal.type_in("\u{1b}[200~one\rtwo\u{1b}[201~\r");
    terminal.until("✓ ");
    terminal.type_in("three\u{1b}\rfour\r");
    terminal.until("✓ ");
    terminal.type_in(CTRL_D);
    assert_eq!(terminal.end(), Some(0));
    serving.signal(Signal::INT);
    let output = serving.child.wait_with_output().unwrap();
    let _ = &mut serving.stderr;
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "one\n  two\nthree\n  four\n");
}

#[test]
fn lines_are_broken_between_words() {
    let serving = Serving::start("chat", "prompt-wrap", &[]);
    let mut terminal = Terminal::run_at("prompt-wrap", &["chat", "connect", &serving.addr], 44);
    terminal.until_prompt();
    terminal.type_in(CTRL_D);
    assert_eq!(terminal.end(), Some(0));
    for line in terminal.shown.split("\r\n").filter(|line| !line.contains('\u{1b}')) {
        assert!(line.chars().count() <= 44, "{line:?}");
    }
    let help = "Enter sends, Alt-Enter starts a new line,\r\n  and Ctrl-D leaves.";
    assert!(terminal.shown.contains(help), "{:?}", terminal.shown);
}

#[test]
fn a_terminal_of_another_width_is_drawn_anew() {
    let (_serving, mut terminal) = chat("prompt-resized");
    terminal.type_in(&format!("{}y", "x".repeat(99)));
    terminal.until("y");
    // The terminal has wrapped the text from two rows into three.
    terminal.resize(40);
    let erased = terminal.until("> x");
    assert!(erased.ends_with("\u{1b}[2A\r\u{1b}[J> x"), "{erased:?}");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.end(), Some(130));
}

#[test]
fn a_screen_is_cleared_and_the_prompt_stays() {
    let (_serving, mut terminal) = chat("prompt-cleared");
    terminal.type_in("abc");
    terminal.until("abc");
    terminal.type_in(CTRL_L);
    terminal.until("\u{1b}[H\u{1b}[2J");
    // Nothing is left to be erased.
    assert_eq!(terminal.until("> abc"), "> abc");
    terminal.type_in("d");
    let shown = terminal.until("abcd");
    assert!(shown.contains("\u{1b}[J> abcd"), "{shown:?}");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.end(), Some(130));
}

#[test]
fn a_message_to_nobody_is_refused_and_fails_nothing() {
    let mut server = Terminal::run("prompt-nobody-there", &["chat", "serve", "--listen", "127.0.0.1:0"]);
    server.until("listening on ");
    server.until("> ");
    server.type_in("hello?\r");
    server.until("✗ not sent: no peer is connected");
    server.until("> ");
    server.type_in(CTRL_D);
    assert_eq!(server.end(), Some(0));
}

#[test]
fn with_reconnect_a_chat_begins_again_when_its_server_has_restarted() {
    for signal in [Signal::KILL, Signal::INT] {
        let serving = Serving::start("chat", "prompt-again", &[]);
        let addr = serving.addr.clone();
        let mut terminal = Terminal::run("prompt-again", &["chat", "connect", &addr, "--reconnect"]);
        terminal.until("● connected");
        terminal.until_prompt();
        serving.signal(signal);
        serving.wait();
        let mut serving = Serving::start("chat", "prompt-again", &["--listen", &addr]);
        terminal.until("● connected\r\n");
        terminal.until("> ");
        terminal.type_in("still there?\r");
        terminal.until("✓ ");
        terminal.type_in(CTRL_D);
        assert_eq!(terminal.end(), Some(0), "{signal:?}");
        serving.child.kill().unwrap();
        assert_eq!(stdout(&serving.wait()), "still there?\n", "{signal:?}");
    }
}

#[test]
fn a_prompt_of_a_wide_terminal_shows_the_round_trips() {
    let serving = Serving::start("chat", "prompt-width", &[]);
    for (columns, shows) in [(50, true), (49, false)] {
        let args = ["chat", "connect", &serving.addr];
        let mut terminal = Terminal::run_at("prompt-width", &args, columns);
        terminal.until("● connected");
        terminal.until("> ");
        terminal.type_in("x\r");
        terminal.until("✓ ");
        let shown = terminal.until("> ");
        // Three figures, and the prompt.
        assert_eq!(
            shown.matches('/').count() == 2 && shown.ends_with(" ms > "),
            shows,
            "{shown:?}"
        );
        terminal.type_in(CTRL_D);
        assert_eq!(terminal.end(), Some(0));
    }
}

#[test]
fn of_several_messages_on_their_way_each_outcome_names_its_own() {
    let (serving, mut terminal) = chat("prompt-several");
    serving.signal(Signal::STOP);
    for text in ["first", "second"] {
        terminal.type_in(&format!("{text}\r"));
        terminal.until(text);
        terminal.until("\r\u{1b}[2C");
    }
    serving.signal(Signal::CONT);
    let shown = terminal.until(" · first\r\n");
    assert!(shown.contains("✓ "), "{shown:?}");
    terminal.until("✓ ");
    terminal.type_in(CTRL_D);
    assert_eq!(terminal.end(), Some(0));
    assert!(!terminal.shown.contains(" · second"), "{:?}", terminal.shown);
}

#[test]
fn a_user_of_a_hub_that_has_restarted_goes_on_at_the_same_prompt() {
    let (serving, mut terminal) = hub("prompt-hub-again");
    let addr = serving.addr.clone();
    serving.signal(Signal::KILL);
    serving.wait();
    let _serving = Serving::start("hub", "prompt-hub-again", &["--listen", &addr]);
    terminal.until("you are user 1");
    terminal.type_in("list\r");
    terminal.until("no other users are connected");
    terminal.type_in(CTRL_D);
    assert_eq!(terminal.end(), Some(0));
    for hint in [("type help", 1), ("type the message", 0)] {
        assert_eq!(terminal.shown.matches(hint.0).count(), hint.1, "{:?}", terminal.shown);
    }
}

#[test]
fn log_lines_stand_above_a_prompt() {
    let serving = Serving::start("hub", "prompt-log", &[]);
    let mut terminal = Terminal::run("prompt-log", &["-v", "hub", "connect", "--to", &serving.addr]);
    terminal.until("you are user 1");
    terminal.until("> ");
    serving.signal(Signal::KILL);
    serving.wait();
    let shown = terminal.until("connection closed");
    let row = shown.rsplit('\n').next().unwrap();
    assert!(row.contains("\r\u{1b}[J"), "the prompt is erased first: {shown:?}");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.end(), Some(130));
}
