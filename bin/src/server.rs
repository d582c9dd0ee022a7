//! What every server on the command line has: its connections' bounds, running until a signal, and what it has left.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{anyhow, bail};
use bytesize::ByteSize;
use echosphere_core::Machine;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::Codec;
use echosphere_driver::{Driver, Handle, Stream};
use echosphere_transport_tcp::{TcpListener, ThreadedListener};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::limits::OTHER_FILES;
use crate::signals::Signals;
use crate::stderr::{complain, listening, status};
use crate::values::{count, size, thousands, time_out};
use crate::{output, progress};

#[cfg(test)]
mod tests;

/// Connections at once, where neither `--max-connections` nor the number of open files says less.
const MAX_CONNECTIONS: usize = 200_000;

/// The bound on messages of which only a part has arrived.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct PartialBound {
    /// Bytes of half-received messages over all connections; with more, the connection with the largest is told `error busy`
    #[arg(
        long,
        value_name = "SIZE",
        env = "ECHOSPHERE_MAX_PARTIAL_BYTES",
        default_value = "256MiB"
    )]
    max_partial_bytes: ByteSize,
}

impl PartialBound {
    /// In bytes. `longest` is how many bytes the longest message has.
    ///
    /// # Errors
    ///
    /// If that message could never arrive.
    pub(crate) fn bytes(self, longest: usize) -> anyhow::Result<usize> {
        let (bound, least) = (bytes(self.max_partial_bytes), 2 * longest);
        if bound < least {
            bail!(
                "--max-partial-bytes is too small: while the longest message, of {longest} bytes, arrives, it can take {least}; \
                 give that or more"
            );
        }
        Ok(bound)
    }
}

/// Time-outs and bounds of a server's connections.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub(crate) struct LinkBounds {
    /// Refuse connections beyond this many with `error full` [default: 200000, or as many as the open files allow]
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_CONNECTIONS",
        value_parser = count::<usize>(1..=u64::from(u32::MAX))
    )]
    max_connections: Option<usize>,

    /// Drop a connection as a slow consumer if more than this many bytes wait to be written to it for --backlog-timeout
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_MAX_BACKLOG", default_value = "16MiB", value_parser = size(0..=u64::MAX))]
    max_backlog: ByteSize,

    /// Let more than --max-backlog wait for at most this long
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_BACKLOG_TIMEOUT", default_value = "5s", value_parser = time_out)]
    backlog_timeout: Duration,

    /// Drop a connection at once if more than this many bytes wait to be written to it
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_MAX_OUTBOX", default_value = "128MiB", value_parser = size(1..=u64::MAX))]
    max_outbox: ByteSize,

    #[command(flatten)]
    partial: PartialBound,

    /// Close a connection that sends no whole frame or line within this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_HANDSHAKE_TIMEOUT", default_value = "10s", value_parser = time_out)]
    handshake_timeout: Duration,

    /// Close a connection in length framing that sends nothing for this long
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_IDLE_TIMEOUT", default_value = "60s", value_parser = time_out)]
    idle_timeout: Duration,

    /// Close a connection in lines that sends nothing for this long
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_IDLE_TIMEOUT_TEXT", default_value = "10m", value_parser = time_out)]
    idle_timeout_text: Duration,

    /// Send an empty frame after sending nothing for this long
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_KEEPALIVE", default_value = "20s", value_parser = time_out)]
    keepalive: Duration,

    /// Drop a closing connection after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_LINGER", default_value = "5s", value_parser = time_out)]
    linger: Duration,
}

/// A size as a number of bytes in memory.
pub(crate) fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

impl LinkBounds {
    /// Connections at once, at most.
    pub(crate) fn max_connections(&self) -> usize {
        self.max_connections.unwrap_or(MAX_CONNECTIONS)
    }

    /// Lowers the number of connections to what `files` open files allow each of the threads that hold sockets, and says
    /// so if more were asked for.
    pub(crate) fn fit(&mut self, files: u64, threads: Threads) {
        let most = files
            .saturating_sub(OTHER_FILES)
            .max(1)
            .saturating_mul(threads.io_threads.into());
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if let Some(wanted) = self.max_connections.filter(|wanted| *wanted > most) {
            complain!(
                "warning: --max-connections {} is lowered to {}: this process may open {} files (raise it with ulimit -n, or use more --io-threads)",
                thousands(wanted as u64),
                thousands(most as u64),
                thousands(files)
            );
        }
        self.max_connections = Some(self.max_connections().min(most));
    }

    /// The same for an endpoint whose longest message has this many bytes.
    ///
    /// # Errors
    ///
    /// If the bounds do not allow for that message.
    pub(crate) fn config(&self, max_message: usize) -> anyhow::Result<ConnectionConfig> {
        Ok(ConnectionConfig {
            handshake_timeout: self.handshake_timeout,
            idle_timeout: self.idle_timeout,
            idle_timeout_text: self.idle_timeout_text,
            keepalive_interval: self.keepalive,
            linger: self.linger,
            max_backlog: bytes(self.max_backlog),
            backlog_timeout: self.backlog_timeout,
            max_outbox: bytes(self.max_outbox).max(max_message + 64),
            max_partial_bytes: self.partial.bytes(max_message)?,
            max_connections: self.max_connections(),
        })
    }
}

/// Tells where a server listens, on stderr and, if that has JSON, on stdout.
pub(crate) fn announce(address: SocketAddr, transport: &str, more: &str, json: bool) -> anyhow::Result<()> {
    listening(address, transport, more);
    if json {
        output::json(&json!({ "event": "listening", "transport": transport, "address": address }))?;
    }
    Ok(())
}

/// Binds to an address that `flag` gave, and says what to do where that fails. Must be called within a runtime.
pub(crate) fn bind(addr: SocketAddr, flag: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(addr).map_err(|error| cannot_listen(error, addr, flag))?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// What to say where an address that `flag` gave cannot be listened on.
pub(crate) fn cannot_listen(error: io::Error, addr: SocketAddr, flag: &str) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "another program listens there; choose another port with {flag} ADDR:PORT (port 0 takes a free one)"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need a permission; choose another port with {flag} ADDR:PORT")
        }
        io::ErrorKind::AddrNotAvailable => format!("this machine does not have that address; see {flag} ADDR:PORT"),
        _ => format!("see {flag} ADDR:PORT"),
    };
    anyhow!("cannot listen on {addr}: {error}; {advice}")
}

/// What reads and writes a server's sockets.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Threads {
    /// Read and write sockets on this many threads, each with as many open files as a process may have
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_IO_THREADS",
        default_value = "1",
        value_parser = count::<u16>(1..=256)
    )]
    io_threads: u16,
}

impl Default for Threads {
    fn default() -> Self {
        Self { io_threads: 1 }
    }
}

impl Threads {
    /// How many, if there are any beside the server's own.
    fn beside(self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.io_threads.into()).filter(|count| count.get() > 1)
    }
}

/// Serves on `addr` until a signal, then drains for at most `within`. Tells where it listens, on stdout too if that has
/// JSON. Returns what is left.
pub(crate) async fn serve<M, C>(
    endpoint: Endpoint<M, C>,
    addr: SocketAddr,
    threads: Threads,
    within: Duration,
    json: bool,
) -> anyhow::Result<Endpoint<M, C>>
where
    M: Machine + Send + 'static,
    C: Codec<Message = M::Message> + Clone + Send + 'static,
    M::Command: Send,
{
    // Whoever reads where it listens may send one at once.
    let signals = Signals::catch()?;
    if let Some(count) = threads.beside() {
        let listener = ThreadedListener::bind(addr, count).map_err(|error| {
            // Not the system's: a thread's.
            match error.raw_os_error() {
                None => anyhow::Error::new(error).context("use --io-threads 1"),
                Some(_) => cannot_listen(error, addr, "--listen"),
            }
        })?;
        let more = format!(" with {count} threads (Ctrl-C drains)");
        announce(listener.local_addr(), "tcp", &more, json)?;
        let (driver, handle) = Driver::serve(endpoint, listener);
        return Ok(until_drained(driver, handle, signals, within).await);
    }
    let (listener, addr) = bind(addr, "--listen")?;
    let (driver, handle) = Driver::serve(endpoint, listener);
    announce(addr, "tcp", " (Ctrl-C drains)", json)?;
    Ok(until_drained(driver, handle, signals, within).await)
}

/// Runs a driver that serves until a signal, then drains for at most `within`. Returns what is left.
pub(crate) async fn until_drained<M, C, S>(
    driver: Driver<M, C, S>,
    handle: Handle<M, C>,
    mut signals: Signals,
    within: Duration,
) -> Endpoint<M, C>
where
    M: Machine + Send + 'static,
    C: Codec<Message = M::Message> + Clone + Send + 'static,
    M::Command: Send,
    M::Notice: 'static,
    S: Stream,
{
    let drain = async move {
        signals.next().await;
        status!(
            "draining: connections under way have {} to finish (Ctrl-C again ends at once)",
            humantime::format_duration(within)
        );
        // If the driver has ended already, there is nothing to drain.
        let _ = handle.drain(within).await;
        tokio::select! {
            biased;
            () = signals.end_at_next() => {}
            () = count_down(within) => {}
        }
    };
    let mut run = std::pin::pin!(driver.run());
    tokio::select! {
        biased;
        endpoint = &mut run => endpoint,
        () = drain => run.await,
    }
}

/// Shows people at a terminal what is left of a drain's time, for ever.
async fn count_down(within: Duration) {
    let until = Instant::now() + within;
    let bar = progress::bar(0, "{msg}");
    progress::keep(&bar, |bar| {
        let left = until.saturating_duration_since(Instant::now());
        bar.set_message(format!("draining: {} s left", left.as_millis().div_ceil(1000)));
    })
    .await;
}

/// What a server has left, and what it did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct State {
    /// Whether nothing is left.
    pub(crate) zero: bool,
    /// Connections left.
    connections: usize,
    /// Messages left that wait for their ok, where the protocol knows such.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<usize>,
    /// Timers left.
    timers: usize,
    /// Counters of the machine and of its connections.
    pub(crate) counters: BTreeMap<&'static str, u64>,
}

impl State {
    /// Of `endpoint`, whose machine has these counters, and perhaps messages that wait for their ok.
    pub(crate) fn of<M, C>(
        endpoint: &Endpoint<M, C>,
        counters: impl Iterator<Item = (&'static str, u64)>,
        waiting: Option<usize>,
    ) -> Self
    where
        M: Machine,
        C: Codec<Message = M::Message> + Clone,
    {
        Self {
            zero: endpoint.is_zero(),
            connections: endpoint.connections(),
            waiting,
            timers: endpoint.timers(),
            counters: counters.chain(endpoint.counters().iter()).collect(),
        }
    }

    /// Prints it to stdout.
    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return output::json(&Stopped {
                event: "stopped",
                state: self,
            });
        }
        let counters = self.counters.iter().filter(|(_, count)| **count > 0);
        let table = output::table(counters.map(|(name, count)| (*name, thousands(*count))));
        output::bytes(format!("{}\n{table}", self.summary()).as_bytes())
    }

    /// One line on what is left.
    pub(crate) fn summary(&self) -> String {
        let Self {
            connections, timers, ..
        } = self;
        let verdict = if self.zero { "at zero" } else { "NOT at zero" };
        let waiting = self.waiting.map(|waiting| format!("{waiting} waiting messages, "));
        let waiting = waiting.unwrap_or_default();
        format!("server {verdict}: {connections} connections, {waiting}{timers} timers")
    }
}

/// The last that a server prints.
#[derive(Debug, Serialize)]
struct Stopped<'a> {
    event: &'static str,
    #[serde(flatten)]
    state: &'a State,
}

/// A server of this program's own, on a thread of its own and a free port of the loopback address.
pub(crate) struct OwnServer<M: Machine, C: Codec<Message = M::Message>> {
    pub(crate) addr: SocketAddr,
    handle: Handle<M, C>,
    thread: JoinHandle<()>,
}

impl<M, C> OwnServer<M, C>
where
    M: Machine + Send + 'static,
    C: Codec<Message = M::Message> + Clone + Send + 'static,
    M::Command: Send,
    M::Message: Send,
    M::Notice: Send,
{
    pub(crate) fn start(endpoint: Endpoint<M, C>) -> anyhow::Result<Self> {
        let (started, starting) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("server".to_owned()).spawn(move || {
            runtime.block_on(async {
                let bound = bind((Ipv4Addr::LOCALHOST, 0).into(), "--listen").map(|(listener, addr)| {
                    let (driver, handle) = Driver::serve(endpoint, listener);
                    (driver, (addr, handle))
                });
                match bound {
                    Ok((driver, started_with)) => {
                        // Whoever started this waits for the answer.
                        let _ = started.send(Ok(started_with));
                        driver.run().await;
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            });
        })?;
        let (addr, handle) = starting.recv()??;
        Ok(Self { addr, handle, thread })
    }

    /// What the server has left once its last connections have had time to close, as `state` tells it.
    pub(crate) async fn finish(self, state: fn(&Endpoint<M, C>) -> State) -> anyhow::Result<State> {
        let patience = Instant::now() + ConnectionConfig::default().linger;
        let state = loop {
            let state = self.handle.inspect(state).await?;
            if state.zero || Instant::now() > patience {
                break state;
            }
            sleep(Duration::from_millis(5)).await;
        };
        self.handle.drain(Duration::ZERO).await?;
        match self.thread.join() {
            Ok(()) => Ok(state),
            Err(_) => bail!("the server's thread panicked"),
        }
    }
}
