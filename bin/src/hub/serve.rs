use std::process::ExitCode;

use echosphere_core::endpoint::Endpoint;
use echosphere_core::hub::{HubCodec, MAX_BODY, Server};

use super::PORT;
use crate::limits;
use crate::server::{self, LinkBounds, State, TcpServeArgs};

/// A hub's endpoint.
pub(super) type ServerEndpoint = Endpoint<Server, HubCodec>;

#[derive(Clone, Debug, clap::Args)]
#[command(
    mut_arg("listen", |arg| arg.env("ECHOSPHERE_HUB_LISTEN").default_value("127.0.0.1:1234")),
    after_help = "\
Examples:
  echosphere hub serve
  echosphere hub serve --listen 0.0.0.0:1234 --json > counters.json
  nc 127.0.0.1 1234                        then type: identity

Ctrl-C or SIGTERM drains: the hub writes the messages that wait, and notifies every user. A second signal ends it at once.

Exit codes: 0 drained with nothing left; 1 something is left, or stdout cannot be written; 2 it could not start; 130 a \
second signal ended it."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) tcp: TcpServeArgs,

    #[command(flatten)]
    pub(crate) links: LinkBounds,
}

pub(super) fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let files = limits::raise_open_files();
    args.links.lower_to_open_files(files, args.tcp.threads);
    server::run("hub", endpoint(&args.links)?, &args.tcp, PORT, state)
}

/// A hub whose connections have these bounds.
///
/// # Errors
///
/// If they do not allow the longest body.
pub(super) fn endpoint(links: &LinkBounds) -> anyhow::Result<ServerEndpoint> {
    let links = links.config(MAX_BODY)?;
    Ok(Endpoint::new(Server::new(), HubCodec::accepted(), links))
}

/// The state of a hub.
pub(super) fn state(endpoint: &ServerEndpoint) -> State {
    State::of(endpoint, endpoint.machine().counters().iter(), None)
}
