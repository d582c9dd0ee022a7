use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::numbers::{
    Client, ClientConfig, Command, Failure, Message, Notice, NumbersCodec, Uuid, Want, client_links,
};
use echosphere_core::wire::Codec;
use echosphere_driver::Connector;
use echosphere_transport_grpc::GrpcConnector;
use echosphere_transport_grpc::numbers::{GetNumbers, NumbersGrpcCodec};
use echosphere_transport_tcp::TcpConnector;
use tokio::time::{Instant, sleep_until};

use super::Transport;
use super::printer::Printer;
use crate::net::Address;
use crate::retry::RetryArgs;
use crate::running::Running;
use crate::seed;
use crate::signals::{INTERRUPTED, Signals};
use crate::values::{count, time_out, yes_or_no};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere numbers get 5
  echosphere numbers get --resume 1215 5                      the five after 1215
  echosphere numbers get --stateful 100
  echosphere numbers get --uuid 67e55044-10b1-426f-9247-bb680e5fe0c8 100
  echosphere numbers get --uuid 67e55044-10b1-426f-9247-bb680e5fe0c8 --resume 984080323 100

Numbers go to stdout, one a line as they come, then their sum or checksum. Exit codes: 0 all have come, and a checksum \
matches; 1 not so, which is said; 130 interrupted.")]
pub(crate) struct Args {
    /// How many numbers; of a session, how many it has in all
    #[arg(value_name = "N", value_parser = count::<u16>(1..=65_535))]
    n: u16,

    /// Get a session, which the server keeps while the connection is lost, and its checksum
    #[arg(long, env = "ECHOSPHERE_STATEFUL", value_parser = yes_or_no)]
    stateful: bool,

    /// The session's name, which decides its numbers; a random one unless said
    #[arg(long, value_name = "UUID")]
    uuid: Option<Uuid>,

    /// Go on after this number, which is the last that came before
    #[arg(long, value_name = "LAST")]
    resume: Option<u64>,

    /// The server; port 1337 over gRPC and 1338 over TCP unless it says another
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        env = "ECHOSPHERE_NUMBERS_TO",
        default_value = "127.0.0.1"
    )]
    to: Address,

    /// How to reach it
    #[arg(long, value_enum, env = "ECHOSPHERE_TRANSPORT", default_value = "grpc")]
    transport: Transport,

    #[command(flatten)]
    pub(crate) retry: RetryArgs,

    /// Give up if nothing comes for so long, whatever is tried
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_NUMBERS_TIMEOUT", default_value = "60s", value_parser = time_out)]
    timeout: Duration,

    /// Print one JSON object for each event
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    json: bool,
}

impl Args {
    pub(crate) fn client(&self) -> ClientConfig {
        ClientConfig {
            give_up: self.timeout,
            retry_refused: self.retry.retry,
            ..ClientConfig::default()
        }
    }

    pub(crate) fn want(&self) -> anyhow::Result<Want> {
        let (n, after) = (self.n, self.resume);
        if !self.stateful && self.uuid.is_none() {
            anyhow::ensure!(
                after != Some(0),
                "0 is in no stream; --resume takes the last number that came"
            );
            return Ok(Want::Plain { n, after });
        }
        anyhow::ensure!(
            after.is_none() || self.uuid.is_some(),
            "which session to resume? Say --uuid, as it was said when it began"
        );
        let uuid = self.uuid.map_or_else(random_uuid, Ok)?;
        Ok(Want::Session { uuid, n, after })
    }
}

fn random_uuid() -> anyhow::Result<Uuid> {
    let bytes = seed::bytes().context("no uuid; choose one with --uuid")?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let want = args.want()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let to = args.to.clone().or_port(args.transport.port());
        to.resolve().await?;
        let connector = TcpConnector::to_host(&*to.host, to.port);
        let printer = Printer::new(to.clone(), args.transport, want, args.json, args.timeout);
        match args.transport {
            Transport::Grpc => {
                let connector = GrpcConnector::<GetNumbers, _>::over(connector, to.to_string());
                get(&args, want, connector, NumbersGrpcCodec::dialled(), printer).await
            }
            Transport::Tcp => get(&args, want, connector, NumbersCodec::dialled(), printer).await,
        }
    })
}

/// Gets the numbers over connections of this kind.
async fn get<C>(
    args: &Args,
    want: Want,
    connector: impl Connector + 'static,
    codec: C,
    mut printer: Printer,
) -> anyhow::Result<ExitCode>
where
    C: Codec<Message = Message> + Clone + Send + 'static,
{
    let client = Client::new(args.client(), seed::generator(None)?);
    let mut client = Running::dial(Endpoint::new(client, codec, client_links()), connector);
    let mut signals = Signals::catch()?;
    client.command(Command::Get { key: 1, want }).await?;
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
            // A loss may be noticed later than that.
            () = sleep_until(silent_since + args.timeout) => {
                printer.notice(Notice::Failed { key: 1, failure: Failure::TimedOut })?;
                client.abort();
                return Ok(ExitCode::FAILURE);
            }
        }
    };
    if printer.is_over() {
        client.finish().await?;
    } else {
        client.abort();
    }
    Ok(code)
}
