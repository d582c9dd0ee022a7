//! The command line of Echosphere.

fn main() {}
