/// Limits of one turn of a [`Driver`](crate::Driver), or of a thread of a transport. What exceeds a limit is done in the next
/// turn. Zero counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Connections and other event sources handled per turn. Default 1,024.
    pub keys: usize,
    /// Reads per connection and turn, each of up to 64 KiB. Default 4.
    pub reads: usize,
    /// Connections accepted per turn. Default 256.
    pub accepts: usize,
    /// Requests of handles taken per turn. Default 256.
    pub requests: usize,
    /// Extra passes over arrived data before a due deadline expires, if a pass leaves something unread. Without the limit, a
    /// peer that never stops sending would delay the deadline for ever. Default 32, which reads 8 MiB of each connection.
    pub rounds: usize,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            keys: 1024,
            reads: 4,
            accepts: 256,
            requests: 256,
            rounds: 32,
        }
    }
}
