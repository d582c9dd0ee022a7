//! TLS: every server and client, the options and their errors, and new files at SIGHUP.

use std::fs;
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustix::process::Signal;

use crate::support::{Serving, contains, drained, folder, json, outcome, stdout};

/// Files that every test can read: `ca.pem`, and `NAME.pem` with `NAME.key` for each certificate of the CA.
fn files() -> &'static Path {
    static FILES: OnceLock<PathBuf> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = folder("tls_files");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("ca.pem"), ca.as_ref().pem()).unwrap();
        for (name, host) in [("server", "127.0.0.1"), ("next", "127.0.0.1"), ("named", "relay.test")] {
            issue(&folder, name, &CertificateParams::new([host.to_owned()]).unwrap(), &ca);
        }
        let mut expired = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        expired.not_after = date_time_ymd(2001, 1, 1);
        issue(&folder, "expired", &expired, &ca);
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, "anna");
        issue(&folder, "client", &client, &ca);
        folder
    })
}

fn issue(folder: &Path, name: &str, params: &CertificateParams, ca: &CertifiedIssuer<'_, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn file(name: &str) -> String {
    files().join(name).to_str().unwrap().to_owned()
}

/// The options that use this certificate.
fn identity(name: &str) -> [String; 4] {
    let (certificate, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
    ["--tls-cert".to_owned(), certificate, "--tls-key".to_owned(), key]
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// A server with this certificate and further options.
fn serving(system: &str, test: &str, certificate: &str, more: &[&str]) -> Serving {
    let identity = identity(certificate);
    Serving::start(system, test, &[&strs(&identity)[..], more].concat())
}

#[test]
fn every_client_reaches_its_server() {
    let ca = file("ca.pem");
    let test = "tls_every_client";
    let tls = ["--tls-ca", &ca];

    let echo = serving("echo", test, "server", &["--json"]);
    let to = ["--to", &echo.addr.clone()];
    contains(
        &outcome(test, &[&["echo", "send", "hi"], &to[..], &tls].concat(), 0),
        &["ok hi"],
    );
    for load in [
        &["echo", "load", "--clients", "20", "--over", "50ms"][..],
        &[
            "echo",
            "load",
            "--connections",
            "3",
            "--window",
            "4",
            "--duration",
            "100ms",
        ],
        &[
            "echo",
            "load",
            "--connections",
            "4",
            "--shards",
            "2",
            "--duration",
            "100ms",
        ],
    ] {
        contains(&outcome(test, &[load, &to, &tls].concat(), 0), &["PASSED"]);
    }
    let stopped = json(&drained(echo));
    assert_eq!(
        (&stopped["zero"], &stopped["counters"]["failed_negotiations"]),
        (&true.into(), &0.into())
    );

    let hub = serving("hub", test, "server", &[]);
    let to = ["--to", &hub.addr.clone()];
    outcome(test, &[&["hub", "identity"], &to[..], &tls].concat(), 0);
    let load = ["hub", "load", "--users", "5", "--messages", "3"];
    contains(&outcome(test, &[&load, &to[..], &tls].concat(), 0), &["PASSED"]);
    drained(hub);

    let numbers = serving("numbers", test, "server", &["--period", "1ms", "--tcp", "127.0.0.1:0"]);
    let to = ["--to", &numbers.addr.clone()];
    outcome(
        test,
        &[&["numbers", "get", "3", "--transport", "tcp"], &to[..], &tls].concat(),
        0,
    );
    drained(numbers);
    let numbers = serving("numbers", test, "server", &["--period", "1ms", "--grpc", "127.0.0.1:0"]);
    let to = ["--to", &numbers.addr.clone()];
    outcome(test, &[&["numbers", "get", "3"], &to[..], &tls].concat(), 0);
    drained(numbers);

    let chat = serving("chat", test, "server", &["--once"]);
    let to = ["--to", &chat.addr.clone()];
    outcome(test, &[&["chat", "connect"], &to[..], &tls].concat(), 0);
    assert!(chat.wait().status.success());
}

#[test]
fn io_threads_speak_tls() {
    let test = "tls_io_threads";
    let server = serving("echo", test, "server", &["--io-threads", "2"]);
    let args = ["echo", "send", "hi", "--to", &server.addr, "--tls-ca", &file("ca.pem")];
    contains(&outcome(test, &args, 0), &["ok hi"]);
    drained(server);
}

#[test]
fn loads_with_servers_of_their_own_speak_tls() {
    let test = "tls_own_servers";
    for load in [
        &["echo", "load", "--tls", "--clients", "20", "--over", "50ms"][..],
        &["echo", "load", "--tls", "--connections", "3", "--duration", "100ms"],
        &[
            "echo",
            "load",
            "--tls",
            "--connections",
            "4",
            "--shards",
            "2",
            "--duration",
            "100ms",
        ],
        &["hub", "load", "--tls", "--users", "5", "--messages", "3"],
    ] {
        contains(&outcome(test, load, 0), &["PASSED", "at zero"]);
    }
    contains(
        &outcome(test, &["chat", "ping", "--tls", "--count", "3"], 0),
        &["3 messages"],
    );
}

#[test]
fn a_client_certificate_is_demanded() {
    let test = "tls_client_ca";
    let ca = file("ca.pem");
    let client = identity("client");
    for (system, args) in [
        ("echo", &["echo", "send", "hi"][..]),
        ("hub", &["hub", "identity"]),
        ("numbers", &["numbers", "get", "1", "--transport", "tcp"]),
    ] {
        let server = serving(system, test, "server", &["--tls-client-ca", &ca]);
        let to = ["--to", &server.addr.clone(), "--tls-ca", &ca];
        contains(
            &outcome(test, &[args, &to[..]].concat(), 1),
            &["the server demands a client certificate; give one with --tls-cert and --tls-key"],
        );
        outcome(test, &[args, &to[..], &strs(&client)].concat(), 0);
        drained(server);
    }
    let grpc = serving(
        "numbers",
        test,
        "server",
        &["--tls-client-ca", &ca, "--grpc", "127.0.0.1:0"],
    );
    let args = ["numbers", "get", "1", "--to", &grpc.addr.clone(), "--tls-ca", &ca];
    contains(&outcome(test, &args, 1), &["demands a client certificate"]);
    outcome(test, &[&args[..], &strs(&client)].concat(), 0);
    drained(grpc);
}

#[test]
fn the_principal_of_a_client_is_logged() {
    let test = "tls_principal";
    let server = serving("echo", test, "server", &["--tls-client-ca", &file("ca.pem"), "-v"]);
    let args = [
        "echo",
        "send",
        "hi",
        "--to",
        &server.addr.clone(),
        "--tls-ca",
        &file("ca.pem"),
    ];
    outcome(test, &[&args[..], &strs(&identity("client"))].concat(), 0);
    server.signal(Signal::TERM);
    let mut log = String::new();
    let Serving {
        mut stderr, mut child, ..
    } = server;
    stderr.read_to_string(&mut log).unwrap();
    child.wait().unwrap();
    contains(&log, &["(anna)", "transport=\"tls\""]);
}

#[test]
fn a_self_signed_certificate_is_trusted_by_its_fingerprint() {
    let test = "tls_self_signed";
    let mut server = Serving::start("echo", test, &["--tls-self-signed", "--json"]);
    let line = server.next_line();
    let fingerprint = line
        .trim_end()
        .strip_prefix("clients trust this server with --tls-fingerprint ")
        .unwrap_or_else(|| panic!("{line}"));
    let send = ["echo", "send", "hi", "--to", &server.addr];
    let lower = fingerprint.replace(':', "").to_lowercase();
    for fingerprint in [fingerprint, &lower] {
        outcome(test, &[&send[..], &["--tls-fingerprint", fingerprint]].concat(), 0);
    }
    let other = "00".repeat(32);
    let text = outcome(test, &[&send[..], &["--tls-fingerprint", &other]].concat(), 1);
    contains(&text, &["another fingerprint than the one of --tls-fingerprint"]);
    let text = outcome(test, &[&send[..], &["--tls-ca", &file("ca.pem")]].concat(), 1);
    contains(&text, &["not signed by a trusted CA", "--tls-ca", "--tls-fingerprint"]);

    let expected = fingerprint.to_owned();
    server.signal(Signal::TERM);
    let output = server.wait();
    let first: serde_json::Value = serde_json::from_str(stdout(&output).lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["transport"], &first["tls_fingerprint"]),
        (&"tcp+tls".into(), &expected.into())
    );
}

#[test]
fn a_certificate_of_another_name_or_time_is_refused() {
    let test = "tls_names";
    let ca = file("ca.pem");
    let server = serving("echo", test, "named", &[]);
    let send = ["echo", "send", "hi", "--tls-ca", &ca, "--to", &server.addr];
    contains(
        &outcome(test, &send, 1),
        &["not valid for 127.0.0.1, but for", "relay.test", "--tls-name"],
    );
    outcome(test, &[&send[..], &["--tls-name", "relay.test"]].concat(), 0);
    // A load tells it before it starts.
    let load = ["echo", "load", "--tls-ca", &ca, "--to", &server.addr];
    contains(&outcome(test, &load, 2), &["not valid for 127.0.0.1"]);
    drained(server);

    let server = serving("echo", test, "expired", &[]);
    let send = ["echo", "send", "hi", "--tls-ca", &ca, "--to", &server.addr];
    contains(&outcome(test, &send, 1), &["has expired"]);
    drained(server);
}

#[test]
fn a_client_without_tls_learns_that_the_port_speaks_it() {
    let test = "tls_plain_client";
    let server = serving("echo", test, "server", &[]);
    let to = server.addr.clone();
    for client in [
        &["echo", "send", "hi", "--to", &to][..],
        &["hub", "identity", "--to", &to],
        &["chat", "connect", "--to", &to],
        &["numbers", "get", "1", "--transport", "tcp", "--to", &to],
        &["numbers", "get", "1", "--to", &to],
    ] {
        contains(&outcome(test, client, 1), &["is a TLS server (connect with --tls)"]);
    }
    let typed = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&to).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let line = "error tls-required this port speaks TLS; connect with --tls\n";
    assert_eq!(typed(b"message hi\n"), line);
    let answer = typed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.ends_with(line),
        "{answer}"
    );
    drained(server);
}

#[test]
fn a_client_with_tls_learns_that_the_port_does_not_speak_it() {
    let test = "tls_plain_server";
    let echo = Serving::start("echo", test, &[]);
    let (to, ca) = (echo.addr.clone(), file("ca.pem"));
    for client in [
        &["echo", "send", "hi"][..],
        &["hub", "identity"],
        &["chat", "connect"],
        &["numbers", "get", "1", "--transport", "tcp"],
        &["numbers", "get", "1"],
    ] {
        let text = outcome(test, &[client, &["--to", &to, "--tls-ca", &ca]].concat(), 1);
        contains(&text, &["the server does not speak TLS; connect without --tls"]);
    }
    drained(echo);
    let grpc = Serving::start("numbers", test, &["--grpc", "127.0.0.1:0"]);
    let text = outcome(test, &["numbers", "get", "1", "--to", &grpc.addr, "--tls-ca", &ca], 1);
    contains(&text, &["the server does not speak TLS, it is an HTTP/2 server"]);
    drained(grpc);
}

#[test]
fn options_that_cannot_be_used_are_explained() {
    let test = "tls_options";
    let (certificate, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let other_key = file("next.key");
    let fingerprint = "00".repeat(32);
    for system in ["echo", "hub", "numbers", "chat"] {
        for (args, says) in [
            (
                &["--tls-cert", &certificate][..],
                &["--tls-cert also needs --tls-key"][..],
            ),
            (&["--tls-key", &key], &["--tls-key also needs --tls-cert"]),
            (&["--tls-client-ca", &ca], &["--tls-client-ca also needs --tls-cert"]),
            (
                &["--tls-self-signed", "--tls-cert", &certificate],
                &["leave out --tls-cert"],
            ),
            (
                &["--tls-cert", &certificate, "--tls-key", &other_key],
                &[
                    "next.key has a key that does not belong to the certificate in",
                    "server.pem",
                ],
            ),
            (
                &["--tls-cert", "missing.pem", "--tls-key", &key],
                &["cannot read missing.pem"],
            ),
            (
                &["--tls-cert", &key, "--tls-key", &key],
                &["server.key has no certificate in PEM format"],
            ),
        ] {
            contains(&outcome(test, &[&[system, "serve"], args].concat(), 2), says);
        }
    }
    for client in [
        &["echo", "send", "hi"][..],
        &["echo", "load", "--to", "127.0.0.1:1"],
        &["hub", "list"],
        &["hub", "load", "--to", "127.0.0.1:1"],
        &["numbers", "get", "1"],
        &["chat", "connect"],
    ] {
        for (args, says) in [
            (&["--tls-ca", "missing.pem"][..], "cannot read missing.pem"),
            (&["--tls-ca", &ca, "--tls-fingerprint", &fingerprint], "use one of them"),
            (
                &["--tls-ca", &ca, "--tls-cert", &certificate],
                "--tls-cert also needs --tls-key",
            ),
            (&["--tls-ca", &ca, "--tls-key", &key], "--tls-key also needs --tls-cert"),
            (
                &["--tls-ca", &ca, "--tls-name", "a b"],
                "neither a host name nor an IP address",
            ),
            (&["--tls-fingerprint", "00"], "64 hexadecimal digits"),
        ] {
            contains(&outcome(test, &[client, args].concat(), 2), &[says]);
        }
    }
}

#[test]
fn sighup_reads_the_files_again() {
    let test = "tls_reload";
    let folder = folder(test);
    let copy = |name: &str| {
        fs::copy(file(&format!("{name}.pem")), folder.join("cert.pem")).unwrap();
        fs::copy(file(&format!("{name}.key")), folder.join("key.pem")).unwrap();
    };
    for system in ["echo", "numbers"] {
        copy("server");
        let mut server = Serving::start(system, test, &["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
        let (to, ca) = (server.addr.clone(), file("ca.pem"));
        let client = match system {
            "echo" => &["echo", "send", "hi"][..],
            _ => &["numbers", "get", "1", "--transport", "tcp"],
        };
        let client = [client, &["--to", &to, "--tls-ca", &ca]].concat();
        outcome(test, &client, 0);

        fs::write(folder.join("cert.pem"), "garbage").unwrap();
        server.signal(Signal::HUP);
        let line = server.next_line();
        contains(&line, &["the former ones stay in force", "cert.pem has no certificate"]);
        outcome(test, &client, 0);

        copy("named");
        server.signal(Signal::HUP);
        contains(
            &server.next_line(),
            &["TLS files read again: new connections use the certificate "],
        );
        contains(&outcome(test, &client, 1), &["not valid for 127.0.0.1"]);
        outcome(test, &[&client[..], &["--tls-name", "relay.test"]].concat(), 0);
        server.signal(Signal::TERM);
        let mut line = String::new();
        server.stderr.read_line(&mut line).unwrap();
        assert!(server.wait().status.success());
    }
}

/// Without files, SIGHUP means that the terminal is gone.
#[test]
fn sighup_ends_a_server_without_files() {
    for tls in [&["--tls-self-signed"][..], &[]] {
        let server = Serving::start("echo", "tls_hang_up", tls);
        server.signal(Signal::HUP);
        assert!(server.wait().status.success());
    }
}
