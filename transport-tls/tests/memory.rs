//! What an idle connection costs.
#![allow(clippy::unwrap_used)]

mod support;

use allocation_counter::measure;
use echosphere_driver::{Connector, Listener};
use echosphere_transport_tls::{TlsConnector, TlsListener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::{memory, self_signed, trusting};

const CONNECTIONS: usize = 100;
const LIMIT: u64 = 40 * 1024;

/// Bytes for each end, after `messages` of this size went both ways and were echoed.
fn idle_bytes(message: usize) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let tls = self_signed();
    let client = trusting(&tls);
    let (listener, connector) = memory(512);
    let mut listener = TlsListener::new(listener, tls);
    let connector = TlsConnector::new(connector, client);
    let mut streams = Vec::with_capacity(CONNECTIONS);
    let mut open = |count| {
        for _ in 0..count {
            let both = runtime.block_on(async {
                let accept = async { listener.accept().await.unwrap().finish().await.unwrap() };
                let dial = async { connector.dial().await.unwrap() };
                let ((_, mut server), (_, mut client)) = tokio::join!(accept, dial);
                let serve = async {
                    let mut bytes = vec![0; message];
                    server.read_exact(&mut bytes).await.unwrap();
                    server.write_all(&bytes).await.unwrap();
                    server.flush().await.unwrap();
                };
                let ask = async {
                    let mut bytes = vec![0; message];
                    client.write_all(&bytes).await.unwrap();
                    client.flush().await.unwrap();
                    client.read_exact(&mut bytes).await.unwrap();
                    // A pending read, as the driver leaves one.
                    let read = std::pin::pin!(client.read(&mut bytes));
                    let _ = read.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
                };
                tokio::join!(serve, ask);
                let mut bytes = [0];
                {
                    let read = std::pin::pin!(server.read(&mut bytes));
                    let _ = read.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
                }
                (Box::new(server), Box::new(client))
            });
            streams.push(both);
        }
    };
    // What there is one of.
    open(1);
    let measured = measure(|| open(CONNECTIONS - 1));
    u64::try_from(measured.bytes_current).unwrap() / (CONNECTIONS as u64 - 1) / 2
}

#[test]
fn an_idle_connection_has_at_most_40_kibibytes() {
    for message in [1, 1000, 100_000] {
        let bytes = idle_bytes(message);
        println!("after a message of {message} bytes: {bytes} bytes for each end");
        assert!(bytes < LIMIT, "{bytes} bytes");
    }
}
