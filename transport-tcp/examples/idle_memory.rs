//! How much memory an idle connection costs an echo server: opens many, and reports the growth of the resident set.
//!
//! `cargo run --release -p echosphere-transport-tcp --example idle_memory [CONNECTIONS]`
//!
//! The clients are plain sockets in a process of their own, so that only the server is measured. The kernel's share
//! of a connection is not in a process's resident set.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{EchoCodec, MAX_MESSAGE, Server, ServerConfig};
use echosphere_core::endpoint::Endpoint;
use echosphere_driver::Driver;
use echosphere_transport_tcp::TcpListener;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

const DEFAULT_CONNECTIONS: u64 = 8000;
/// Before the first measurement, so that what there is one of is there already.
const WARM_UP: u64 = 100;
/// An address has 28,232 ports by Linux's default.
const PER_ADDRESS: u64 = 20_000;
const HELLO: [u8; 4] = [0; 4];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;

    let args: Vec<String> = env::args().skip(1).collect();
    match &args[..] {
        [] => serve(DEFAULT_CONNECTIONS),
        [count] => serve(count.parse()?),
        [addr, counts @ ..] => connect(addr.parse()?, counts),
    }
}

/// The child: opens as many connections as each of `counts` says, each time a line of input has come.
fn connect(server: SocketAddr, counts: &[String]) -> Result<()> {
    let mut sockets = Vec::new();
    for count in counts {
        for _ in 0..count.parse::<u64>()? {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            let from = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + (sockets.len() as u64 / PER_ADDRESS) as u32);
            socket.bind(&SocketAddr::from((from, 0)).into())?;
            socket.connect(&server.into())?;
            (&socket).write_all(&HELLO)?;
            sockets.push(socket);
        }
        io::stdin().read_line(&mut String::new())?;
    }
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Serves the child's connections, and measures.
#[tokio::main(flavor = "current_thread")]
async fn serve(connections: u64) -> Result<()> {
    let server = Server::new(ServerConfig::default(), ChaCha12Rng::seed_from_u64(1));
    let endpoint = Endpoint::new(server, EchoCodec::accepted(MAX_MESSAGE), ConnectionConfig::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let addr = listener.local_addr()?;
    let (driver, handle) = Driver::new(endpoint);
    let driver = driver.listen(listener);
    let driver = tokio::spawn(driver.run());
    let opened = async |count| {
        while handle.inspect(|endpoint| endpoint.machine().counters().opened).await? < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        resident()
    };

    let mut child = Command::new(env::current_exe()?)
        .args([addr.to_string(), WARM_UP.to_string(), connections.to_string()])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut go_on = child.stdin.take().ok_or("no pipe to the child")?;
    let before = opened(WARM_UP).await?;
    go_on.write_all(b"\n")?;
    let after = opened(WARM_UP + connections).await?;
    println!(
        "{connections} idle connections: {} bytes each ({} KiB before, {} KiB after)",
        after.saturating_sub(before) / connections,
        before / 1024,
        after / 1024
    );

    drop(go_on);
    child.wait()?;
    handle.drain(Duration::ZERO).await?;
    let endpoint = driver.await?;
    assert!(endpoint.is_zero());
    Ok(())
}

/// The bytes of this process that are in memory.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.ok_or("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(kibibytes.parse::<u64>()? * 1024)
}
