use echosphere_driver::settle::{Pass, Reactor, Settle};
use tokio::spawn;

/// Polls of the reactor in one pass. A call on a new connection needs two: one to accept the connection, one to read it. The
/// third is for HTTP/2 tasks that read in pieces.
const POLLS: usize = 3;
/// Runs of the ready tasks after each poll: the accept task starts the task of a connection, which starts the task of a call.
const RUNS: usize = 3;

/// Passes over the sockets of HTTP/2 connections, which belong to tasks of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SettleTasks(Reactor);

impl Settle for SettleTasks {
    fn pass(&self) -> Pass {
        let reactor = self.0;
        Box::pin(async move {
            for _ in 0..POLLS {
                reactor.pass().await;
                for _ in 0..RUNS {
                    // A new task runs after all tasks that are ready.
                    let _ = spawn(async {}).await;
                }
            }
            true
        })
    }

    fn passes(&self, connections: usize) -> usize {
        self.0.passes(connections)
    }
}
