use std::process::ExitCode;
use std::time::Duration;

use echosphere_core::endpoint::Endpoint;
use echosphere_core::hub::{HubCodec, MAX_BODY, Server};

use super::PORT;
use crate::server::{self, LinkBounds, State, Threads};
use crate::values::duration;
use crate::{limits, net};

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
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "ECHOSPHERE_HUB_LISTEN",
        default_value = "127.0.0.1:1234"
    )]
    listen: String,

    #[command(flatten)]
    threads: Threads,

    /// How long connections may take to finish when the hub drains
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_DRAIN", default_value = "10s", value_parser = duration)]
    drain: Duration,

    /// Print the counters as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON")]
    json: bool,

    #[command(flatten)]
    links: LinkBounds,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let addr = net::resolve(&args.listen, PORT).await?;
        let state = state(&server::serve(endpoint(&args.links)?, addr, args.threads, args.drain).await?);
        state.print(args.json)?;
        Ok(ExitCode::from(u8::from(!state.zero)))
    })
}

/// A hub whose connections have these bounds.
///
/// # Errors
///
/// If they do not allow for the longest body.
pub(super) fn endpoint(links: &LinkBounds) -> anyhow::Result<ServerEndpoint> {
    let link = links.config(MAX_BODY)?;
    Ok(Endpoint::new(Server::new(), HubCodec::accepted(), link))
}

/// What a hub has left, and what it did.
pub(super) fn state(endpoint: &ServerEndpoint) -> State {
    State::of(endpoint, endpoint.machine().counters().iter(), None)
}
