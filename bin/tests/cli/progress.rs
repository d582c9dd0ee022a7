//! Progress bars: shown at a terminal, to people who want them.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};

use crate::pty::Terminal;

const CTRL_C: &str = "\u{3}";

#[test]
fn a_load_shows_its_progress_to_people_alone() {
    let load = ["echo", "load", "--clients", "50", "--over", "300ms"];
    for (option, shows) in [(&[][..], true), (&["-q"], false), (&["--log-format", "json"], false)] {
        let mut terminal = Terminal::run("progress", &[&load, option].concat());
        assert_eq!(terminal.end(), Some(0));
        let shown = terminal.shown.contains(" of 50 acknowledged");
        assert_eq!(shown, shows, "{option:?}: {:?}", terminal.shown);
    }
}

#[test]
fn a_server_that_drains_counts_the_seconds_down() {
    let args = ["echo", "serve", "--listen", "127.0.0.1:0", "--drain", "100s"];
    let mut server = Terminal::run("progress-drain", &args);
    server.until("listening on ");
    let addr = server.until(" ");
    let mut peer = TcpStream::connect(addr.trim()).unwrap();
    peer.write_all(b"message x\n").unwrap();
    let mut replies = BufReader::new(peer.try_clone().unwrap());
    let mut line = String::new();
    replies.read_line(&mut line).unwrap();
    server.type_in(CTRL_C);
    let shown = server.until(" s left");
    let left = shown.rsplit(' ').nth(2).and_then(|left| left.parse::<u64>().ok());
    assert!(left.is_some_and(|left| (1..=100).contains(&left)), "{shown:?}");
    peer.write_all(b"ok x\n").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.end(), Some(0));
}
