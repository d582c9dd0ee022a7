//! The request of a client (RFC 6455, section 4.2).

use echosphere_core::wire::ErrorCode;
use http::StatusCode;
use httparse::{EMPTY_HEADER, Error, Header, Request, Status};
use tungstenite::handshake::derive_accept_key;

use crate::config::WsConfig;
use crate::response::Response;

/// The longest request head.
pub(crate) const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;
/// The subprotocol. A client need not offer it.
pub(crate) const SUBPROTOCOL: &str = "echosphere";

/// What a peer that has connected is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The upgrade is accepted: the response. The request has this many bytes.
    Upgrade(Vec<u8>, usize),
    /// An HTTP response, after which the connection is closed.
    Close(Response),
    /// This error as a line for a peer that does not speak HTTP, then the end.
    NotHttp(ErrorCode),
}

/// Parses what has arrived; `None` if more must arrive.
pub(crate) fn answer(received: &[u8], config: &WsConfig) -> Option<Answer> {
    match received.first()? {
        0x00 => return Some(Answer::NotHttp(ErrorCode::WsRequired)),
        0x16 => return Some(Answer::NotHttp(ErrorCode::TlsUnsupported)),
        _ => {}
    }
    let line_end = memchr::memchr(b'\n', received);
    let line = &received[..line_end.unwrap_or(received.len())];
    if !can_be_http(line, line_end.is_some()) {
        return Some(Answer::NotHttp(ErrorCode::WsRequired));
    }
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    let answer = match request.parse(received) {
        Ok(Status::Complete(length)) if length <= MAX_HEAD => return Some(answer_request(&request, length, config)),
        Ok(Status::Partial) if received.len() < MAX_HEAD => return None,
        Ok(_) => Response::refusal(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("The head of a request has at most {MAX_HEAD} bytes."),
        ),
        Err(Error::TooManyHeaders) => Response::refusal(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("A request has at most {MAX_HEADERS} headers."),
        ),
        Err(Error::Version) => version_refusal(),
        Err(error) => Response::refusal(
            StatusCode::BAD_REQUEST,
            format!("This is not an HTTP/1.1 request: {error}."),
        ),
    };
    Some(Answer::Close(answer))
}

/// Whether the first line can be `METHOD TARGET HTTP/VERSION`.
fn can_be_http(line: &[u8], is_complete: bool) -> bool {
    let method = line.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    if is_complete {
        return method > 0 && memchr::memmem::find(line, b" HTTP/").is_some();
    }
    line.len() <= MAX_HEAD && (method == line.len() || method > 0 && line[method] == b' ')
}

fn answer_request(request: &Request<'_, '_>, length: usize, config: &WsConfig) -> Answer {
    let headers = Headers(request.headers);
    let method = request.method.unwrap_or_default();
    let is_head = method == "HEAD";
    let refusal = if headers.has_token("upgrade", "websocket") {
        match upgrade(method, request.version, &headers, config) {
            Ok(response) => return Answer::Upgrade(response, length),
            Err(response) => response,
        }
    } else if method != "GET" && !is_head {
        method_refusal()
    } else {
        let target = request.path.unwrap_or_default();
        let path = target.split(['?', '#']).next().unwrap_or_default();
        match config.pages.get(path) {
            Some(page) => Response::page(page),
            None => Response::refusal(
                StatusCode::NOT_FOUND,
                "There is no such page. This port speaks WebSocket: connect with ws:// (or wss:// with TLS).",
            ),
        }
    };
    Answer::Close(refusal.for_head(is_head))
}

/// Accepts an upgrade: returns the response.
fn upgrade(
    method: &str,
    version: Option<u8>,
    headers: &Headers<'_, '_>,
    config: &WsConfig,
) -> Result<Vec<u8>, Response> {
    let bad = |sentence: &str| Response::refusal(StatusCode::BAD_REQUEST, sentence);
    if method != "GET" {
        return Err(method_refusal());
    }
    if version != Some(1) {
        return Err(version_refusal());
    }
    let Some(host) = headers.one("host") else {
        return Err(bad("The request needs one Host header."));
    };
    if !headers.has_token("connection", "upgrade") {
        return Err(bad("The request needs the header Connection: Upgrade."));
    }
    if headers.one("sec-websocket-version") != Some(b"13") {
        let sentence = "This server speaks version 13 of WebSocket (RFC 6455): send Sec-WebSocket-Version: 13.";
        let refusal = Response::refusal(StatusCode::UPGRADE_REQUIRED, sentence);
        return Err(refusal.with_headers("upgrade: websocket\r\nsec-websocket-version: 13\r\n"));
    }
    let Some(key) = headers.one("sec-websocket-key").filter(|key| is_key(key)) else {
        return Err(bad("The request needs one Sec-WebSocket-Key: 16 bytes in base64."));
    };
    let has_body = headers.one("content-length").is_some_and(|length| length != b"0");
    if has_body || headers.all("transfer-encoding").next().is_some() {
        return Err(bad("A request for WebSocket has no body."));
    }
    if !is_permitted(headers, host, config) {
        return Err(Response::refusal(
            StatusCode::FORBIDDEN,
            "The Origin of this page may not connect. The server's option --ws-origin permits further origins.",
        ));
    }
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\n\
         upgrade: websocket\r\n\
         connection: Upgrade\r\n\
         sec-websocket-accept: {}\r\n",
        derive_accept_key(key)
    );
    if headers.has_token("sec-websocket-protocol", SUBPROTOCOL) {
        response.push_str("sec-websocket-protocol: echosphere\r\n");
    }
    response.push_str("\r\n");
    Ok(response.into_bytes())
}

fn method_refusal() -> Response {
    let sentence = "This port answers GET and HEAD.";
    Response::refusal(StatusCode::METHOD_NOT_ALLOWED, sentence).with_headers("allow: GET, HEAD\r\n")
}

fn version_refusal() -> Response {
    Response::refusal(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "This port speaks HTTP/1.1.")
}

/// Whether `key` is 16 bytes in base64: 22 characters, of which the last has four bits, and `==`.
fn is_key(key: &[u8]) -> bool {
    let Some(digits) = key.strip_suffix(b"==") else {
        return false;
    };
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    digits.len() == 22 && digits.iter().all(is_digit) && matches!(digits[21], b'A' | b'Q' | b'g' | b'w')
}

/// Whether a page of this origin may connect.
fn is_permitted(headers: &Headers<'_, '_>, host: &[u8], config: &WsConfig) -> bool {
    let mut origins = headers.all("origin");
    let Some(origin) = origins.next() else {
        return true;
    };
    if origins.next().is_some() {
        return false;
    }
    let is_allowed = |allowed: &String| allowed == "*" || allowed.as_bytes().eq_ignore_ascii_case(origin);
    is_same_host(origin, host) || config.allowed_origins.iter().any(is_allowed)
}

/// Whether `origin` (`http://HOST:PORT`) is of the host that the request is for. Either can leave out the port of the scheme.
fn is_same_host(origin: &[u8], host: &[u8]) -> bool {
    let schemes: [(&[u8], &[u8]); 2] = [(b"http://", b":80"), (b"https://", b":443")];
    schemes.iter().any(|(scheme, port)| {
        let without = |host: &[u8]| host.strip_suffix(*port).unwrap_or(host).to_ascii_lowercase();
        let authority = origin.strip_prefix(*scheme);
        authority.is_some_and(|authority| without(authority) == without(host))
    })
}

struct Headers<'h, 'b>(&'h [Header<'b>]);

impl<'b> Headers<'_, 'b> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        let named = self
            .0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii())
    }

    /// The value of a header that is there once.
    fn one(&self, name: &str) -> Option<&'b [u8]> {
        let mut values = self.all(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// Whether the comma-separated list has this token.
    fn has_token(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.all(name).flat_map(|value| value.split(|byte| *byte == b','));
        tokens.any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}
