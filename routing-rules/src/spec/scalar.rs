//! Durations, sizes, percents and rates as operators write them.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration: a number with one of the units `ms`, `s`, `m`, `h`, for example `30s` or `1.5s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// The duration itself.
    pub fn duration(self) -> Duration {
        self.0
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('-') {
            return Err(format!("duration `{text}` is negative"));
        }
        let (number, unit) = split_unit(text);
        let unit_ms = match unit {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "" if number.is_empty() => return Err(format!("`{text}` is not a duration such as 30s or 500ms")),
            "" => return Err(format!("duration `{text}` needs a unit: ms, s, m or h")),
            _ if unit.contains(|letter: char| letter.is_ascii_digit()) => {
                return Err(format!("duration `{text}` is more than one number and one unit; write for example 90s"));
            }
            _ if number.is_empty() => return Err(format!("`{text}` is not a duration such as 30s or 500ms")),
            _ => return Err(format!("duration `{text}` has an unknown unit `{unit}`; use ms, s, m or h")),
        };
        let ms = decimal(number).ok_or_else(|| format!("`{text}` is not a duration such as 30s or 500ms"))? * unit_ms;
        // A year is far beyond any sensible timeout and keeps later arithmetic from overflowing.
        if ms > 366.0 * 24.0 * 3_600_000.0 {
            return Err(format!("duration `{text}` is longer than a year"));
        }
        Ok(Self(Duration::from_micros((ms * 1_000.0).round() as u64)))
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_micros() as f64 / 1_000.0;
        match self.0.as_millis() {
            whole @ 1.. if whole % 3_600_000 == 0 && self.0.subsec_micros() == 0 => write!(f, "{}h", whole / 3_600_000),
            whole if whole % 1_000 == 0 && self.0.subsec_micros() == 0 => write!(f, "{}s", whole / 1_000),
            _ => write!(f, "{ms}ms"),
        }
    }
}

/// A number of bytes: a number with one of the units `B`, `KiB`, `MiB`, `GiB`, `KB`, `MB`, `GB`,
/// for example `10MiB`. A bare number is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let factor: u64 = match unit {
            "" | "B" => 1,
            "KB" | "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ if number.is_empty() => return Err(format!("`{text}` is not a size such as 10MiB")),
            _ => return Err(format!("size `{text}` has an unknown unit `{unit}`; use B, KiB, MiB, GiB, KB, MB or GB")),
        };
        let value = decimal(number).ok_or_else(|| format!("`{text}` is not a size such as 10MiB"))?;
        let bytes = value * factor as f64;
        if bytes > (1u64 << 50) as f64 {
            return Err(format!("size `{text}` is larger than 1 PiB"));
        }
        Ok(Self(bytes.round() as u64))
    }
}

impl From<u64> for ByteSize {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0B"),
            n if n.is_multiple_of(1 << 20) => write!(f, "{}MiB", n >> 20),
            n if n.is_multiple_of(1 << 10) => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

/// A share of users: 0 to 100 with at most two decimals, kept as basis points so that 0.01 % is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// Nobody.
    pub const ZERO: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(10_000);

    /// From hundredths of a percent, 0 to 10,000.
    pub fn from_basis_points(points: u16) -> Option<Self> {
        (points <= 10_000).then_some(Self(points))
    }

    /// Hundredths of a percent, 0 to 10,000.
    pub fn basis_points(self) -> u16 {
        self.0
    }

    fn parse(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let value = decimal(number).ok_or_else(|| format!("`{text}` is not a percent from 0 to 100, such as 12.5"))?;
        if value > 100.0 {
            return Err(format!("percent {text} is above 100, which is everybody"));
        }
        let points = value * 100.0;
        if (points - points.round()).abs() > 1e-6 {
            return Err(format!("percent {text} has more than two decimals, the least is 0.01"));
        }
        Ok(Self(points.round() as u16))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 100.0)
    }
}

/// The percent of an audience rule: a fixed share, or `phase` to follow the release's phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PercentSpec {
    /// The share of the release's current phase.
    #[default]
    Phase,
    /// Always this share.
    Fixed(Percent),
}

impl fmt::Display for PercentSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phase => f.write_str("phase"),
            Self::Fixed(percent) => percent.fmt(f),
        }
    }
}

fn parse_percent_or_phase(text: &str) -> Result<PercentSpec, String> {
    match text {
        "phase" => Ok(PercentSpec::Phase),
        _ => Percent::parse(text).map(PercentSpec::Fixed),
    }
}

/// A number of requests in a time: `100/s`, `30/m` or `1000/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, 1 to 1,000,000.
    count: u32,
    per: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

impl Rate {
    /// How many requests.
    pub fn count(self) -> u32 {
        self.count
    }

    /// In which time.
    pub fn per(self) -> Duration {
        Duration::from_secs(match self.per {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (count, unit) =
            text.split_once('/').ok_or_else(|| format!("rate `{text}` needs a time: 100/s, 30/m or 1000/h"))?;
        let per = match unit.trim() {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            other => return Err(format!("rate `{text}` has an unknown time `{other}`; use s, m or h")),
        };
        match count.trim().parse() {
            Ok(count @ 1..=1_000_000) => Ok(Self { count, per }),
            _ => Err(format!("rate `{text}` does not begin with a number from 1 to 1000000")),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per {
            Unit::Second => "s",
            Unit::Minute => "m",
            Unit::Hour => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// A number of requests in flight, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// The number that an upstream can work on, found out while it works.
    Auto,
    /// Always this number, 1 to 1,000,000.
    Fixed(u32),
}

impl InFlight {
    fn parse(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(number @ 1..=1_000_000)) => Ok(Self::Fixed(number)),
            _ => Err(format!("`{text}` is neither a number from 1 to 1000000 nor `auto`")),
        }
    }
}

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(number) => number.fmt(f),
        }
    }
}

/// Status codes: `200`, or `200-299` for all from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    /// The successful ones (RFC 9110 §15.3).
    pub const SUCCESSFUL: Self = Self { first: 200, last: 299 };

    /// Whether a status is one of them.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let code = |text: &str| text.trim().parse().ok().filter(|code| (200..=599).contains(code));
        match (code(first), code(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            (Some(_), Some(_)) => Err(format!("`{text}` ends before it begins")),
            _ => Err(format!("`{text}` is not a status from 200 to 599, or a range of them such as 200-299")),
        }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// A plain non-negative decimal: no sign, exponent, infinity or NaN, all of which `f64` would accept.
fn decimal(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

/// Numbers and strings are both accepted: YAML users write `percent: 10` as well as `"10"`.
macro_rules! text_or_number {
    ($type:ty, $parse:expr, $expecting:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        $parse(text).map_err(E::custom)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                deserializer.deserialize_any(Text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

text_or_number!(Span, Span::parse, "a duration such as 30s");
text_or_number!(ByteSize, ByteSize::parse, "a size such as 10MiB");
text_or_number!(Percent, Percent::parse, "a percent from 0 to 100");
text_or_number!(PercentSpec, parse_percent_or_phase, "a percent from 0 to 100, or `phase`");
text_or_number!(Rate, Rate::parse, "a rate such as 100/s");
text_or_number!(InFlight, InFlight::parse, "a number of requests, or `auto`");
text_or_number!(StatusRange, StatusRange::parse, "a status such as 200, or a range such as 200-299");
