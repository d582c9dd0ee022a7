//! What users are shown.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use echosphere_core::hub::{Reply, Unsent};
use serde_json::{Value, json};

/// An answer as one line for people.
pub(super) fn answer(reply: &Reply) -> String {
    match reply {
        Reply::Identity(id) => format!("you are user {id}"),
        Reply::List(ids) if ids.is_empty() => "nobody else is connected".to_owned(),
        Reply::List(ids) => format!("connected: {ids}"),
        Reply::Echo(body) => text(body),
        Reply::Relayed { sent, unsent } => receipt(*sent, unsent),
        Reply::Error(code, words) => format!("error {code}: {}", text(words)),
        Reply::Delivery { from, body } => delivery(*from, body),
    }
}

/// What became of a relay, as one line for people.
pub(super) fn receipt(sent: u8, unsent: &[(u64, Unsent)]) -> String {
    let mut line = format!("relayed to {sent}");
    for (id, why) in unsent {
        line += &match why {
            Unsent::Unknown => format!("; {id} is not connected"),
            Unsent::TooSlow => format!("; {id} does not read what it is sent"),
        };
    }
    line
}

/// What a user has sent, for people: nothing in it can control the terminal.
pub(super) fn delivery(from: u64, body: &[u8]) -> String {
    format!("from {from}: {}", text(body))
}

/// The same as one JSON object; what is not text stands in Base64.
pub(super) fn delivery_json(from: u64, body: &[u8]) -> Value {
    match str::from_utf8(body) {
        Ok(text) => json!({ "from": from, "bytes": body.len(), "text": text }),
        Err(_) => json!({ "from": from, "bytes": body.len(), "base64": BASE64_STANDARD.encode(body) }),
    }
}

/// Bytes as text that cannot control a terminal; line breaks and tabs are kept.
fn text(bytes: &[u8]) -> String {
    let safe = |c: &char| matches!(c, '\n' | '\t') || !c.is_control();
    match str::from_utf8(bytes) {
        Ok(text) if text.chars().all(|c| safe(&c)) => text.to_owned(),
        _ => format!("({} bytes) {}", bytes.len(), shortened(bytes)),
    }
}

fn shortened(bytes: &[u8]) -> String {
    const SHOWN: usize = 200;
    let shown = bytes[..bytes.len().min(SHOWN)].escape_ascii();
    let more = if bytes.len() > SHOWN { "…" } else { "" };
    format!("{shown}{more}")
}
