//! Servers: the options that all of them have, running until a signal, draining, and the server that a load starts.

mod bounds;
mod state;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{anyhow, bail};
use echosphere_core::Machine;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::Codec;
use echosphere_driver::{Driver, Handle};
use echosphere_transport_tcp::{TcpListener, ThreadedListener};
use tokio::time::{Instant, sleep};

pub(crate) use self::bounds::{IoThreads, LinkBounds, PartialBound};
pub(crate) use self::state::{ServerEvent, State, announce};
use crate::net::{Address, Target};
use crate::progress;
use crate::signals::Signals;
use crate::stderr::status;
use crate::tls::{self, TlsArgs, TlsServeArgs};
use crate::values::{duration, yes_or_no};
use crate::ws::{self, WsServeArgs};

/// Options of every server that drains.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Give open connections this long to finish when the server drains
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_DRAIN", default_value = "10s", value_parser = duration)]
    pub(crate) drain: Duration,

    /// Print the address and the final counters as JSON objects
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    pub(crate) json: bool,
}

/// The address that a server listens on. Systems other than echo replace its variable and its default.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ListenArg {
    /// Listen on this address and port; port 0 chooses a free one
    #[arg(
        long,
        value_name = "[ADDR:]PORT",
        env = "ECHOSPHERE_LISTEN",
        default_value = "127.0.0.1:8000"
    )]
    listen: Address,
}

impl ListenArg {
    /// The address, with `port` if it has none.
    pub(crate) fn or_port(&self, port: u16) -> Target {
        self.listen.clone().or_port(port)
    }
}

/// Options of a server that listens on TCP alone.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TcpServeArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArg,

    #[command(flatten)]
    pub(crate) threads: IoThreads,

    #[command(flatten)]
    pub(crate) serve: ServeArgs,

    #[command(flatten)]
    pub(crate) ws: WsServeArgs,

    #[command(flatten)]
    pub(crate) tls: TlsServeArgs,
}

/// Serves TCP until a signal, drains, and prints the final state. `system` is `echo` or `hub`, `port` the default. The exit
/// code is 0 if nothing is left.
pub(crate) fn run<M, C>(
    system: &str,
    endpoint: Endpoint<M, C>,
    args: &TcpServeArgs,
    port: u16,
    state: fn(&Endpoint<M, C>) -> State,
) -> anyhow::Result<ExitCode>
where
    M: Machine + Send + 'static,
    C: Codec<Message = M::Message> + Clone + Send + 'static,
    M::Command: Send,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let at = args.listen.or_port(port);
        let tls = args.tls.load(&at.host)?;
        let addr = at.resolve().await?;
        let state = state(&serve(system, endpoint, addr, args, tls.as_ref()).await?);
        let code = ExitCode::from(u8::from(!state.zero));
        state.print(args.serve.json)?;
        Ok(code)
    })
}

async fn serve<M, C>(
    system: &str,
    endpoint: Endpoint<M, C>,
    addr: SocketAddr,
    args: &TcpServeArgs,
    tls: Option<&tls::Serving>,
) -> anyhow::Result<Endpoint<M, C>>
where
    M: Machine + Send + 'static,
    C: Codec<Message = M::Message> + Clone + Send + 'static,
    M::Command: Send,
{
    let ServeArgs { drain, json } = args.serve;
    // A reader of the address may send a signal at once.
    let signals = Signals::catch()?.reloading(tls);
    let limit = ws::limit(endpoint.codec());
    let (driver, handle) = Driver::new(endpoint);
    let driver = if let Some(count) = args.threads.separate() {
        let listener = ThreadedListener::bind(addr, count).map_err(|error| match error.raw_os_error() {
            // An I/O thread failed, not the system.
            None => anyhow::Error::new(error).context("cannot start the I/O threads; use --io-threads 1"),
            Some(_) => cannot_listen(error, addr, "--listen"),
        })?;
        let note = format!(" with {count} threads (Ctrl-C drains)");
        announce(listener.local_addr(), "tcp", &note, tls, json)?;
        tls::listen(driver, listener, tls)
    } else {
        let (listener, addr) = bind(addr, "--listen")?;
        announce(addr, "tcp", " (Ctrl-C drains)", tls, json)?;
        tls::listen(driver, listener, tls)
    };
    let driver = ws::listen(driver, args.ws.bind(system, tls, json).await?, limit, tls);
    Ok(until_drained(driver, handle, signals, drain, drain).await)
}

/// Binds to the address of the option `flag`. Must be called within a runtime.
///
/// # Errors
///
/// If that fails, with what to do.
pub(crate) fn bind(addr: SocketAddr, flag: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(addr).map_err(|error| cannot_listen(error, addr, flag))?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// The error of a server that cannot listen on the address of the option `flag`, with what to do.
pub(crate) fn cannot_listen(error: io::Error, addr: SocketAddr, flag: &str) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another program uses it; choose another port with {flag} ADDR:PORT (port 0 chooses a free one)")
        }
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need a privilege; choose another port with {flag} ADDR:PORT")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine does not have the address; choose another one with {flag} ADDR:PORT")
        }
        _ => format!("check {flag} ADDR:PORT"),
    };
    anyhow!("cannot listen on {addr}: {error}; {advice}")
}

/// Runs a server's driver until a signal, then drains it. `shown` is the drain time in the message to the user, `within` what
/// the driver gets of it. Returns what is left.
pub(crate) async fn until_drained<M, C>(
    driver: Driver<M, C>,
    handle: Handle<M, C>,
    mut signals: Signals,
    shown: Duration,
    within: Duration,
) -> Endpoint<M, C>
where
    M: Machine + Send + 'static,
    C: Codec<Message = M::Message> + Clone + Send + 'static,
    M::Command: Send,
    M::Notice: 'static,
{
    let drain = async move {
        signals.next().await;
        status!(
            "draining: open connections have {} to finish (Ctrl-C again ends at once)",
            humantime::format_duration(shown)
        );
        // A driver that has ended has nothing to drain.
        let _ = handle.drain(within).await;
        tokio::select! {
            biased;
            () = signals.end_at_next() => {}
            () = count_down(shown) => {}
        }
    };
    let mut run = std::pin::pin!(driver.run());
    tokio::select! {
        biased;
        endpoint = &mut run => endpoint,
        () = drain => run.await,
    }
}

/// Shows the remaining drain time on a terminal. Never returns.
async fn count_down(within: Duration) {
    let until = Instant::now() + within;
    let bar = progress::bar(0, "{msg}");
    progress::keep(&bar, async |bar| {
        let left = until.saturating_duration_since(Instant::now());
        bar.set_message(format!("draining: {} s left", left.as_millis().div_ceil(1000)));
        Ok(())
    })
    .await
    .unwrap_or_default();
}

/// A server of this process, on a thread of its own and a free port of the loopback address.
pub(crate) struct OwnServer<M: Machine, C: Codec<Message = M::Message>> {
    pub(crate) addr: SocketAddr,
    tls: Option<tls::Serving>,
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
    /// With `tls`, it speaks TLS with a certificate that no CA has signed.
    pub(crate) fn start(endpoint: Endpoint<M, C>, tls: bool) -> anyhow::Result<Self> {
        let host = Ipv4Addr::LOCALHOST.to_string();
        let tls = TlsServeArgs::self_signed(tls).load(&host)?;
        let used = tls.clone();
        let (sender, started) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("server".to_owned()).spawn(move || {
            runtime.block_on(async {
                let bound = bind((Ipv4Addr::LOCALHOST, 0).into(), "--listen").map(|(listener, addr)| {
                    let (driver, handle) = Driver::new(endpoint);
                    let driver = tls::listen(driver, listener, used.as_ref());
                    (driver, (addr, handle))
                });
                // The starting thread waits for the result.
                match bound {
                    Ok((driver, result)) => {
                        let _ = sender.send(Ok(result));
                        driver.run().await;
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error));
                    }
                }
            });
        })?;
        let (addr, handle) = started.recv()??;
        Ok(Self {
            addr,
            tls,
            handle,
            thread,
        })
    }

    /// What its clients need for TLS.
    pub(crate) fn client_tls(&self) -> TlsArgs {
        TlsArgs::trusting(self.tls.as_ref().and_then(tls::Serving::fingerprint))
    }

    /// Ends the server once it is at zero, or after the linger time-out. Returns its state from before the end.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_listen_says_what_to_do() {
        for (kind, advice) in [
            (
                io::ErrorKind::AddrInUse,
                "another program uses it; choose another port with --tcp",
            ),
            (io::ErrorKind::PermissionDenied, "ports below 1024 need a privilege"),
            (
                io::ErrorKind::AddrNotAvailable,
                "this machine does not have the address",
            ),
            (io::ErrorKind::Other, "check --tcp ADDR:PORT"),
        ] {
            let addr = (Ipv4Addr::LOCALHOST, 80).into();
            let error = cannot_listen(kind.into(), addr, "--tcp").to_string();
            assert!(error.starts_with("cannot listen on 127.0.0.1:80: "), "{error}");
            assert!(error.contains(advice), "{error}");
        }
    }
}
