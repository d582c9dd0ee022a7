use std::process::ExitCode;
use std::time::Duration;

use echosphere_core::endpoint::Endpoint;
use echosphere_core::hub::{HubCodec, MAX_BODY, Server};

use super::PORT;
use crate::limits;
use crate::net::Address;
use crate::server::{self, LinkBounds, State, Threads};
use crate::values::{duration, yes_or_no};

/// A hub's endpoint, with its sockets left out.
pub(super) type ServerEndpoint = Endpoint<Server, HubCodec>;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere hub serve
  echosphere hub serve --listen 0.0.0.0:1234 --json > counters.json
  nc 127.0.0.1 1234                        then type: identity

Ctrl-C or SIGTERM drains: everybody is told, and gets what waits for them. A second one ends at once.")]
pub(crate) struct Args {
    /// Listen on this address and port; port 0 takes a free one
    #[arg(
        long,
        value_name = "[ADDR:]PORT",
        env = "ECHOSPHERE_HUB_LISTEN",
        default_value = "127.0.0.1:1234"
    )]
    listen: Address,

    #[command(flatten)]
    threads: Threads,

    /// Give connections this long to finish when the hub drains
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_DRAIN", default_value = "10s", value_parser = duration)]
    drain: Duration,

    /// Print where it listens, and the counters at the end, as JSON objects
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    json: bool,

    #[command(flatten)]
    links: LinkBounds,
}

pub(super) fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let files = limits::raise_open_files();
    args.links.fit(files, args.threads);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let addr = args.listen.or_port(PORT).resolve().await?;
        let state = state(&server::serve(endpoint(&args.links), addr, args.threads, args.drain, args.json).await?);
        state.print(args.json)?;
        Ok(ExitCode::from(u8::from(!state.zero)))
    })
}

/// A hub whose connections have these bounds.
pub(super) fn endpoint(links: &LinkBounds) -> ServerEndpoint {
    Endpoint::new(Server::new(), HubCodec::accepted(), links.config(MAX_BODY))
}

/// What a hub has left, and what it did.
pub(super) fn state(endpoint: &ServerEndpoint) -> State {
    State::of(endpoint, endpoint.machine().counters().iter(), None)
}
