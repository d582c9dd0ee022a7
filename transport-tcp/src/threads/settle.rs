use echosphere_driver::settle::{Pass, Settle};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

/// Requests that a thread read what has arrived at its sockets. The answer comes when it is in the pipes: `false` if a full pipe
/// kept the thread from reading everything.
pub(super) type SettleRequest = oneshot::Sender<bool>;

/// Passes over the sockets of all threads.
pub(super) struct SettleThreads(pub(super) Vec<UnboundedSender<SettleRequest>>);

impl Settle for SettleThreads {
    fn pass(&self) -> Pass {
        let ask = |thread: &UnboundedSender<SettleRequest>| {
            let (asked, answer) = oneshot::channel();
            // A thread that has ended has no sockets, and does not answer.
            let _ = thread.send(asked);
            answer
        };
        let answers: Vec<_> = self.0.iter().map(ask).collect();
        Box::pin(async {
            let mut all = true;
            for answer in answers {
                all &= answer.await.unwrap_or(true);
            }
            all
        })
    }
}
