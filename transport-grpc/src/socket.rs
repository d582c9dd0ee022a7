use std::sync::{Arc, Mutex, PoisonError};

use echosphere_core::wire::{FIRST_BYTES, Protocol};
use echosphere_driver::Stream;
use tokio_util::io::InspectReader;

/// The first bytes that a server sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirstBytes(Arc<Mutex<Vec<u8>>>);

impl FirstBytes {
    /// The protocol of a server that does not speak HTTP/2, if it is known. The outer `None`: it speaks HTTP/2, or has sent
    /// nothing.
    pub(crate) fn other(&self) -> Option<Option<Protocol>> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let speaks = Protocol::from_first_bytes(&bytes);
        (!bytes.is_empty() && speaks != Some(Protocol::Http2)).then_some(speaks)
    }

    fn note(&self, bytes: &[u8]) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = FIRST_BYTES - noted.len();
        noted.extend_from_slice(&bytes[..bytes.len().min(room)]);
        noted.len() < FIRST_BYTES
    }
}

/// Wraps `stream` so that the first bytes read go to `first`, too.
pub(crate) fn noting<S: Stream>(stream: S, first: FirstBytes) -> impl Stream {
    let mut more = true;
    InspectReader::new(stream, move |bytes| {
        if more {
            more = first.note(bytes);
        }
    })
}
