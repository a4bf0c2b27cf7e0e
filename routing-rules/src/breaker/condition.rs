//! The condition of a breaker: what was written, as something that can be evaluated (specification of the breaker, §6).
//!
//! A condition knows which counters it needs ([`Layout`]) and nothing of how they are filled: it is asked about a row of
//! counts. Without requests every measure is 0. It has no time and no memory.

use std::fmt;
use std::str::FromStr;

use super::layout::{CodeRange, Layout};
use super::parser::{self, ConditionError};

/// A condition over the results of an endpoint, or of an upstream.
///
/// ```
/// # use routing_rules::breaker::Condition;
/// let condition: Condition = "NetworkErrorRatio() > 0.3 && RequestThreshold() >= 50".parse().unwrap();
/// assert_eq!(condition.to_string(), "NetworkErrorRatio() > 0.3 && RequestThreshold() >= 50");
///
/// let error = "NetworkErrorRatio() > ".parse::<Condition>().unwrap_err();
/// assert_eq!(error.to_string(), "column 23: expected a measure or a number, found the end");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    root: Expression,
    layout: Layout,
}

/// A node of a condition. Lists have at least two elements and none of their own kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Any(Box<[Self]>),
    All(Box<[Self]>),
    Not(Box<Self>),
    Compare(Operand, Compare, Operand),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operand {
    Number(f64),
    Measure(Measure),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Measure {
    NetworkErrorRatio,
    RequestThreshold,
    /// More than 0, at most 100.
    LatencyAtQuantile(f64),
    /// How many of the results of the second range are in the first one.
    ResponseCodeRatio(CodeRange, CodeRange),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
}

impl Condition {
    /// The counters it needs.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether it holds for these counts, which are laid out as [`Self::layout`] says. Counts that are not there are 0.
    pub fn holds(&self, counts: &[u64]) -> bool {
        self.root.holds(&self.layout, counts)
    }

    /// Whether it holds and there are enough results to say so.
    pub fn holds_with(&self, min_requests: u32, counts: &[u64]) -> bool {
        Layout::results(counts) >= u64::from(min_requests) && self.holds(counts)
    }
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let root = parser::parse(text)?;
        let (mut ranges, mut latency) = (Vec::new(), false);
        root.each_measure(&mut |measure| match measure {
            Measure::ResponseCodeRatio(part, whole) => ranges.extend([part, whole]),
            Measure::LatencyAtQuantile(_) => latency = true,
            Measure::NetworkErrorRatio | Measure::RequestThreshold => {}
        });
        Ok(Self { root, layout: Layout::new(ranges, latency) })
    }
}

/// Every number of a condition is finite, so it equals itself.
impl Eq for Condition {}

impl Expression {
    fn holds(&self, layout: &Layout, counts: &[u64]) -> bool {
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.holds(layout, counts)),
            Self::All(parts) => parts.iter().all(|part| part.holds(layout, counts)),
            Self::Not(part) => !part.holds(layout, counts),
            Self::Compare(left, compare, right) => {
                compare.holds(left.value(layout, counts), right.value(layout, counts))
            }
        }
    }

    fn each_measure(&self, see: &mut impl FnMut(Measure)) {
        match self {
            Self::Any(parts) | Self::All(parts) => parts.iter().for_each(|part| part.each_measure(see)),
            Self::Not(part) => part.each_measure(see),
            Self::Compare(left, _, right) => [left, right].into_iter().for_each(|operand| match operand {
                Operand::Measure(measure) => see(*measure),
                Operand::Number(_) => {}
            }),
        }
    }
}

impl Operand {
    fn value(self, layout: &Layout, counts: &[u64]) -> f64 {
        match self {
            Self::Number(number) => number,
            Self::Measure(measure) => measure.value(layout, counts),
        }
    }
}

impl Measure {
    fn value(self, layout: &Layout, counts: &[u64]) -> f64 {
        match self {
            Self::NetworkErrorRatio => ratio(Layout::network_errors(counts), Layout::results(counts)),
            Self::RequestThreshold => Layout::results(counts) as f64,
            Self::LatencyAtQuantile(percent) => layout.latency_ms(counts, percent),
            Self::ResponseCodeRatio(part, whole) => ratio(layout.codes(counts, part), layout.codes(counts, whole)),
        }
    }
}

impl Compare {
    pub(super) const ALL: [Self; 6] =
        [Self::GreaterOrEqual, Self::LessOrEqual, Self::Equal, Self::NotEqual, Self::Greater, Self::Less];

    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }

    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl Expression {
    /// The parts of a list with the sign between them; lists inside lists and behind `!` stand in parentheses, which the
    /// text they come from had too, so what is shown is never nested deeper than what was read.
    fn list(f: &mut fmt::Formatter<'_>, parts: &[Self], sign: &str) -> fmt::Result {
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                write!(f, " {sign} ")?;
            }
            match part {
                Self::Any(_) => write!(f, "({part})")?,
                _ => write!(f, "{part}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(parts) => Self::list(f, parts, "||"),
            Self::All(parts) => Self::list(f, parts, "&&"),
            Self::Not(part) => match &**part {
                Self::Any(_) | Self::All(_) => write!(f, "!({part})"),
                _ => write!(f, "!{part}"),
            },
            Self::Compare(left, compare, right) => write!(f, "{left} {} {right}", compare.sign()),
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Measure(measure) => measure.fmt(f),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkErrorRatio => f.write_str("NetworkErrorRatio()"),
            Self::RequestThreshold => f.write_str("RequestThreshold()"),
            Self::LatencyAtQuantile(percent) => write!(f, "LatencyAtQuantileMS({percent})"),
            Self::ResponseCodeRatio(part, whole) => {
                write!(f, "ResponseCodeRatio({}, {}, {}, {})", part.from, part.to, whole.from, whole.to)
            }
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64,
    }
}
