//! What goes wrong while connections are accepted, and how often that is said.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long to wait before accepting again when there is nothing left to accept with.
const PAUSE: Duration = Duration::from_millis(100);
/// Log lines of one kind come no faster than this.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// Errors of accepting connections. For listeners whose sockets the [`Driver`](crate::Driver) does not accept itself.
#[derive(Debug, Default)]
pub struct AcceptErrors(LogLimit);

impl AcceptErrors {
    /// Logs an error. Waits if this host is its cause, so that descriptors or memory can become free.
    pub async fn note(&mut self, error: &io::Error) {
        if is_peers(error) {
            tracing::debug!(%error, "a connection was gone before it was accepted");
            return;
        }
        if let Some(left_out) = self.0.due() {
            tracing::warn!(%error, left_out, "cannot accept connections, trying again; is the limit of open files reached?");
        }
        sleep(PAUSE).await;
    }
}

/// Whether an error of accepting is about the connection, and not about this host.
fn is_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// A kind of log line that peers can cause: at most one in a second is written.
#[derive(Debug, Default)]
pub struct LogLimit {
    last: Option<Instant>,
    left_out: u64,
}

impl LogLimit {
    /// Returns how many lines were left out before this one, or `None` if this one is to be left out too.
    pub fn due(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now < last + COMPLAIN_EVERY) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_second_is_written_and_the_others_are_counted() {
        let mut complaint = LogLimit::default();
        assert_eq!(complaint.due(), Some(0));
        assert_eq!(complaint.due(), None);
        advance(COMPLAIN_EVERY / 2).await;
        assert_eq!(complaint.due(), None);
        advance(COMPLAIN_EVERY / 2).await;
        assert_eq!(complaint.due(), Some(2));
        advance(COMPLAIN_EVERY).await;
        assert_eq!(complaint.due(), Some(0));
    }
}
