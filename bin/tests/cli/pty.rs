//! The program at a terminal.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{InputModes, LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::support::echosphere;

/// Only a test that has failed waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a terminal does with what is typed.
type Modes = (LocalModes, InputModes);

/// A terminal, and the program that runs there.
pub(crate) struct Terminal {
    /// The side of whoever looks and types.
    master: File,
    /// The side of the program, kept open so that its modes can be seen when the program has ended.
    slave: File,
    pub(crate) child: Child,
    modes: Modes,
    /// What was shown.
    pub(crate) shown: String,
    unread: Vec<u8>,
}

impl Terminal {
    /// Runs the program at a terminal of 80 columns.
    pub(crate) fn run(name: &str, args: &[&str]) -> Self {
        Self::run_at(name, args, 80)
    }

    pub(crate) fn run_at(name: &str, args: &[&str], columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let path = std::ffi::OsStr::from_bytes(path.as_bytes());
        let slave = OpenOptions::new().read(true).write(true).open(path).unwrap();
        tcsetwinsize(&slave, size(columns)).unwrap();
        // Some terminals change what is typed, which a prompt turns off.
        let mut changes = tcgetattr(&slave).unwrap();
        changes.input_modes |= InputModes::INLCR | InputModes::ISTRIP;
        tcsetattr(&slave, OptionalActions::Now, &changes).unwrap();
        let modes = modes(&slave);
        let program = echosphere(name, args);
        // So that it is the terminal of a session, whose keys make signals.
        let mut command = Command::new("/usr/bin/setsid");
        command
            .arg("--ctty")
            .arg(program.get_program())
            .args(program.get_args());
        command.current_dir(program.get_current_dir().unwrap());
        let end = || slave.try_clone().unwrap();
        let child = command
            .env_clear()
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        Self {
            master: master.into(),
            slave,
            child,
            modes,
            shown: String::new(),
            unread: Vec::new(),
        }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this is shown. Returns everything that was shown up to there since this was called last.
    pub(crate) fn until(&mut self, text: &str) -> String {
        loop {
            let found = self.unread.windows(text.len()).position(|at| at == text.as_bytes());
            if let Some(at) = found {
                let shown: Vec<u8> = self.unread.drain(..at + text.len()).collect();
                return String::from_utf8(shown).unwrap();
            }
            assert!(self.look(PATIENCE), "{text:?} is not shown, but {:?}", self.shown);
        }
    }

    /// Waits until the terminal is one with a prompt: it passes every key on as it is, and keys still make signals.
    pub(crate) fn until_prompt(&mut self) {
        self.until("> ");
        let (local, input) = modes(&self.slave);
        assert!(!local.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN));
        assert!(local.contains(LocalModes::ISIG));
        assert!(!input.intersects(InputModes::ICRNL | InputModes::INLCR | InputModes::ISTRIP | InputModes::IXON));
    }

    /// Makes the terminal as wide as this, as dragging its window does.
    pub(crate) fn resize(&self, columns: u16) {
        tcsetwinsize(&self.slave, size(columns)).unwrap();
    }

    /// Takes what is shown. `false` if nothing is within this time.
    fn look(&mut self, within: Duration) -> bool {
        let timeout = Timespec::try_from(within).unwrap();
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)).unwrap() == 0 {
            return false;
        }
        let mut bytes = [0; 4096];
        let length = self.master.read(&mut bytes).unwrap();
        self.unread.extend_from_slice(&bytes[..length]);
        self.shown += &String::from_utf8_lossy(&bytes[..length]);
        true
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sets the terminal back, as a shell does.
    pub(crate) fn set_back(&self) {
        let mut modes = tcgetattr(&self.slave).unwrap();
        (modes.local_modes, modes.input_modes) = self.modes;
        tcsetattr(&self.slave, OptionalActions::Now, &modes).unwrap();
    }

    /// Whether the terminal is as the program found it.
    pub(crate) fn is_as_before(&self) -> bool {
        modes(&self.slave) == self.modes
    }

    /// Waits for the program to end, which must leave the terminal as it was. Returns its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        // A program does not end while what it shows is not read.
        while self.child.try_wait().unwrap().is_none() {
            self.look(Duration::from_millis(10));
        }
        while self.look(Duration::ZERO) {}
        assert!(self.is_as_before(), "{:?}", modes(&self.slave));
        // Pasted text is not marked any more.
        let last = |mark: &str| self.shown.rfind(mark);
        assert!(last("\u{1b}[?2004h") <= last("\u{1b}[?2004l"), "{:?}", self.shown);
        assert!(self.shown.ends_with('\n') || self.shown.ends_with("\u{1b}[?2004l"));
        self.child.wait().unwrap().code()
    }
}

const fn size(columns: u16) -> Winsize {
    Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn modes(terminal: &File) -> Modes {
    let modes = tcgetattr(terminal).unwrap();
    (modes.local_modes, modes.input_modes)
}
