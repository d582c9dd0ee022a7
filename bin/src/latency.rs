//! Latencies: percentiles and histograms, as text and as JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::values::{short, thousands};

/// The longest latency; longer ones count as this one.
const LONGEST: Duration = Duration::from_secs(3600);

/// Latencies, to three digits.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
}

/// The number of latencies up to this many microseconds that are above the bar before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Bar {
    up_to: f64,
    count: u64,
}

impl Latencies {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_max(nanos(LONGEST), 3)?))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(nanos(latency));
    }

    pub(crate) fn record_many(&mut self, latency: Duration, count: u64) {
        self.0.saturating_record_n(nanos(latency), count);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that this share of all, from 0 to 1, does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(share))
    }

    pub(crate) fn min(&self) -> Duration {
        Duration::from_nanos(self.0.min())
    }

    pub(crate) fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |share| micros(self.quantile(share));
        Percentiles {
            min: micros(self.min()),
            mean: micros(self.mean()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: at(1.0),
        }
    }

    /// `0.18/0.21/0.48 ms`: the minimum, the mean and the 99th percentile; `None` if nothing was recorded.
    pub(crate) fn summary(&self) -> Option<String> {
        let (min, mean, p99) = (self.min(), self.mean(), self.quantile(0.99));
        let [min, mean] = [min, mean].map(short_milliseconds);
        (self.count() > 0).then(|| format!("{min}/{mean}/{}", milliseconds(p99)))
    }

    /// Bars, each up to twice as long as the one before.
    pub(crate) fn histogram(&self) -> Vec<Bar> {
        let first = (self.0.min() / 2).next_power_of_two().max(1);
        let steps = self.0.iter_log(first, 2.0).map(|step| Bar {
            up_to: (step.value_iterated_to() + 1) as f64 / 1e3,
            count: step.count_since_last_iteration(),
        });
        steps.skip_while(|bar| bar.count == 0).collect()
    }

    /// Every latency in nanoseconds with its count, for another process.
    pub(crate) fn recorded(&self) -> Vec<(u64, u64)> {
        let recorded = self.0.iter_recorded();
        recorded
            .map(|value| (value.value_iterated_to(), value.count_at_value()))
            .collect()
    }

    /// Adds the latencies of [`Latencies::recorded`].
    pub(crate) fn add(&mut self, recorded: &[(u64, u64)]) {
        for (nanos, count) in recorded {
            self.record_many(Duration::from_nanos(*nanos), *count);
        }
    }
}

impl Percentiles {
    /// Every one, with its name.
    const fn named(&self) -> [(&'static str, f64); 7] {
        [
            ("min", self.min),
            ("mean", self.mean),
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99.9", self.p99_9),
            ("max", self.max),
        ]
    }

    /// A line for each, under a heading; beside it that of a baseline, if there is one, and how many times as long it is.
    pub(crate) fn to_text(self, baseline: Option<&Self>) -> String {
        let mut text = format!("  {:5}  {:>9}", "", "latency");
        if baseline.is_some() {
            text += &format!("  {:>9}  {:>7}", "baseline", "ratio");
        }
        text.push('\n');
        for (at, (name, micros)) in self.named().into_iter().enumerate() {
            text += &format!("  {name:5}  {:>9}", from_micros(micros));
            if let Some((_, bare)) = baseline.map(|baseline| baseline.named()[at]) {
                text += &format!("  {:>9}  {:>6.2}×", from_micros(bare), micros / bare.max(1e-3));
            }
            text.push('\n');
        }
        text
    }
}

/// A line for each bar, as long as its share, under a heading.
pub(crate) fn bars(bars: &[Bar]) -> String {
    const WIDTH: u64 = 40;
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
    let line = |Bar { up_to, count }: &Bar| {
        let bar = "=".repeat((count * WIDTH).div_ceil(most) as usize);
        format!("  {:>9}  {:>11}  {bar}\n", from_micros(*up_to), thousands(*count))
    };
    let lines: String = bars.iter().map(line).collect();
    format!("  {:>9}  {:>11}\n{lines}", "up to", "count")
}

/// The duration in microseconds, as in JSON.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

/// `0.21 ms`, with about three digits.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{} ms", short_milliseconds(duration))
}

fn short_milliseconds(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    let decimals = match ms {
        ms if ms < 0.1 => 3,
        ms if ms < 10.0 => 2,
        ms if ms < 100.0 => 1,
        _ => 0,
    };
    format!("{ms:.decimals$}")
}

fn from_micros(micros: f64) -> String {
    short(Duration::from_secs_f64(micros / 1e6))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::new().expect("a histogram");
        for at in 1..=1000 {
            latencies.record(Duration::from_micros(at));
        }
        let found = latencies.percentiles();
        let expected = [1.0, 500.5, 500.0, 900.0, 990.0, 999.0, 1000.0];
        let found = [
            found.min,
            found.mean,
            found.p50,
            found.p90,
            found.p99,
            found.p99_9,
            found.max,
        ];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() <= expected * 2e-3, "{found} is not {expected}");
        }
        let mut copy = Latencies::new().expect("a histogram");
        copy.add(&latencies.recorded());
        assert_eq!(copy.percentiles().p99, latencies.percentiles().p99);
        let counted: u64 = latencies.histogram().iter().map(|bar| bar.count).sum();
        assert_eq!(counted, 1000, "every one is in a bar");
    }

    fn recorded(micros: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::new().expect("a histogram");
        micros
            .into_iter()
            .for_each(|micros| latencies.record(Duration::from_micros(micros)));
        latencies
    }

    #[test]
    fn a_summary_has_about_three_digits() {
        assert_eq!(Latencies::new().expect("a histogram").summary(), None);
        assert_eq!(recorded([50, 50]).summary().as_deref(), Some("0.050/0.050/0.050 ms"));
        assert_eq!(recorded([110, 310]).summary().as_deref(), Some("0.11/0.21/0.31 ms"));
        for (micros, text) in [
            (99, "0.099 ms"),
            (100, "0.10 ms"),
            (9_990, "9.99 ms"),
            (10_000, "10.0 ms"),
            (99_900, "99.9 ms"),
            (100_000, "100 ms"),
        ] {
            assert_eq!(milliseconds(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn bars_are_as_long_as_their_shares() {
        let text = bars(&[
            Bar { up_to: 2.0, count: 0 },
            Bar { up_to: 4.0, count: 1 },
            Bar { up_to: 8.0, count: 500 },
            Bar {
                up_to: 16.0,
                count: 1_000,
            },
        ]);
        let [none, least, half, whole] = [0, 1, 20, 40].map(|length| "=".repeat(length));
        let expected = format!(
            "      up to        count\n       2 µs            0  {none}\n       4 µs            1  {least}\n       \
             8 µs          500  {half}\n      16 µs        1,000  {whole}\n"
        );
        assert_eq!(text, expected);
        assert_eq!(bars(&[]), "      up to        count\n");
    }

    #[test]
    fn each_bar_counts_what_is_above_the_one_before() {
        let micros = [3, 5, 6, 100, 3_000];
        let histogram = recorded(micros).histogram();
        let mut from = 0.0;
        for Bar { up_to, count } in &histogram {
            let within = |micros: &&u64| (from..*up_to).contains(&(**micros as f64));
            assert_eq!(micros.iter().filter(within).count() as u64, *count, "{from} to {up_to}");
            from = *up_to;
        }
        assert!(from > 3_000.0 && histogram[0].count > 0, "{histogram:?}");
        assert!(histogram[0].up_to < 6.0, "it begins at the least: {histogram:?}");
        let nanos = |bar: &Bar| (bar.up_to * 1e3) as u64;
        assert!(
            histogram.iter().all(|bar| nanos(bar).is_power_of_two()),
            "{histogram:?}"
        );
    }

    #[test]
    fn a_table_shows_the_baseline_and_the_ratio() {
        let percentiles = |micros| recorded([micros]).percentiles();
        let text = percentiles(300).to_text(Some(&percentiles(100)));
        assert!(text.starts_with("           latency   baseline    ratio\n"), "{text}");
        assert!(text.contains("  p99       300 µs     100 µs    3.00×\n"), "{text}");
        let text = percentiles(300).to_text(None);
        assert!(
            text.starts_with("           latency\n") && text.contains("  p99.9     300 µs\n"),
            "{text}"
        );
    }

    /// Whether two figures agree to the precision of the histogram.
    fn close(is: f64, should: f64) -> bool {
        (is / should - 1.0).abs() < 2e-3
    }

    #[test]
    fn each_figure_is_that_of_the_latencies_one_by_one() {
        // 1 µs to 10 ms, each once, in a mixed order.
        let mut one_by_one: Vec<u64> = (1..=10_000).map(|n| n * 7919 % 10_001).collect();
        let mut latencies = Latencies::new().expect("a histogram");
        for micros in &one_by_one {
            latencies.record(Duration::from_micros(*micros));
        }
        one_by_one.sort_unstable();
        let at = |share: f64| one_by_one[(one_by_one.len() as f64 * share).ceil() as usize - 1] as f64;
        let mean = one_by_one.iter().sum::<u64>() as f64 / one_by_one.len() as f64;
        let figures = latencies.percentiles();
        for (name, is, should) in [
            ("min", figures.min, at(1e-9)),
            ("mean", figures.mean, mean),
            ("p50", figures.p50, at(0.5)),
            ("p90", figures.p90, at(0.9)),
            ("p99", figures.p99, at(0.99)),
            ("p99.9", figures.p99_9, at(0.999)),
            ("max", figures.max, at(1.0)),
        ] {
            assert!(close(is, should), "{name} is {is}, should be {should}");
        }
        assert_eq!(latencies.histogram().iter().map(|bar| bar.count).sum::<u64>(), 10_000);
        let mut again = Latencies::new().expect("a histogram");
        again.add(&latencies.recorded());
        assert!(
            close(again.percentiles().p99, figures.p99),
            "what another process recorded"
        );
    }
}
