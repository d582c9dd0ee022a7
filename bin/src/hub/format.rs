//! Answers and deliveries as text and as JSON.

use echosphere_core::hub::{Reply, Unsent, receipt};
use serde_json::{Value, json};

use crate::failure::protocol_error;
use crate::{escape, output};

/// An answer as text.
pub(super) fn answer(reply: &Reply) -> String {
    match reply {
        Reply::Identity(id) => format!("you are user {id}"),
        Reply::List(ids) if ids.is_empty() => "no other users are connected".to_owned(),
        Reply::List(ids) => format!("connected: {ids}"),
        Reply::Echo(body) => escape::lines(body),
        Reply::Relayed { sent, unsent } => receipt(*sent, unsent),
        Reply::Error(code, words) => format!("error {}", protocol_error(*code, words)),
        Reply::Delivery { from, body } => delivery(*from, body),
    }
}

/// A delivery as text.
pub(super) fn delivery(from: u64, body: &[u8]) -> String {
    format!("from {from}: {}", escape::lines(body))
}

/// An answer as a JSON event.
pub(super) fn answer_event(reply: &Reply) -> Value {
    match reply {
        Reply::Identity(id) => json!({ "event": "identity", "user_id": output::exactly(*id) }),
        Reply::List(ids) => json!({ "event": "list", "user_ids": exact(ids.iter()) }),
        Reply::Echo(body) => output::with_body(json!({ "event": "echo" }), body),
        Reply::Relayed { sent, unsent } => {
            let mut event = receipt_object(*sent, unsent);
            event["event"] = "relayed".into();
            event
        }
        Reply::Error(code, words) => {
            json!({ "event": "error", "why": protocol_error(*code, words) })
        }
        Reply::Delivery { from, body } => delivery_event(*from, body),
    }
}

/// A delivery as a JSON event.
pub(super) fn delivery_event(from: u64, body: &[u8]) -> Value {
    output::with_body(json!({ "event": "delivery", "from": output::exactly(from) }), body)
}

/// The result of a relay as a JSON object.
pub(super) fn receipt_object(sent: u8, unsent: &[(u64, Unsent)]) -> Value {
    let of = |what| exact(unsent.iter().filter(move |(_, why)| *why == what).map(|(id, _)| *id));
    json!({ "sent": sent, "unknown": of(Unsent::Unknown), "too_slow": of(Unsent::TooSlow) })
}

/// User ids as JSON.
pub(super) fn exact(ids: impl Iterator<Item = u64>) -> Value {
    ids.map(output::exactly).collect()
}
