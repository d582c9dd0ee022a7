use echosphere_driver::settle::{Pass, Settle};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

/// Asks a thread to read what has arrived at its sockets. It answers once that is in the pipes, and says whether that
/// is all: a full pipe takes no more until the driver reads it.
pub(super) type SettleRequest = oneshot::Sender<bool>;

/// What has arrived at any thread's sockets.
pub(super) struct SettleThreads(pub(super) Vec<UnboundedSender<SettleRequest>>);

impl Settle for SettleThreads {
    fn pass(&self) -> Pass {
        let ask = |thread: &UnboundedSender<SettleRequest>| {
            let (asked, answer) = oneshot::channel();
            // A thread that has ended has no sockets: nobody answers.
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
