use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::failure::Failure;
use echosphere_core::numbers::{
    Client, ClientConfig, Command, Message, Notice, NumbersCodec, StreamSpec, Uuid, client_connection_config,
};
use echosphere_core::wire::Codec;
use echosphere_driver::Connector;
use echosphere_transport_grpc::GrpcConnector;
use echosphere_transport_grpc::numbers::{GetNumbers, NumbersGrpcCodec};
use echosphere_transport_tcp::TcpConnector;
use tokio::time::{Instant, sleep_until};

use super::printer::Printer;
use super::{ALPN, Transport};
use crate::connector::AnyConnector;
use crate::net::ServerAddress;
use crate::retry::RetryArgs;
use crate::running::Running;
use crate::seed;
use crate::signals::{INTERRUPTED, Signals};
use crate::tls::TlsArgs;
use crate::values::{count, time_out, yes_or_no};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere numbers get 5
  echosphere numbers get --resume 1215 5                      the five numbers after 1215
  echosphere numbers get --stateful 100
  echosphere numbers get --uuid 67e55044-10b1-426f-9247-bb680e5fe0c8 100
  echosphere numbers get --uuid 67e55044-10b1-426f-9247-bb680e5fe0c8 --resume 984080323 100

Numbers go to stdout as they arrive, one per line, and then their sum or checksum.

Exit codes: 0 all numbers arrived, and a checksum matches; 1 otherwise, with the reason on stderr; 2 it could not start; 130 \
interrupted.")]
pub(crate) struct Args {
    /// Get this many numbers; with a session, its total length
    #[arg(value_name = "N", value_parser = count::<u16>(1..=65_535))]
    pub(crate) n: u16,

    /// Get a session with a checksum; the server keeps it while the connection is lost
    #[arg(long, env = "ECHOSPHERE_STATEFUL", value_parser = yes_or_no)]
    pub(crate) stateful: bool,

    /// Get the session with this UUID, which determines its numbers [default: a random one]
    #[arg(long, value_name = "UUID")]
    pub(crate) uuid: Option<Uuid>,

    /// Continue after this number, the last one that arrived before
    #[arg(long, value_name = "LAST")]
    pub(crate) resume: Option<u64>,

    /// Connect to this server: an address, whose default port is 1337 over gRPC and 1338 over TCP, or the URL of a WebSocket (ws:// or wss://)
    #[arg(
        long,
        value_name = "HOST[:PORT]|URL",
        env = "ECHOSPHERE_NUMBERS_TO",
        default_value = "127.0.0.1"
    )]
    pub(crate) to: ServerAddress,

    /// Use this transport
    #[arg(long, value_enum, env = "ECHOSPHERE_TRANSPORT", default_value = "grpc")]
    pub(crate) transport: Transport,

    #[command(flatten)]
    pub(crate) retry: RetryArgs,

    /// Give up if no number arrives for this long, over all attempts
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_NUMBERS_TIMEOUT", default_value = "60s", value_parser = time_out)]
    timeout: Duration,

    /// Print each event as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

impl Args {
    pub(crate) fn client(&self) -> ClientConfig {
        ClientConfig {
            give_up_after: self.timeout,
            retry_refused: self.retry.retry,
            ..ClientConfig::default()
        }
    }

    pub(crate) fn stream(&self) -> anyhow::Result<StreamSpec> {
        let (n, after) = (self.n, self.resume);
        if !self.stateful && self.uuid.is_none() {
            anyhow::ensure!(
                after != Some(0),
                "no stream contains 0; --resume takes the last number that arrived"
            );
            return Ok(StreamSpec::Stateless { n, after });
        }
        anyhow::ensure!(
            after.is_none() || self.uuid.is_some(),
            "--resume of a session also needs its --uuid"
        );
        let uuid = self.uuid.map_or_else(random_uuid, Ok)?;
        Ok(StreamSpec::Session { uuid, n, after })
    }
}

fn random_uuid() -> anyhow::Result<Uuid> {
    let bytes = seed::bytes().context("cannot choose a UUID; set one with --uuid")?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stream = args.stream()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let to = args.to.clone().or_port(args.transport.port());
        // A WebSocket carries the frames of TCP.
        let transport = if to.url.is_some() {
            Transport::Tcp
        } else {
            args.transport
        };
        to.resolve().await?;
        let tls = args.tls.load(&to)?;
        let is_tls = tls.is_some();
        let tcp = TcpConnector::to_host(&*to.host, to.port);
        let printer = Printer::new(to.clone(), transport, stream, args.json, args.timeout);
        match transport {
            Transport::Grpc => {
                let tls = tls.map(|tls| tls.with_alpn(&[ALPN]));
                let connector = AnyConnector::new(tcp, tls, None, printer.remote().negotiation());
                let mut connector = GrpcConnector::<GetNumbers, _>::over(connector, to.to_string());
                if is_tls {
                    connector = connector.with_https();
                }
                get(&args, stream, connector, NumbersGrpcCodec::dialled(), printer).await
            }
            Transport::Tcp => {
                let connector = AnyConnector::new(tcp, tls, to.url, printer.remote().negotiation());
                get(&args, stream, connector, NumbersCodec::dialled(), printer).await
            }
        }
    })
}

/// Gets the numbers over this transport.
async fn get<C>(
    args: &Args,
    stream: StreamSpec,
    connector: impl Connector + 'static,
    codec: C,
    mut printer: Printer,
) -> anyhow::Result<ExitCode>
where
    C: Codec<Message = Message> + Clone + Send + 'static,
{
    let client = Client::new(args.client(), seed::generator(None)?);
    let mut client = Running::dial(Endpoint::new(client, codec, client_connection_config()), connector);
    let mut signals = Signals::catch()?;
    client.command(Command::Get { key: 1, stream }).await?;
    if args.uuid.is_none() {
        printer.begin();
    }
    let mut silent_since = Instant::now();
    let code = loop {
        tokio::select! {
            biased;
            () = signals.next() => {
                printer.how_to_resume();
                // A clean close would leave the rest of the stream under way.
                client.abort();
                return Ok(ExitCode::from(INTERRUPTED));
            }
            notice = client.notice() => {
                let notice = notice?;
                if matches!(notice, Notice::Number { .. } | Notice::Resumed { .. }) {
                    silent_since = Instant::now();
                }
                let failed = matches!(notice, Notice::Failed { .. });
                if let Some(well) = printer.notice(notice)? {
                    if failed {
                        client.abort();
                        return Ok(ExitCode::FAILURE);
                    }
                    break ExitCode::from(u8::from(!well));
                }
            }
            // A silent connection may be noticed later than that.
            () = sleep_until(silent_since + args.timeout) => {
                printer.notice(Notice::Failed { key: 1, failure: Failure::TimedOut })?;
                client.abort();
                return Ok(ExitCode::FAILURE);
            }
        }
    };
    client.finish().await?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_gets_a_random_uuid() {
        let [one, other] = [random_uuid().unwrap(), random_uuid().unwrap()];
        assert_ne!(one, other);
        assert_eq!(one.get_version_num(), 4);
    }
}
