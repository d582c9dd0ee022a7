//! Peers that send a part of a message and no more.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::{Serving, echosphere, json, stderr};

const MIB: usize = 1024 * 1024;

/// The frame of a message.
fn frame(x: &[u8]) -> Vec<u8> {
    let length = u32::try_from(x.len() + 8).unwrap();
    [&length.to_be_bytes()[..], b"message ", x].concat()
}

/// Bytes of memory that the server has.
fn resident(serving: &Serving) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", serving.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn half_sent_messages_take_no_more_memory_than_they_may_and_others_get_through() {
    const BOUND: usize = 16 * MIB;
    /// Connections, buffers of the allocator, and the one message that grows.
    const OTHERS: usize = 16 * MIB;
    let serving = Serving::start("echo", "partial", &["--max-partial-bytes", "16MiB", "--json"]);
    let before = resident(&serving);
    let half = &frame(&vec![b'x'; MIB])[..MIB - 4096];
    let attackers: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut socket = TcpStream::connect(&serving.addr).unwrap();
            socket.write_all(half).unwrap();
            socket
        })
        .collect();

    // This comes in many reads, too.
    let mut honest = TcpStream::connect(&serving.addr).unwrap();
    let message = frame(&vec![b'y'; 100_000]);
    for part in message.chunks(1000) {
        honest.write_all(part).unwrap();
    }
    let mut forwarded = vec![0; message.len()];
    honest.read_exact(&mut forwarded).unwrap();
    assert_eq!(forwarded, message);
    for mut refused in &attackers[..250] {
        let mut told = String::new();
        refused.read_to_string(&mut told).unwrap();
        assert!(told.contains("error busy "), "{told:?}");
    }
    let grown = resident(&serving).saturating_sub(before);
    assert!(grown < BOUND + OTHERS, "{grown} bytes");

    drop((attackers, honest));
    serving.signal(Signal::INT);
    let state = json(&serving.wait());
    assert!(state["counters"]["refused_partial"].as_u64().unwrap() >= 250, "{state}");
}

#[test]
fn a_bound_that_no_longest_message_fits_is_refused() {
    for (system, args) in [
        ("echo", &["serve", "--max-partial-bytes", "1MiB"][..]),
        (
            "echo",
            &["serve", "--max-partial-bytes", "4MiB", "--max-message", "3MiB"],
        ),
        ("hub", &["serve", "--max-partial-bytes", "1MiB"]),
        ("chat", &["serve", "--max-partial-bytes", "3MiB"]),
        ("numbers", &["serve", "--max-partial-bytes", "512"]),
    ] {
        let listen = if system == "numbers" { "--grpc" } else { "--listen" };
        let all = [&[system], args, &[listen, "127.0.0.1:0"]].concat();
        let output = echosphere("partial-bounds", &all).output().unwrap();
        let told = stderr(&output);
        assert!(told.contains("--max-partial-bytes is too small"), "{system}: {told}");
        assert_eq!(output.status.code(), Some(2), "{told}");
    }
}
