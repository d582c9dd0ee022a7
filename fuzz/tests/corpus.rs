//! Replays the corpus without a fuzzer.

use std::path::Path;

use echosphere_fuzz::{chat, client, codecs, hub, numbers, replay, server, websocket, wire};

fn corpus(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 10, "{name} has a corpus");
    replay(target, files.into_iter());
}

#[test]
fn the_corpus_of_wire_passes() {
    corpus("wire", wire);
}

#[test]
fn the_corpus_of_codecs_passes() {
    corpus("codecs", codecs);
}

#[test]
fn the_corpus_of_server_passes() {
    corpus("server", server);
}

#[test]
fn the_corpus_of_client_passes() {
    corpus("client", client);
}

#[test]
fn the_corpus_of_hub_passes() {
    corpus("hub", hub);
}

#[test]
fn the_corpus_of_chat_passes() {
    corpus("chat", chat);
}

#[test]
fn the_corpus_of_numbers_passes() {
    corpus("numbers", numbers);
}

#[test]
fn the_corpus_of_websocket_passes() {
    corpus("websocket", websocket);
}
