use std::fmt::Write;

use http::StatusCode;

use crate::pages::Page;

/// An answer to an HTTP request, after which the connection is closed.
#[derive(Debug)]
pub(crate) struct Response {
    status: StatusCode,
    content_type: &'static str,
    /// Further headers, each with its line end.
    headers: &'static str,
    body: Vec<u8>,
    is_head: bool,
}

impl Response {
    /// A refusal, with a sentence that says what to do.
    pub(crate) fn refusal(status: StatusCode, sentence: impl Into<String>) -> Self {
        let mut sentence = sentence.into();
        sentence.push('\n');
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            headers: "",
            body: sentence.into_bytes(),
            is_head: false,
        }
    }

    pub(crate) fn page(page: &Page) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: page.content_type,
            headers: "",
            body: page.body.to_vec(),
            is_head: false,
        }
    }

    /// Adds headers, each with its line end.
    pub(crate) const fn with_headers(mut self, headers: &'static str) -> Self {
        self.headers = headers;
        self
    }

    /// Without the body, if the request is a HEAD.
    pub(crate) const fn for_head(mut self, is_head: bool) -> Self {
        self.is_head = is_head;
        self
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut head = String::new();
        let reason = self.status.canonical_reason().unwrap_or_default();
        // Writing to a String does not fail.
        let _ = write!(
            head,
            "HTTP/1.1 {} {reason}\r\n\
             content-type: {}\r\n\
             content-length: {}\r\n\
             content-security-policy: default-src 'self'; connect-src 'self' ws: wss:\r\n\
             x-content-type-options: nosniff\r\n\
             cache-control: no-cache\r\n\
             {}connection: close\r\n\r\n",
            self.status.as_u16(),
            self.content_type,
            self.body.len(),
            self.headers,
        );
        let mut bytes = head.into_bytes();
        if !self.is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}
