//! Errors of accepting connections, and how often they are logged.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The pause after an error of this host, such as no free file descriptor.
const PAUSE: Duration = Duration::from_millis(100);
/// The shortest time between two log lines of one kind.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Handles errors of accepting connections, for listeners that accept outside of the [`Driver`](crate::Driver).
#[derive(Debug, Default)]
pub struct AcceptErrors(LogLimit);

impl AcceptErrors {
    /// Logs an error. After an error of this host, pauses so that descriptors or memory can become free.
    pub async fn note(&mut self, error: &io::Error) {
        if is_peers(error) {
            tracing::debug!(%error, "a connection ended before it was accepted");
            return;
        }
        if let Some(left_out) = self.0.due() {
            tracing::warn!(%error, left_out, "cannot accept connections, will try again; check the limit of open files");
        }
        sleep(PAUSE).await;
    }
}

/// Whether an error of accepting concerns one connection only, not this host.
fn is_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Limits log lines that peers can cause to one per second.
#[derive(Debug, Default)]
pub struct LogLimit {
    last: Option<Instant>,
    left_out: u64,
}

impl LogLimit {
    /// Returns how many lines were left out before this one, or `None` if this one must be left out too.
    pub fn due(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now < last + LOG_EVERY) {
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
    async fn only_an_error_of_this_host_makes_accepting_pause() {
        for (kind, pause) in [
            (io::ErrorKind::ConnectionAborted, Duration::ZERO),
            (io::ErrorKind::ConnectionReset, Duration::ZERO),
            (io::ErrorKind::Interrupted, Duration::ZERO),
            (io::ErrorKind::OutOfMemory, PAUSE),
        ] {
            let begun = Instant::now();
            AcceptErrors::default().note(&kind.into()).await;
            assert_eq!(begun.elapsed(), pause, "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_line_a_second_is_written_and_the_others_are_counted() {
        let mut limit = LogLimit::default();
        assert_eq!(limit.due(), Some(0));
        assert_eq!(limit.due(), None);
        advance(LOG_EVERY / 2).await;
        assert_eq!(limit.due(), None);
        advance(LOG_EVERY / 2).await;
        assert_eq!(limit.due(), Some(2));
        advance(LOG_EVERY).await;
        assert_eq!(limit.due(), Some(0));
    }
}
