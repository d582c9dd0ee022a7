/// How a server chose, many times over. A fair choice among n is as likely to hit any rank of them, however they are
/// ranked.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Each choice made.
    pub made: Vec<Choice>,
}

/// One choice.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// How many could have been chosen.
    pub among: usize,
    /// How many of those stand before the chosen one where the server lists them.
    pub by_place: usize,
    /// How many of those have a smaller id than the chosen one.
    pub by_id: usize,
    /// How many of those are older.
    pub by_age: usize,
    /// Whether a message was forwarded back to its originator; `None` for a forward anew.
    pub to_self: Option<bool>,
}
