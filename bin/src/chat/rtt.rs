//! Round-trip times.

use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;

/// An hour: longer ones count as this.
const LONGEST: u64 = 3_600_000_000_000;

/// Those of a session, in nanoseconds, to three digits.
pub(super) struct RoundTrips(Histogram<u64>);

impl RoundTrips {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST, 3).context("no histogram")?))
    }

    pub(super) fn note(&mut self, round_trip: Duration) {
        self.0
            .saturating_record(u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The round trip that this share of all, 0 to 1, does not exceed.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(share))
    }

    pub(super) fn min(&self) -> Duration {
        Duration::from_nanos(self.0.min())
    }

    pub(super) fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// `0.18/0.21/0.48 ms`: the shortest, the mean and the 99th percentile; `None` if there are none.
    pub(super) fn summary(&self) -> Option<String> {
        let (min, mean, p99) = (self.min(), self.mean(), self.quantile(0.99));
        (self.count() > 0).then(|| format!("{}/{}/{}", number(min), number(mean), milliseconds(p99)))
    }

    /// Bars for people: how many round trips took how long, each class twice as long as the one before.
    pub(super) fn bars(&self) -> String {
        const WIDTH: u64 = 40;
        let first = (self.0.min() / 2).next_power_of_two().max(1);
        let classes: Vec<(u64, u64)> = self
            .0
            .iter_log(first, 2.0)
            .map(|class| (class.value_iterated_to(), class.count_since_last_iteration()))
            .filter(|(_, count)| *count > 0)
            .collect();
        let most = classes.iter().map(|(_, count)| *count).max().unwrap_or(1);
        let line = |(to, count): &(u64, u64)| {
            let bar = "█".repeat((count * WIDTH).div_ceil(most) as usize);
            format!("  ≤ {:>8} {bar} {count}\n", milliseconds(Duration::from_nanos(*to)))
        };
        classes.iter().map(line).collect()
    }
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
