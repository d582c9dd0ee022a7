use echosphere_core::wire::MAX_FRAME;

use crate::pages::Pages;

/// How a [`WsListener`](crate::WsListener) answers.
#[derive(Clone, Debug)]
pub struct WsConfig {
    /// The longest message in bytes. A longer one closes the connection with code 1009. A binary message in several frames is
    /// collected up to this length, so set it to the longest frame of the protocol. Default: the longest length frame, 16 MiB - 1.
    pub max_message: u32,
    /// Further origins whose pages may connect, such as `https://example.org`; `*` permits all. Always permitted are requests
    /// without `Origin`, which browsers do not make, and the pages of the host that is connected to.
    pub allowed_origins: Vec<String>,
    /// What is served to a browser. Default: nothing.
    pub pages: Pages,
}

impl Default for WsConfig {
    fn default() -> Self {
        Self {
            max_message: MAX_FRAME,
            allowed_origins: Vec::new(),
            pages: Pages::default(),
        }
    }
}
