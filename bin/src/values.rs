//! Parsing and formatting of values.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use echosphere_core::random::Delay;

/// A [`Delay`] as an option: `2s`, `0..5s`, `exp:2s` or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DelayArg(pub(crate) Delay);

impl DelayArg {
    /// The mean of the distribution.
    pub(crate) fn mean(self) -> Duration {
        match self.0 {
            Delay::None => Duration::ZERO,
            Delay::Constant(delay) | Delay::Exponential(delay) => delay,
            Delay::Uniform(from, to) => (from + to) / 2,
        }
    }
}

impl FromStr for DelayArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let delay = if text == "none" {
            Delay::None
        } else if let Some(mean) = text.strip_prefix("exp:") {
            Delay::Exponential(duration(mean)?)
        } else if let Some((from, to)) = text.split_once("..") {
            // A number without a unit has the unit of the other end: 1..5s is 1s..5s.
            let unit = to.trim_start_matches(|c: char| c.is_ascii_digit());
            let bare = !from.is_empty() && from.bytes().all(|b| b.is_ascii_digit());
            let from = duration(&if bare { format!("{from}{unit}") } else { from.to_owned() })?;
            let to = duration(to)?;
            if to < from {
                return Err(format!("the end of the range {text} is before its beginning"));
            }
            Delay::Uniform(from, to)
        } else {
            match duration(text)? {
                Duration::ZERO => Delay::None,
                delay => Delay::Constant(delay),
            }
        };
        Ok(Self(delay))
    }
}

impl fmt::Display for DelayArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |duration| humantime::format_duration(duration);
        match self.0 {
            Delay::None => f.write_str("none"),
            Delay::Constant(delay) => write!(f, "{}", text(delay)),
            Delay::Uniform(from, to) => write!(f, "{}..{}", text(from), text(to)),
            Delay::Exponential(mean) => write!(f, "exp:{}", text(mean)),
        }
    }
}

/// Reads a duration such as `250ms`, `60s`, `1m 30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, such as 250ms, 5s or 2m"))
}

/// Reads a duration that is not zero.
pub(crate) fn time_out(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected a time above 0, such as 250ms, 5s or 2m".to_owned()),
        duration => Ok(duration),
    }
}

/// Reads a whole number within `range`. It can have separators (`1,000`, `1_000`) and a suffix `k` or `M`.
pub(crate) fn count<N: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<N, String> + Clone + Send + Sync + 'static {
    move |text| {
        let digits: String = text.chars().filter(|c| !matches!(c, ',' | '_')).collect();
        let (digits, unit) = match digits.strip_suffix(['k', 'K']) {
            Some(digits) => (digits, 1_000),
            None => match digits.strip_suffix(['m', 'M']) {
                Some(digits) => (digits, 1_000_000),
                None => (&*digits, 1),
            },
        };
        let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        let number = number
            .filter(|number| range.contains(number))
            .and_then(|number| N::try_from(number).ok());
        number.ok_or_else(|| match (*range.start(), *range.end()) {
            (from, u64::MAX) => format!(
                "expected a whole number of {} or more, such as 1000 or 10k",
                thousands(from)
            ),
            (from, to) => format!("expected a whole number from {} to {}", thousands(from), thousands(to)),
        })
    }
}

/// Reads a number of bytes within `range`, such as `64`, `64B`, `10kB`, `1MiB`.
pub(crate) fn size(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<ByteSize, String> + Clone + Send + Sync + 'static {
    move |text| {
        let digits: String = text.chars().filter(|c| !matches!(c, ',' | '_')).collect();
        let size = digits
            .parse::<ByteSize>()
            .ok()
            .filter(|size| range.contains(&size.as_u64()));
        size.ok_or_else(|| match (*range.start(), *range.end()) {
            (from, u64::MAX) => format!("expected {} bytes or more, such as 64B, 10kB or 1MiB", thousands(from)),
            (from, to) => format!(
                "expected {} to {} bytes, such as 64B, 10kB or 1MiB",
                thousands(from),
                thousands(to)
            ),
        })
    }
}

/// A size as a number of bytes in memory.
pub(crate) fn in_memory(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

/// Reads a switch.
pub(crate) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" | "y" | "t" => Ok(true),
        "" | "0" | "false" | "no" | "off" | "n" | "f" => Ok(false),
        _ => Err("expected true or false (or 1, 0, yes, no, on, off)".to_owned()),
    }
}

/// A number with separators: `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 byte`, `2,000 bytes`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = match noun.strip_suffix('y') {
        _ if count == 1 => noun.to_owned(),
        Some(stem) if !noun.ends_with("ay") => format!("{stem}ies"),
        _ => format!("{noun}s"),
    };
    format!("{} {plural}", thousands(count))
}

/// A duration in a fitting unit: `17 µs`, `1.25 ms`, `3.40 s`.
pub(crate) fn short(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    if micros < 1_000.0 {
        format!("{micros:.0} µs")
    } else if micros < 1_000_000.0 {
        format!("{:.2} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_read_as_they_are_written() {
        let ms = Duration::from_millis;
        for (text, delay) in [
            ("none", Delay::None),
            ("0s", Delay::None),
            ("20ms", Delay::Constant(ms(20))),
            ("0..5s", Delay::Uniform(ms(0), ms(5000))),
            ("1..5s", Delay::Uniform(ms(1000), ms(5000))),
            ("10ms..1s", Delay::Uniform(ms(10), ms(1000))),
            ("2s..2s", Delay::Uniform(ms(2000), ms(2000))),
            ("exp:250ms", Delay::Exponential(ms(250))),
        ] {
            let read: DelayArg = text.parse().expect(text);
            assert_eq!(read.0, delay, "{text}");
            assert_eq!(read.to_string().parse(), Ok(read), "{text} as it is printed");
        }
        for text in ["", "5", "fast", "5s..1s", "..5s", "exp:", "1s..", "-1s"] {
            assert!(text.parse::<DelayArg>().is_err(), "{text} is no delay");
        }
    }

    #[test]
    fn the_mean_of_a_delay_is_that_of_its_distribution() {
        for (text, mean) in [("none", 0), ("20ms", 20), ("1..4s", 2500), ("exp:250ms", 250)] {
            let delay: DelayArg = text.parse().expect(text);
            assert_eq!(delay.mean(), Duration::from_millis(mean), "{text}");
        }
    }

    #[test]
    fn counts_are_read_as_people_write_them() {
        let count = count::<u32>(1..=1_000_000);
        for (text, number) in [
            ("1", 1),
            ("1,000", 1_000),
            ("1_000", 1_000),
            ("100k", 100_000),
            ("1M", 1_000_000),
        ] {
            assert_eq!(count(text), Ok(number), "{text}");
        }
        for text in ["", "0", "-1", "1.5", "2M", "k", "1,0k0", "99999999999999999999"] {
            assert!(count(text).is_err(), "{text}");
        }
        assert_eq!(
            super::count::<u8>(0..=u64::MAX)("256").ok(),
            None,
            "it must fit its type"
        );
    }

    #[test]
    fn sizes_are_read_with_or_without_a_unit() {
        let size = size(0..=1_048_576);
        for (text, bytes) in [
            ("0", 0),
            ("64", 64),
            ("64B", 64),
            ("1,024", 1024),
            ("10kB", 10_000),
            ("1MiB", 1_048_576),
        ] {
            assert_eq!(size(text), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "-1", "2MiB", "big"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_switch_is_read_in_every_usual_way() {
        assert!(
            ["1", "true", "YES", "on"]
                .iter()
                .all(|text| yes_or_no(text) == Ok(true))
        );
        assert!(
            ["0", "false", "No", "off", ""]
                .iter()
                .all(|text| yes_or_no(text) == Ok(false))
        );
        assert!(yes_or_no("maybe").is_err());
    }

    #[test]
    fn nouns_agree_with_their_counts() {
        assert_eq!(
            [
                counted(1, "byte"),
                counted(0, "byte"),
                counted(2000, "retry"),
                counted(2, "day")
            ],
            ["1 byte", "0 bytes", "2,000 retries", "2 days"]
        );
    }

    #[test]
    fn thousands_stand_apart() {
        let texts = [0, 999, 1_000, 123_456, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn a_short_duration_has_the_unit_that_fits() {
        for (nanos, text) in [
            (0, "0 µs"),
            (17_400, "17 µs"),
            (999_000, "999 µs"),
            (1_000_000, "1.00 ms"),
            (1_250_000, "1.25 ms"),
            (1_000_000_000, "1.00 s"),
            (3_400_000_000, "3.40 s"),
        ] {
            assert_eq!(short(Duration::from_nanos(nanos)), text);
        }
    }
}
