//! What every server on the command line has: its connections' bounds, running until a signal, and what it has left.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use bytesize::ByteSize;
use echosphere_core::Machine;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::link::LinkConfig;
use echosphere_core::wire::Codec;
use echosphere_driver::{Driver, Handle, Stream};
use echosphere_transport_tcp::{TcpListener, ThreadedListener};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::output;
use crate::signals::Signals;
use crate::values::{duration, thousands};

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
    /// Connections at once; one more is told `error full`
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_CONNECTIONS",
        default_value_t = 200_000
    )]
    max_connections: usize,

    /// Bytes that may wait to be written to one connection for long; with more, it is dropped as a slow consumer
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_MAX_BACKLOG", default_value = "16MiB")]
    max_backlog: ByteSize,

    /// How long more may wait
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_BACKLOG_TIMEOUT", default_value = "5s", value_parser = duration)]
    backlog_timeout: Duration,

    /// Bytes that may wait to be written to one connection at all
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_MAX_OUTBOX", default_value = "128MiB")]
    max_outbox: ByteSize,

    #[command(flatten)]
    partial: PartialBound,

    /// A connection must send its first whole frame or line within this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_HANDSHAKE_TIMEOUT", default_value = "10s", value_parser = duration)]
    handshake_timeout: Duration,

    /// A silent program is gone after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_IDLE_TIMEOUT", default_value = "60s", value_parser = duration)]
    idle_timeout: Duration,

    /// A silent person is gone after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_IDLE_TIMEOUT_TEXT", default_value = "10m", value_parser = duration)]
    idle_timeout_text: Duration,

    /// Send an empty frame after sending nothing for this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_KEEPALIVE", default_value = "20s", value_parser = duration)]
    keepalive: Duration,

    /// How long a closing connection may take
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_LINGER", default_value = "5s", value_parser = duration)]
    linger: Duration,
}

/// A size as a number of bytes in memory.
pub(crate) fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

impl LinkBounds {
    /// Connections at once, at most.
    pub(crate) const fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// The same for an endpoint whose longest message has this many bytes.
    ///
    /// # Errors
    ///
    /// If the bounds do not allow for that message.
    pub(crate) fn config(&self, max_message: usize) -> anyhow::Result<LinkConfig> {
        Ok(LinkConfig {
            handshake_timeout: self.handshake_timeout,
            idle_timeout: self.idle_timeout,
            idle_timeout_text: self.idle_timeout_text,
            keepalive_interval: self.keepalive,
            linger: self.linger,
            max_backlog: bytes(self.max_backlog),
            backlog_timeout: self.backlog_timeout,
            max_outbox: bytes(self.max_outbox).max(max_message + 64),
            max_partial_bytes: self.partial.bytes(max_message)?,
            max_connections: self.max_connections,
        })
    }
}

/// Binds to an address that `flag` gave, and says what to do where that fails. Must be called within a runtime.
pub(crate) fn bind(addr: SocketAddr, flag: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(addr).with_context(|| cannot_listen(addr, flag))?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// What to say where an address that `flag` gave cannot be listened on.
pub(crate) fn cannot_listen(addr: SocketAddr, flag: &str) -> String {
    format!(
        "cannot listen on {addr}; if another server runs there, choose another address with {flag} ADDR:PORT (port 0 takes a free one)"
    )
}

/// What reads and writes a server's sockets.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Threads {
    /// Threads that read and write sockets, each with as many open files as a process may have; with 1, all is one thread
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_IO_THREADS",
        default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    io_threads: u16,
}

impl Threads {
    /// How many, if there are any beside the server's own.
    fn beside(self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.io_threads.into()).filter(|count| count.get() > 1)
    }
}

/// Serves on `addr` until a signal, then drains for at most `within`. Returns what is left.
pub(crate) async fn serve<M, C>(
    endpoint: Endpoint<M, C>,
    addr: SocketAddr,
    threads: Threads,
    within: Duration,
) -> anyhow::Result<Endpoint<M, C>>
where
    M: Machine + Send + 'static,
    C: Codec<Message = M::Message> + Clone + Send + 'static,
    M::Command: Send,
{
    if let Some(count) = threads.beside() {
        let listener = ThreadedListener::bind(addr, count).map_err(|error| {
            // Not the system's: a thread's.
            let threads = error.raw_os_error().is_none();
            let context = if threads {
                "use --io-threads 1".to_owned()
            } else {
                cannot_listen(addr, "--listen")
            };
            anyhow::Error::new(error).context(context)
        })?;
        eprintln!(
            "listening on {} with {count} threads (Ctrl-C drains)",
            listener.local_addr()
        );
        let (driver, handle) = Driver::serve(endpoint, listener);
        return until_drained(driver, handle, within).await;
    }
    let (listener, addr) = bind(addr, "--listen")?;
    let (driver, handle) = Driver::serve(endpoint, listener);
    eprintln!("listening on {addr} (Ctrl-C drains)");
    until_drained(driver, handle, within).await
}

/// Runs a driver that serves until a signal, then drains for at most `within`. Returns what is left.
pub(crate) async fn until_drained<M, C, S>(
    driver: Driver<M, C, S>,
    handle: Handle<M, C>,
    within: Duration,
) -> anyhow::Result<Endpoint<M, C>>
where
    M: Machine + Send + 'static,
    C: Codec<Message = M::Message> + Clone + Send + 'static,
    M::Command: Send,
    M::Notice: 'static,
    S: Stream,
{
    let mut signals = Signals::catch()?;
    let drain = async move {
        signals.next().await;
        eprintln!(
            "draining: connections under way have {} to finish (Ctrl-C again ends at once)",
            humantime::format_duration(within)
        );
        // If the driver has ended already, there is nothing to drain.
        let _ = handle.drain(within).await;
        signals.end_at_next().await;
    };
    let mut run = std::pin::pin!(driver.run());
    Ok(tokio::select! {
        biased;
        endpoint = &mut run => endpoint,
        () = drain => run.await,
    })
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
            return output::json(self);
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
        let patience = Instant::now() + LinkConfig::default().linger;
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
