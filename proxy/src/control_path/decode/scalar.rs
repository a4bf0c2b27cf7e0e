//! What a scalar without quotes means: the core schema of YAML 1.2, minus its traps.
//!
//! `yes`, `on` and `12:30:45` are text, as the schema has it. Beyond the schema, digits after a leading zero are text as well (half
//! of the readers take `010` for eight), and so is whatever would not be a finite number.

use super::tree::Scalar;

/// The reading of a plain scalar when the type asked for does not settle it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text,
}

impl Meaning {
    pub(super) fn of(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" => Self::Bool(true),
            "false" | "False" | "FALSE" => Self::Bool(false),
            _ => Self::of_number(text),
        }
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Unsigned(_) | Self::Signed(_) | Self::Float(_))
    }

    fn of_number(text: &str) -> Self {
        // Most scalars are names: one look at the first byte spares them the attempts.
        if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
            return Self::Text;
        }
        match integer(text) {
            Some(number) => match (u64::try_from(number), i64::try_from(number)) {
                (Ok(number), _) => Self::Unsigned(number),
                (_, Ok(number)) => Self::Signed(number),
                _ => Self::of_float(text),
            },
            None => Self::of_float(text),
        }
    }

    fn of_float(text: &str) -> Self {
        float(text).map_or(Self::Text, Self::Float)
    }
}

impl Scalar {
    pub(super) fn meaning(&self) -> Meaning {
        match self.plain {
            true => Meaning::of(&self.text),
            false => Meaning::Text,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.meaning() == Meaning::Null
    }
}

/// `[-+]?[0-9]+` without a leading zero, or `0x…`, or `0o…`.
pub(super) fn integer(text: &str) -> Option<i128> {
    if let Some(digits) = text.strip_prefix("0x") {
        return digits_in(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return digits_in(digits, 8);
    }
    let (sign, digits) = split_sign(text);
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    match leading_zero {
        true => None,
        false => Some(sign * digits_in(digits, 10)?),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, without a leading zero, and finite.
pub(super) fn float(text: &str) -> Option<f64> {
    let (_, unsigned) = split_sign(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(split_sign(exponent).1)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let shaped = all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|digits| !digits.is_empty() && all_digits(digits))
        && !(whole.len() > 1 && whole.starts_with('0'));
    match shaped {
        true => text.parse().ok().filter(|number: &f64| number.is_finite()),
        false => None,
    }
}

fn split_sign(text: &str) -> (i128, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn digits_in(digits: &str, radix: u32) -> Option<i128> {
    match digits.chars().all(|digit| digit.is_digit(radix)) {
        true => i128::from_str_radix(digits, radix).ok(),
        false => None,
    }
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
