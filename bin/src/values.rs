//! Values as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use echosphere_core::random::Delay;

/// A [`Delay`] as it is written on the command line: `2s`, `0..5s`, `exp:2s` or `none`.
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
            // A bare number takes the other end's unit: 1..5s is 1s..5s.
            let unit = to.trim_start_matches(|c: char| c.is_ascii_digit());
            let bare = !from.is_empty() && from.bytes().all(|b| b.is_ascii_digit());
            let from = duration(&if bare { format!("{from}{unit}") } else { from.to_owned() })?;
            let to = duration(to)?;
            if to < from {
                return Err(format!("the range {text} ends before it begins"));
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

/// A number with its thousands apart: `1,234,567`.
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

/// A short duration in the unit that suits it: `17 µs`, `1.25 ms`, `3.40 s`.
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
    fn thousands_stand_apart() {
        let texts = [0, 999, 1_000, 123_456, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }
}
