use echosphere_driver::settle::{Pass, Reactor, Settle};
use tokio::spawn;

/// How often the reactor is polled in one pass. A call on a new connection takes two: the connection is accepted, then
/// it can be read. One more, since an HTTP/2 task may read in pieces.
const POLLS: usize = 3;
/// How often the tasks that are ready run after each: that which accepts starts that of a connection, which starts that
/// of a call.
const RUNS: usize = 3;

/// What has arrived at the sockets of HTTP/2 connections, which belong to tasks of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SettleTasks(Reactor);

impl Settle for SettleTasks {
    fn pass(&self) -> Pass {
        let reactor = self.0;
        Box::pin(async move {
            for _ in 0..POLLS {
                reactor.pass().await;
                for _ in 0..RUNS {
                    // A new task runs after all that are ready.
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
