//! Round trips as a chat shows them.

use std::time::Duration;

use crate::latency::Latencies;

/// `0.18/0.21/0.48 ms`: the shortest, the mean and the 99th percentile; `None` if there are none.
pub(super) fn summary(trips: &Latencies) -> Option<String> {
    let (min, mean, p99) = (trips.min(), trips.mean(), trips.quantile(0.99));
    (trips.count() > 0).then(|| format!("{}/{}/{}", number(min), number(mean), milliseconds(p99)))
}

/// `0.21 ms`, with three digits.
pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{} ms", number(duration))
}

/// The same without the unit.
fn number(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    let decimals = match ms {
        ms if ms < 0.1 => 3,
        ms if ms < 10.0 => 2,
        ms if ms < 100.0 => 1,
        _ => 0,
    };
    format!("{ms:.decimals$}")
}
