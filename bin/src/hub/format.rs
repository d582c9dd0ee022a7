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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use echosphere_core::wire::ErrorCode;

    use super::*;

    #[test]
    fn every_answer_is_said_to_people_and_to_programs() {
        let body = Bytes::from_static(b"two\nlines");
        let unsent = vec![(2, Unsent::Unknown), (3, Unsent::TooSlow), (4, Unsent::Unknown)];
        for (reply, text, event) in [
            (
                Reply::Identity(7),
                "you are user 7",
                json!({ "event": "identity", "user_id": "7" }),
            ),
            (
                Reply::List([].into_iter().collect()),
                "no other users are connected",
                json!({ "event": "list", "user_ids": [] }),
            ),
            (
                Reply::List([2, 5].into_iter().collect()),
                "connected: 2,5",
                json!({ "event": "list", "user_ids": ["2", "5"] }),
            ),
            (
                Reply::Echo(body.clone()),
                "two\n  lines",
                json!({ "event": "echo", "bytes": 9, "text": "two\nlines" }),
            ),
            (
                Reply::Relayed { sent: 1, unsent },
                "relayed to 1 of 4 users; unknown: 2,4; too slow: 3",
                json!({ "event": "relayed", "sent": 1, "unknown": ["2", "4"], "too_slow": ["3"] }),
            ),
            (
                Reply::Delivery { from: 9, body },
                "from 9: two\n  lines",
                json!({ "event": "delivery", "from": "9", "bytes": 9, "text": "two\nlines" }),
            ),
        ] {
            assert_eq!(answer(&reply), text);
            assert_eq!(answer_event(&reply), event, "{text}");
        }
        let error = Reply::Error(ErrorCode::TooManyReceivers, Bytes::from_static(b"at most 255"));
        assert!(answer(&error).starts_with("error "), "{}", answer(&error));
        assert!(answer(&error).ends_with(answer_event(&error)["why"].as_str().unwrap()));
    }
}
