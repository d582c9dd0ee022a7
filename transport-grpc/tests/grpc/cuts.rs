//! A connection that is cut at each byte of what a client sends, in each of the ways in which TCP can end.

use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::numbers::{Message, Notice, StreamSpec};
use echosphere_transport_grpc::GrpcConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::peer::{DATA, END_HEADERS, END_STREAM, HEADERS, frame, header_block, preface};
use crate::support::{get, path, requests, soon, start_with, wait, within};

#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The client closes: FIN, or a reset if something was not read.
    Close,
    /// The client finishes sending, and reads on.
    HalfClose,
    /// The connection is reset.
    Reset,
    /// The client says nothing more; the server's time-outs end it.
    Silence,
}

/// All that a client sends for one call with one request.
fn conversation() -> Vec<u8> {
    [
        preface(),
        frame(HEADERS, END_HEADERS, 1, &header_block(&path())),
        frame(DATA, END_STREAM, 1, &requests(&[Message::Start])),
    ]
    .concat()
}

/// Short, so that silence ends soon; pings go to whoever is there.
fn impatient() -> ConnectionConfig {
    ConnectionConfig {
        handshake_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(200),
        linger: Duration::from_millis(200),
        ..ConnectionConfig::default()
    }
}

#[tokio::test]
async fn whatever_is_cut_off_leaves_nothing_and_disturbs_nobody() {
    let links = impatient();
    let running = start_with(
        links,
        GrpcConfig {
            connections: links,
            max_calls: 10,
        },
    );
    let whole = conversation();
    let mut silent = Vec::new();
    for cut in [Cut::Close, Cut::HalfClose, Cut::Reset, Cut::Silence] {
        for at in 0..=whole.len() {
            let mut peer = TcpStream::connect(running.addr).await.unwrap();
            // A server that has gone does not take the rest.
            let _ = peer.write_all(&whole[..at]).await;
            match cut {
                Cut::Close => drop(peer),
                Cut::HalfClose => {
                    let _ = peer.shutdown().await;
                    // A stream that runs would be sent for ever.
                    let mut read = [0; 64];
                    let _ = soon(peer.read(&mut read)).await;
                }
                Cut::Reset => {
                    let _ = peer.set_zero_linger();
                }
                Cut::Silence => silent.push(peer),
            }
        }
        // Others are served meanwhile.
        let told = get(
            running.addr,
            StreamSpec::Stateless { n: 1, after: None },
            within(Duration::from_secs(30)),
        )
        .await;
        assert!(matches!(told.last(), Some(Notice::Done { .. })), "{cut:?}: {told:?}");
    }
    drop(silent);
    wait(async || running.calls().await == 0).await;
    running.end().await;
}
