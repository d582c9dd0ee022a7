//! Numbers over gRPC: service `grpc.Comms`, method `GetNumbers`, declared in `proto/numbers.proto`. See PROTOCOL.md, "Numbers
//! over gRPC".

use bytes::{Buf, Bytes, BytesMut};
use echosphere_core::numbers::{MAX_LINE, Message, parse_request, write_request};
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Outbox, WireError};
use prost::Message as _;

use self::proto::numbers_reply::Reply;
use crate::method::Method;
use crate::stream::HEADER;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::use_self)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/grpc.rs"));
}

/// The most bytes of a message around its text.
const AROUND: u32 = 64;

/// The method of streams of numbers.
#[derive(Clone, Copy, Debug)]
pub struct GetNumbers;

impl Method for GetNumbers {
    const SERVICE: &'static str = "grpc.Comms";
    const METHOD: &'static str = "GetNumbers";
    const DESCRIPTORS: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/numbers.bin"));
}

/// The codec of the messages of one call.
#[derive(Clone, Debug)]
pub struct NumbersGrpcCodec {
    accepted: bool,
}

impl NumbersGrpcCodec {
    /// For the server.
    #[must_use]
    pub const fn accepted() -> Self {
        Self { accepted: true }
    }

    /// For the client.
    #[must_use]
    pub const fn dialled() -> Self {
        Self { accepted: false }
    }
}

impl Codec for NumbersGrpcCodec {
    type Message = Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        let Some(payload) = next_message(input)? else {
            return Ok(None);
        };
        let decoded = if self.accepted {
            request(&payload)
        } else {
            return reply(&payload).map(|reply| Some(Decoded::Message(reply)));
        };
        Ok(Some(match decoded {
            Ok(request) => Decoded::Message(request),
            Err(error) => Decoded::Invalid(error),
        }))
    }

    fn encode(&mut self, message: &Message, output: &mut Outbox) {
        match message {
            Message::Number(number) => put_reply(Reply::Data(proto::Data { number: *number }), output),
            Message::Error(code, text) => put_reply(
                Reply::Error(proto::Error {
                    message: String::from_utf8_lossy(text).into_owned(),
                    code: code.as_str().to_owned(),
                }),
                output,
            ),
            request => {
                let message = write_request(request);
                put(&proto::NumbersRequest { message }, output);
            }
        }
    }

    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox) {
        // A client sends no errors: it ends the call.
        if self.accepted {
            self.encode(&Message::Error(code, Bytes::copy_from_slice(text.as_bytes())), output);
        }
    }

    /// HTTP/2 sends pings.
    fn is_kept_alive(&self) -> bool {
        true
    }
}

/// Takes one message off the front of `input`, if it is complete.
fn next_message(input: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
    let Some(&[flag, ref length @ ..]) = input.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    if flag != 0 {
        return Err(WireError::new(
            ErrorCode::UnknownRequest,
            "a compressed message, but no compression was negotiated; send it uncompressed",
        ));
    }
    let length = u32::from_be_bytes(*length);
    if length > MAX_LINE + AROUND {
        let text = format!("a message of {length} bytes; the limit is {}", MAX_LINE + AROUND);
        return Err(WireError::new(ErrorCode::FrameTooLong, text));
    }
    let length = length as usize;
    if input.len() < HEADER + length {
        return Ok(None);
    }
    input.advance(HEADER);
    Ok(Some(input.split_to(length).freeze()))
}

fn request(payload: &Bytes) -> Result<Message, WireError> {
    let request = proto::NumbersRequest::decode(payload.clone())
        .map_err(|wrong| WireError::new(ErrorCode::UnknownRequest, format!("not a NumbersRequest: {wrong}")))?;
    parse_request(request.message.as_bytes())
}

fn reply(payload: &Bytes) -> Result<Message, WireError> {
    let reply = proto::NumbersReply::decode(payload.clone())
        .map_err(|wrong| WireError::new(ErrorCode::UnknownRequest, format!("not a NumbersReply: {wrong}")))?;
    match reply.reply {
        Some(Reply::Data(data)) => Ok(Message::Number(data.number)),
        Some(Reply::Error(error)) => Ok(Message::Error(
            ErrorCode::parse(error.code.as_bytes()),
            error.message.into(),
        )),
        None => Err(WireError::new(
            ErrorCode::UnknownRequest,
            "a reply with neither data nor error",
        )),
    }
}

fn put_reply(reply: Reply, output: &mut Outbox) {
    put(&proto::NumbersReply { reply: Some(reply) }, output);
}

fn put(message: &impl prost::Message, output: &mut Outbox) {
    let message = message.encode_to_vec();
    let mut header = [0; HEADER];
    header[1..].copy_from_slice(&(message.len() as u32).to_be_bytes());
    output.put(&header);
    output.put(&message);
}
