//! The table of each command.

use super::{Row, Tested};
use crate::{System, chat, echo, hub, numbers};

fn echo() -> [Tested; 3] {
    use System::Echo;
    use echo::Command::{Load, Send, Serve};
    let [links, server] = echo_bound_rows!(Echo(Serve(args)), args.bounds);
    let serve = [
        tcp_serve_rows!(Echo(Serve(args)), args.tcp),
        ws_serve_rows!(Echo(Serve(args)), args.tcp.ws),
        tls_serve_rows!(Echo(Serve(args)), args.tcp.tls),
        rows![Echo(Serve(args)), ("seed", "61", "Some(61)", args.seed)],
        links,
        server,
    ];
    let send = [
        tls_rows!(Echo(Send(args)), args.tls),
        rows![
            Echo(Send(args)),
            ("message", "X", "Some(\"X\")", args.message),
            ("file", "some.file", "Some(\"some.file\")", args.file),
            (
                "to",
                "127.0.0.2:62",
                "\"127.0.0.2:62\"",
                args.to.clone().or_port(1).to_string()
            ),
            ("timeout", "63s", "Some(63s)", args.client().give_up_after),
            ("retry", "true", "true", args.client().retry_refused),
            ("response_timeout", "64s", "64s", args.client().response_timeout),
            ("ack_delay", "65s", "Constant(65s)", args.client().ack_delay),
            ("json", "true", "true", args.json),
        ],
    ];
    let [links, server] = echo_bound_rows!(Echo(Load(args)), args.bounds);
    let load = [
        tls_rows!(Echo(Load(args)), args.tls),
        rows![
            Echo(Load(args)),
            (
                "to",
                "127.0.0.2:66",
                "Some(\"127.0.0.2:66\")",
                args.to.clone().map(|to| to.or_port(1).to_string())
            ),
            (
                "size",
                "67B",
                "67",
                args.long_lived.config(1, args.size.as_u64() as usize).size
            ),
            ("json", "true", "true", args.json),
            ("clients", "68", "Some(68)", args.arrivals.clients),
            ("over", "69s", "69s", args.arrivals.over),
            (
                "ack_delay",
                "70s..71s",
                "Uniform(70s, 71s)",
                args.arrivals.client().ack_delay
            ),
            // The default follows the delay.
            (
                "response_timeout",
                "72h",
                "true",
                args.arrivals.client().response_timeout.as_secs() == 72 * 3600
            ),
            ("timeout", "73s", "Some(73s)", args.arrivals.client().give_up_after),
            ("seed", "74", "Some(74)", args.arrivals.seed),
            ("connections", "75", "Some(75)", args.long_lived.connections),
            ("window", "76", "true", long_lived_window(&args.long_lived) == 76),
            ("duration", "77s", "77s", args.long_lived.duration),
            ("rate", "78", "Some(78.0)", args.long_lived.config(1, 1).rate),
            ("hold", "true", "Some(1)", args.long_lived.config(1, 1).messages),
            ("shards", "79", "Some(79)", args.long_lived.shards),
            ("shard", "true", "true", args.long_lived.shard),
        ],
        links,
        server,
    ];
    [
        tested("echo serve", None, serve),
        tested("echo send", None, send),
        tested("echo load", None, load),
    ]
}

/// The window of connections that send more than once.
fn long_lived_window(args: &echo::LongLivedArgs) -> u32 {
    let mut sending = args.clone();
    sending.hold = false;
    sending.config(1, 1).window
}

fn hub() -> [Tested; 7] {
    use System::Hub;
    use hub::Command::{Connect, Identity, List, Listen, Load, Relay, Serve};
    let serve = [
        tcp_serve_rows!(Hub(Serve(args)), args.tcp),
        ws_serve_rows!(Hub(Serve(args)), args.tcp.ws),
        tls_serve_rows!(Hub(Serve(args)), args.tcp.tls),
        link_rows!(Hub(Serve(args)), args.links.config(100).unwrap()),
    ];
    let connect = [
        hub_rows!(Hub(Connect(args)), args.hub),
        tls_rows!(Hub(Connect(args)), args.hub.tls),
        rows![Hub(Connect(args)), ("json", "true", "true", args.json)],
    ];
    let identity = [
        hub_rows!(Hub(Identity(args)), args.hub),
        tls_rows!(Hub(Identity(args)), args.hub.tls),
        rows![Hub(Identity(args)), ("json", "true", "true", args.json)],
    ];
    let list = [
        hub_rows!(Hub(List(args)), args.hub),
        tls_rows!(Hub(List(args)), args.hub.tls),
        rows![Hub(List(args)), ("json", "true", "true", args.json)],
    ];
    let relay = [
        hub_rows!(Hub(Relay(args)), args.hub),
        tls_rows!(Hub(Relay(args)), args.hub.tls),
        rows![
            Hub(Relay(args)),
            ("receivers", "81,82", "\"81,82\"", args.receivers.to_string()),
            ("body", "B", "Some(\"B\")", args.body),
            ("file", "some.file", "Some(\"some.file\")", args.file),
            ("json", "true", "true", args.json),
        ],
    ];
    let listen = [
        hub_rows!(Hub(Listen(args)), args.hub),
        tls_rows!(Hub(Listen(args)), args.hub.tls),
        rows![
            Hub(Listen(args)),
            ("format", "raw", "Raw", args.format),
            ("output", "some.file", "Some(\"some.file\")", args.output),
            ("count", "83", "Some(83)", args.count),
        ],
    ];
    let load = [
        tls_rows!(Hub(Load(args)), args.tls),
        rows![
            Hub(Load(args)),
            (
                "to",
                "127.0.0.2:84",
                "Some(\"127.0.0.2:84\")",
                args.to.clone().map(|to| to.or_port(1).to_string())
            ),
            ("users", "85", "85", args.plan(1).users),
            ("messages", "86", "86", args.plan(1).messages),
            ("fan_out", "87", "87", args.plan(1).fan_out),
            ("size", "88B", "88", args.plan(1).size),
            ("window", "89", "89", args.plan(1).window),
            (
                "timeout",
                "90s",
                "(90s, 90s)",
                (args.client().connect_timeout, args.client().response_timeout)
            ),
            ("seed", "91", "Some(91)", args.seed),
            ("json", "true", "true", args.json),
        ],
        link_rows!(Hub(Load(args)), args.links.config(100).unwrap()),
    ];
    [
        tested("hub serve", None, serve),
        tested("hub connect", None, connect),
        tested("hub identity", None, identity),
        tested("hub list", None, list),
        tested("hub relay", Some(("receivers", "1")), relay),
        tested("hub listen", None, listen),
        tested("hub load", None, load),
    ]
}

fn numbers() -> [Tested; 2] {
    use System::Numbers;
    use numbers::Command::{Get, Serve};
    let serve = [
        ws_serve_rows!(Numbers(Serve(args)), args.ws),
        tls_serve_rows!(Numbers(Serve(args)), args.tls),
        rows![
            Numbers(Serve(args)),
            ("mode", "stateful", "Stateful", args.server_config().unwrap().mode),
            (
                "grpc",
                "127.0.0.2:92",
                "Some(\"127.0.0.2:92\")",
                args.grpc.clone().map(|to| to.or_port(1).to_string())
            ),
            (
                "tcp",
                "127.0.0.2:93",
                "Some(\"127.0.0.2:93\")",
                args.tcp.clone().map(|to| to.or_port(1).to_string())
            ),
            ("period", "94s", "94s", args.server_config().unwrap().period),
            ("session_ttl", "95s", "95s", args.server_config().unwrap().session_ttl),
            ("drain", "96s", "96s", args.serve.drain),
            ("seed", "97", "Some(97)", args.seed),
            ("json", "true", "true", args.serve.json),
            ("max_sessions", "98", "98", args.server_config().unwrap().max_sessions),
            (
                "max_calls_per_connection",
                "99",
                "99",
                args.grpc_config().unwrap().max_calls
            ),
        ],
        link_rows!(Numbers(Serve(args)), args.links().unwrap()),
    ];
    let get = [
        tls_rows!(Numbers(Get(args)), args.tls),
        rows![
            Numbers(Get(args)),
            ("n", "101", "101", args.n),
            ("stateful", "true", "true", args.stateful),
            (
                "uuid",
                "67e55044-10b1-426f-9247-bb680e5fe0c8",
                "Some(67e55044-10b1-426f-9247-bb680e5fe0c8)",
                args.uuid
            ),
            ("resume", "102", "Some(102)", args.resume),
            (
                "to",
                "127.0.0.2:103",
                "\"127.0.0.2:103\"",
                args.to.clone().or_port(1).to_string()
            ),
            ("transport", "tcp", "Tcp", args.transport),
            ("retry", "true", "true", args.client().retry_refused),
            ("timeout", "104s", "104s", args.client().give_up_after),
            ("json", "true", "true", args.json),
        ],
    ];
    [
        tested("numbers serve", None, serve),
        tested("numbers get", Some(("n", "1")), get),
    ]
}

fn chat() -> [Tested; 4] {
    use System::Chat;
    use chat::Args;
    use chat::Command::{Connect, Ping, Serve};
    let bare = [rows![
        Chat(args),
        ("mode", "server", "Some(\"server\")", args.mode),
        ("addr", "127.0.0.2:111", "Some(\"127.0.0.2:111\")", args.addr),
    ]];
    let serve = [
        rows![
            Chat(Args {
                command: Some(Serve(args)),
                ..
            }),
            (
                "listen",
                "127.0.0.2:112",
                "\"127.0.0.2:112\"",
                args.listen.or_port(1).to_string()
            ),
            ("keep", "113s", "113s", args.server().session_ttl),
            ("once", "true", "true", args.once),
        ],
        chat_output_rows!(
            Chat(Args {
                command: Some(Serve(args)),
                ..
            }),
            args.output
        ),
        chat_bound_rows!(
            Chat(Args {
                command: Some(Serve(args)),
                ..
            }),
            args.bounds
        ),
        ws_serve_rows!(
            Chat(Args {
                command: Some(Serve(args)),
                ..
            }),
            args.ws
        ),
        tls_serve_rows!(
            Chat(Args {
                command: Some(Serve(args)),
                ..
            }),
            args.tls
        ),
    ];
    let connect = [
        rows![
            Chat(Args {
                command: Some(Connect(args)),
                ..
            }),
            (
                "address",
                "127.0.0.2:114",
                "Some(\"127.0.0.2:114\")",
                args.address.clone().map(|to| to.or_port(1).to_string())
            ),
            (
                "to",
                "127.0.0.2:115",
                "\"127.0.0.2:115\"",
                args.to.clone().or_port(1).to_string()
            ),
            ("reconnect", "true", "true", args.client().reconnect),
            ("retry", "true", "true", args.client().retry_refused),
            ("timeout", "116s", "116s", args.client().connect_timeout),
        ],
        chat_output_rows!(
            Chat(Args {
                command: Some(Connect(args)),
                ..
            }),
            args.output
        ),
        chat_bound_rows!(
            Chat(Args {
                command: Some(Connect(args)),
                ..
            }),
            args.bounds
        ),
        tls_rows!(
            Chat(Args {
                command: Some(Connect(args)),
                ..
            }),
            args.tls
        ),
    ];
    let ping = [
        rows![
            Chat(Args {
                command: Some(Ping(args)),
                ..
            }),
            (
                "address",
                "127.0.0.2:117",
                "Some(\"127.0.0.2:117\")",
                args.address.clone().map(|to| to.or_port(1).to_string())
            ),
            (
                "to",
                "127.0.0.2:118",
                "Some(\"127.0.0.2:118\")",
                args.to.clone().map(|to| to.or_port(1).to_string())
            ),
            ("count", "119", "119", args.count),
            ("size", "120B", "120", args.size.as_u64()),
            ("timeout", "121s", "121s", args.client().connect_timeout),
            ("baseline", "true", "true", args.baseline),
            ("json", "true", "true", args.json),
        ],
        chat_bound_rows!(
            Chat(Args {
                command: Some(Ping(args)),
                ..
            }),
            args.bounds
        ),
        tls_rows!(
            Chat(Args {
                command: Some(Ping(args)),
                ..
            }),
            args.tls
        ),
    ];
    [
        tested("chat", None, bare),
        tested("chat serve", None, serve),
        tested("chat connect", None, connect),
        tested("chat ping", None, ping),
    ]
}

/// The options that every command has, on one of them.
pub(super) fn common() -> Tested {
    let row = |id, value, expected, field| Row {
        id,
        value,
        expected,
        field,
    };
    let rows = [
        row("log_format", "json", "Json", |cli| {
            format!("{:?}", cli.common.log_format)
        }),
        row("verbose", "", "1", |cli| format!("{:?}", cli.common.verbose)),
        row("quiet", "", "true", |cli| format!("{:?}", cli.common.quiet)),
        row("env_file", "some.env", "Some(\"some.env\")", |cli| {
            format!("{:?}", cli.common.env_file)
        }),
    ];
    tested("hub list", None, [rows.into()])
}

fn tested(
    path: &'static str,
    required: Option<(&'static str, &'static str)>,
    rows: impl IntoIterator<Item = Vec<Row>>,
) -> Tested {
    let rows = rows.into_iter().flatten().collect();
    Tested { path, required, rows }
}

pub(super) fn all() -> Vec<Tested> {
    let all = echo().into_iter().chain(hub()).chain(numbers()).chain(chat());
    all.collect()
}
