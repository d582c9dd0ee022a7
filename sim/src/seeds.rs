//! Which seeds a test runs.

use std::env;

/// The seeds of a test: 0, 1, … up to `count` of them. `SIM_SEED=s` makes that one seed s; `SIM_SEEDS=n` makes it n
/// seeds.
///
/// # Panics
///
/// If a variable is set and is no number.
#[must_use]
pub fn seeds(count: u64) -> Vec<u64> {
    match number("SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SIM_SEEDS").unwrap_or(count)).collect(),
    }
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{name}={text}: {error}"),
    }
}
