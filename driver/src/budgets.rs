/// How much a [`Driver`](crate::Driver) does before it looks again at what else there is to do. What is left over waits
/// for its next turn. Zero counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Connections, and whatever else was woken, that are looked at in one turn. Default 1,024.
    pub keys: usize,
    /// Reads of one connection in one turn, each of up to 64 KiB. Default 4.
    pub reads: usize,
    /// Connections accepted in one turn. Default 256.
    pub accepts: usize,
    /// Requests of handles that are taken in one turn. Default 256.
    pub requests: usize,
    /// How often a due deadline waits for another pass because the one before left something unread: a peer that sends
    /// on and on cannot make time stand still. Default 32, which is 8 MiB of each connection.
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
