//! Tests of the contract of [`Stream`], [`Listener`] and [`Connector`] for any transport (feature `conformance`).
//!
//! Implement [`Transport`] for your transport, and call [`check`] in a test:
//!
//! ```
//! # use std::io;
//! # use async_trait::async_trait;
//! # use echosphere_driver::conformance::{Transport, check};
//! # use echosphere_driver::{Connector, Incoming, Listener, Negotiated, Peer};
//! # struct L; struct C; struct S;
//! # #[async_trait]
//! # impl Listener for L {
//! #     type Stream = tokio::io::DuplexStream;
//! #     async fn accept(&mut self) -> io::Result<Incoming<Self::Stream>> { std::future::pending().await }
//! # }
//! # #[async_trait]
//! # impl Connector for C {
//! #     type Stream = tokio::io::DuplexStream;
//! #     async fn dial(&self) -> io::Result<Negotiated<Self::Stream>> { std::future::pending().await }
//! # }
//! struct MyTransport;
//!
//! #[async_trait]
//! impl Transport for MyTransport {
//!     type Listener = L;
//!     type Connector = C;
//!
//!     async fn start(&self) -> io::Result<(L, C)> {
//!         Ok((L, C)) // bound to a free address, and connecting to it
//!     }
//! }
//!
//! # let _ = async {
//! check(&MyTransport).await.assert_passed();
//! # };
//! ```

mod ends;
mod flow;
mod opening;

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::net::{BoxStream, Connector, Listener, Peer, Stream};

/// The longest that one case may take.
const CASE_TIMEOUT: Duration = Duration::from_secs(60);

/// A transport under test.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Its listener.
    type Listener: Listener + 'static;
    /// Its connector.
    type Connector: Connector + 'static;

    /// A listener on a free address, and a connector that connects to it.
    ///
    /// # Errors
    ///
    /// Fail the case.
    async fn start(&self) -> io::Result<(Self::Listener, Self::Connector)>;

    /// The bytes of one message, for transports that keep the boundaries of messages. Default: the length as a big-endian u32,
    /// then the payload.
    fn frame(&self, payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u32).to_be_bytes(), payload].concat()
    }

    /// Connects to a listener without negotiating, for the case of a peer that never finishes its handshake. `None`, the
    /// default: the transport negotiates nothing, and the case does not apply.
    async fn begin(&self, connector: &Self::Connector) -> Option<io::Result<BoxStream>> {
        let _ = connector;
        None
    }

    /// Whether a side can write after it has read the end of the other side. Default: true.
    fn half_closes(&self) -> bool {
        true
    }

    /// Whether what an end has written before its shutdown still arrives if the end is dropped after it, before its peer has read
    /// everything. Default: true. The driver drops a stream only when both ends are shut down, or too late for its peer; but it
    /// tells a peer that it refuses in this way.
    fn delivers_after_drop(&self, end: Side) -> bool {
        let _ = end;
        true
    }

    /// How many connections are opened at the same time. Default: 1,000.
    fn connections(&self) -> usize {
        1000
    }
}

/// The result of each case.
#[derive(Clone, Debug, Default)]
pub struct Report(Vec<(&'static str, Outcome)>);

/// The result of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The transport keeps the contract.
    Passed,
    /// The transport has nothing to which the case applies.
    NotApplicable,
    /// What the transport did.
    Failed(String),
}

impl Report {
    /// Each case with its outcome.
    pub fn cases(&self) -> impl Iterator<Item = (&'static str, &Outcome)> {
        self.0.iter().map(|(name, outcome)| (*name, outcome))
    }

    /// # Panics
    ///
    /// If a case has failed, with the whole report.
    pub fn assert_passed(&self) {
        let failed = self.0.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
        assert!(!failed, "the transport breaks the contract:\n{self}");
    }

    async fn case(&mut self, name: &'static str, case: impl Future<Output = Case>) {
        let outcome = match timeout(CASE_TIMEOUT, case).await {
            Ok(Ok(true)) => Outcome::Passed,
            Ok(Ok(false)) => Outcome::NotApplicable,
            Ok(Err(failure)) => Outcome::Failed(failure),
            Err(_) => Outcome::Failed(format!("not over after {CASE_TIMEOUT:?}")),
        };
        self.0.push((name, outcome));
    }
}

/// One line for each case.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.0 {
            match outcome {
                Outcome::Passed => writeln!(f, "{name}: passed")?,
                Outcome::NotApplicable => writeln!(f, "{name}: does not apply")?,
                Outcome::Failed(failure) => writeln!(f, "{name}: FAILED: {failure}")?,
            }
        }
        Ok(())
    }
}

/// `Ok(false)`: the case does not apply.
type Case = Result<bool, String>;

/// Runs every case, in a tokio runtime with its clock and IO enabled. Each takes a second at most unless it fails.
pub async fn check<T: Transport>(transport: &T) -> Report {
    let mut report = Report::default();
    report
        .case("messages in both directions", flow::both_ways(transport))
        .await;
    report
        .case("1 MiB both ways at once", flow::large_bodies(transport))
        .await;
    report.case("partial writes", flow::partial_writes(transport)).await;
    report
        .case("one flush after several writes", flow::flushed(transport))
        .await;
    report
        .case("a peer that stops reading", flow::stops_reading(transport))
        .await;
    report
        .case("data together with the end", ends::data_with_end(transport))
        .await;
    report.case("half-close", ends::half_close(transport)).await;
    report
        .case("dropped after the shutdown", ends::dropped_late(transport))
        .await;
    report.case("abort", ends::aborted(transport)).await;
    report
        .case("abort in the middle of data", ends::aborted_in_data(transport))
        .await;
    report
        .case("a cancelled accept", opening::cancelled_accept(transport))
        .await;
    report
        .case("a handshake that never ends", opening::endless_handshake(transport))
        .await;
    report.case("many connections at once", opening::many(transport)).await;
    report
}

/// Both ends of a connection. The listener must live as long.
struct Pair<T: Transport> {
    dialled: BoxStream,
    accepted: BoxStream,
    _listener: T::Listener,
}

impl<T: Transport> Pair<T> {
    async fn open(transport: &T) -> Result<Self, String> {
        let (mut listener, connector) = transport.start().await.map_err(|error| format!("start: {error}"))?;
        let (dialled, accepted) = opened(&mut listener, &connector).await?;
        Ok(Self {
            dialled,
            accepted,
            _listener: listener,
        })
    }

    /// Both ends, `from` first.
    fn ends(&mut self, from: Side) -> (&mut BoxStream, &mut BoxStream) {
        match from {
            Side::Dialled => (&mut self.dialled, &mut self.accepted),
            Side::Accepted => (&mut self.accepted, &mut self.dialled),
        }
    }

    /// Exchanges a message, so that both ends are known to work.
    async fn greet(&mut self, transport: &T) -> Result<(), String> {
        for from in Side::BOTH {
            let (one, other) = self.ends(from);
            let greeting = transport.frame(b"hello");
            write(one, &greeting).await?;
            expect(other, &greeting).await?;
        }
        Ok(())
    }
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end of the connector.
    Dialled,
    /// The end of the listener.
    Accepted,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Dialled, Self::Accepted];
}

async fn opened<L: Listener, C: Connector>(listener: &mut L, connector: &C) -> Result<(BoxStream, BoxStream), String> {
    let accept = async {
        let incoming = listener.accept().await.map_err(|error| format!("accept: {error}"))?;
        let known: Peer = incoming.peer().clone();
        let (peer, stream) = incoming.finish().await.map_err(|error| format!("finish: {error}"))?;
        if known.addr != peer.addr {
            return Err(format!("the address of {known} is {peer} after the negotiation"));
        }
        Ok(Box::new(stream) as BoxStream)
    };
    let dial = async {
        let (_, stream) = connector.dial().await.map_err(|error| format!("dial: {error}"))?;
        Ok(Box::new(stream) as BoxStream)
    };
    let (dialled, accepted) = tokio::try_join!(biased; dial, accept)?;
    Ok((dialled, accepted))
}

/// Writes and flushes, as the driver does.
async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), String> {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    written.await.map_err(|error| format!("write: {error}"))
}

/// Flushes and shuts down, as the driver does.
async fn finish(stream: &mut impl Stream) -> Result<(), String> {
    let ended = async {
        stream.flush().await?;
        stream.shutdown().await
    };
    ended.await.map_err(|error| format!("shutdown: {error}"))
}

/// Reads exactly these bytes.
async fn expect(stream: &mut (impl AsyncRead + Unpin), bytes: &[u8]) -> Result<(), String> {
    let mut read = vec![0; bytes.len()];
    let result = stream.read_exact(&mut read).await;
    result.map_err(|error| format!("read of {} bytes: {error}", bytes.len()))?;
    if read != bytes {
        let at = read.iter().zip(bytes).position(|(read, written)| read != written);
        return Err(format!("of {} bytes, the one at {at:?} is another one", bytes.len()));
    }
    Ok(())
}

/// Reads the clean end.
async fn expect_end(stream: &mut impl Stream) -> Result<(), String> {
    match stream.read(&mut [0; 16]).await {
        Ok(0) => Ok(()),
        Ok(more) => Err(format!("{more} bytes instead of the end")),
        Err(error) => Err(format!("an error instead of the clean end: {error}")),
    }
}
