//! The rows of options that several commands share.

macro_rules! rows {
    ($command:pat, $(($id:literal, $value:literal, $expected:literal, $field:expr)),* $(,)?) => {
        vec![$(Row {
            id: $id,
            value: $value,
            expected: $expected,
            field: |cli| {
                let $command = &cli.system else {
                    panic!("another command");
                };
                format!("{:?}", $field)
            },
        }),*]
    };
}

/// The rows of `LinkBounds`; `$links` is the configuration made from them.
macro_rules! link_rows {
    ($command:pat, $links:expr) => {
        rows![
            $command,
            ("max_connections", "11", "11", $links.max_connections),
            ("max_backlog", "12KiB", "12288", $links.max_backlog),
            ("backlog_timeout", "13s", "13s", $links.backlog_timeout),
            ("max_outbox", "14MiB", "14680064", $links.max_outbox),
            ("max_partial_bytes", "15MiB", "15728640", $links.max_partial_bytes),
            ("handshake_timeout", "16s", "16s", $links.handshake_timeout),
            ("idle_timeout", "17s", "17s", $links.idle_timeout),
            ("idle_timeout_text", "18s", "18s", $links.idle_timeout_text),
            ("keepalive", "19s", "19s", $links.keepalive_interval),
            ("linger", "20s", "20s", $links.linger),
        ]
    };
}

macro_rules! echo_bound_rows {
    ($command:pat, $bounds:expr) => {
        [
            link_rows!($command, $bounds.links().unwrap()),
            rows![
                $command,
                ("max_message", "21KiB", "21504", $bounds.max_message()),
                ("max_waiting", "22", "22", $bounds.server().max_waiting),
                ("max_waiting_bytes", "23B", "23", $bounds.server().max_waiting_bytes),
                ("max_kept", "24", "24", $bounds.server().max_flights),
                ("max_kept_bytes", "25B", "25", $bounds.server().max_bytes),
            ],
        ]
    };
}

macro_rules! tcp_serve_rows {
    ($command:pat, $tcp:expr) => {
        rows![
            $command,
            (
                "listen",
                "127.0.0.2:31",
                "\"127.0.0.2:31\"",
                $tcp.listen.or_port(1).to_string()
            ),
            ("io_threads", "32", "32", $tcp.threads.io_threads),
            ("drain", "33s", "33s", $tcp.serve.drain),
            ("json", "true", "true", $tcp.serve.json),
        ]
    };
}

macro_rules! ws_serve_rows {
    ($command:pat, $ws:expr) => {
        rows![
            $command,
            (
                "ws",
                "127.0.0.2:34",
                "Some(\"127.0.0.2:34\")",
                $ws.ws.clone().map(|at| at.or_port(1).to_string())
            ),
            (
                "ws_origin",
                "https://a.example",
                "[\"https://a.example\"]",
                $ws.ws_origin
            ),
        ]
    };
}

macro_rules! tls_serve_rows {
    ($command:pat, $tls:expr) => {
        rows![
            $command,
            ("tls_cert", "some.file", "Some(\"some.file\")", $tls.tls_cert),
            ("tls_key", "some.file", "Some(\"some.file\")", $tls.tls_key),
            ("tls_client_ca", "some.file", "Some(\"some.file\")", $tls.tls_client_ca),
            ("tls_self_signed", "true", "true", $tls.tls_self_signed),
        ]
    };
}

macro_rules! tls_rows {
    ($command:pat, $tls:expr) => {
        rows![
            $command,
            ("tls", "true", "true", $tls.tls),
            ("tls_ca", "some.file", "Some(\"some.file\")", $tls.tls_ca),
            (
                "tls_fingerprint",
                "0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F",
                "Some(Fingerprint(0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F:0F))",
                $tls.tls_fingerprint
            ),
            ("tls_name", "name.test", "Some(\"name.test\")", $tls.tls_name),
            ("tls_cert", "some.file", "Some(\"some.file\")", $tls.tls_cert),
            ("tls_key", "some.file", "Some(\"some.file\")", $tls.tls_key),
        ]
    };
}

macro_rules! hub_rows {
    ($command:pat, $hub:expr) => {
        rows![
            $command,
            (
                "to",
                "127.0.0.2:41",
                "\"127.0.0.2:41\"",
                $hub.to.clone().or_port(1).to_string()
            ),
            ("retry", "true", "true", $hub.client(false).retry_refused),
            (
                "timeout",
                "42s",
                "(42s, 42s)",
                ($hub.client(false).connect_timeout, $hub.client(true).response_timeout)
            ),
        ]
    };
}

macro_rules! chat_bound_rows {
    ($command:pat, $bounds:expr) => {
        rows![
            $command,
            ("idle_timeout", "51s", "51s", $bounds.links().unwrap().idle_timeout),
            ("keepalive", "52s", "52s", $bounds.links().unwrap().keepalive_interval),
            ("window", "53B", "53", $bounds.session().window),
            (
                "max_partial_bytes",
                "54MiB",
                "56623104",
                $bounds.links().unwrap().max_partial_bytes
            ),
        ]
    };
}

macro_rules! chat_output_rows {
    ($command:pat, $output:expr) => {
        rows![
            $command,
            ("raw", "true", "true", $output.raw),
            ("json", "true", "true", $output.json),
            ("multiline", "true", "true", $output.multiline),
        ]
    };
}
