//! Reads the text of a condition, by recursive descent.
//!
//! An error names the column, counted in characters from 1, and what would be right there. Depth, length and the number of
//! code ranges have limits, so no text costs more than its length.

use super::condition::{Compare, Expression, Measure, Operand};
use super::layout::CodeRange;

/// Why a condition was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct ConditionError {
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
}

pub(super) fn parse(text: &str) -> Result<Expression, ConditionError> {
    let mut parser = Parser { text, at: 0, depth: 0, ranges: Vec::new() };
    if text.len() > MAX_LENGTH {
        return Err(parser.error(0, format!("a condition is at most {MAX_LENGTH} bytes long")));
    }
    let condition = parser.any()?;
    match parser.rest() {
        "" => Ok(condition),
        _ => Err(parser.expected("`&&`, `||` or the end")),
    }
}

struct Parser<'t> {
    text: &'t str,
    /// In bytes, always between two characters.
    at: usize,
    depth: usize,
    /// Different ones, because each costs a counter for every endpoint and second.
    ranges: Vec<CodeRange>,
}

type Parsed<T> = Result<T, ConditionError>;

impl<'t> Parser<'t> {
    fn any(&mut self) -> Parsed<Expression> {
        let mut parts = Vec::new();
        loop {
            match self.all()? {
                Expression::Any(inner) => parts.extend(inner),
                other => parts.push(other),
            }
            if !self.take("||") {
                return Ok(one_or(parts, Expression::Any));
            }
        }
    }

    fn all(&mut self) -> Parsed<Expression> {
        let mut parts = Vec::new();
        loop {
            match self.unary()? {
                Expression::All(inner) => parts.extend(inner),
                other => parts.push(other),
            }
            if !self.take("&&") {
                return Ok(one_or(parts, Expression::All));
            }
        }
    }

    fn unary(&mut self) -> Parsed<Expression> {
        let rest = self.rest();
        let start = self.at;
        if rest.starts_with('!') && !rest.starts_with("!=") {
            self.at += 1;
            return self.nested(start, |parser| Ok(Expression::Not(Box::new(parser.unary()?))));
        }
        if self.take("(") {
            return self.nested(start, |parser| {
                let inner = parser.any()?;
                parser.need(")", "`)`, `&&` or `||`")?;
                Ok(inner)
            });
        }
        self.comparison()
    }

    fn nested(&mut self, start: usize, inner: impl FnOnce(&mut Self) -> Parsed<Expression>) -> Parsed<Expression> {
        if self.depth == MAX_DEPTH {
            let reason = format!("parentheses and `!` stand inside each other more than {MAX_DEPTH} times");
            return Err(self.error(start, reason));
        }
        self.depth += 1;
        let expression = inner(self)?;
        self.depth -= 1;
        Ok(expression)
    }

    fn comparison(&mut self) -> Parsed<Expression> {
        self.rest();
        let start = self.at;
        let left = self.operand()?;
        let signs = Compare::ALL.into_iter();
        let Some(compare) = signs.into_iter().find(|compare| self.take(compare.sign())) else {
            return Err(self.expected("one of > >= < <= == !="));
        };
        let right = self.operand()?;
        if matches!((left, right), (Operand::Number(_), Operand::Number(_))) {
            return Err(self.error(start, format!("a comparison needs a measure: {MEASURES}")));
        }
        Ok(Expression::Compare(left, compare, right))
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let rest = self.rest();
        let start = self.at;
        match rest.bytes().next() {
            Some(b'0'..=b'9') => self.number().map(Operand::Number),
            Some(byte) if byte.is_ascii_alphabetic() => {
                let name = self.while_byte(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                self.measure(name, start).map(Operand::Measure)
            }
            _ => Err(self.expected("a measure or a number")),
        }
    }

    fn measure(&mut self, name: &str, start: usize) -> Parsed<Measure> {
        if !["NetworkErrorRatio", "RequestThreshold", "LatencyAtQuantileMS", "ResponseCodeRatio"].contains(&name) {
            return Err(self.error(start, format!("there is no measure `{name}`; use one of {MEASURES}")));
        }
        self.need("(", "`(`")?;
        let measure = match name {
            "NetworkErrorRatio" => Measure::NetworkErrorRatio,
            "RequestThreshold" => Measure::RequestThreshold,
            "LatencyAtQuantileMS" => Measure::LatencyAtQuantile(self.quantile()?),
            _ => {
                let part = self.range()?;
                self.need(",", "`,`")?;
                Measure::ResponseCodeRatio(part, self.range()?)
            }
        };
        self.need(")", "`)`")?;
        Ok(measure)
    }

    fn quantile(&mut self) -> Parsed<f64> {
        self.rest();
        let start = self.at;
        match self.number()? {
            percent if percent > 0.0 && percent <= 100.0 => Ok(percent),
            percent => Err(self.error(start, format!("quantile {percent} is not above 0 and at most 100"))),
        }
    }

    fn range(&mut self) -> Parsed<CodeRange> {
        let from = self.code()?;
        self.need(",", "`,`")?;
        self.rest();
        let start = self.at;
        let to = self.code()?;
        if from >= to {
            let reason = format!(
                "no code is in the range from {from} to {to}: its end, which is not part of it, must be larger"
            );
            return Err(self.error(start, reason));
        }
        let range = CodeRange { from, to };
        if !self.ranges.contains(&range) {
            self.ranges.push(range);
        }
        match self.ranges.len() > MAX_RANGES {
            true => Err(self.error(start, format!("a condition has at most {MAX_RANGES} different ranges of codes"))),
            false => Ok(range),
        }
    }

    fn code(&mut self) -> Parsed<u16> {
        self.rest();
        let start = self.at;
        let digits = self.while_byte(|byte| byte.is_ascii_digit());
        match digits.parse::<u16>() {
            Ok(code) if code <= MAX_CODE => Ok(code),
            _ if digits.is_empty() => Err(self.expected("a status code")),
            _ => Err(self.error(start, format!("`{digits}` is larger than any status code; use 0 to {MAX_CODE}"))),
        }
    }

    fn number(&mut self) -> Parsed<f64> {
        self.rest();
        let start = self.at;
        if self.while_byte(|byte| byte.is_ascii_digit()).is_empty() {
            return Err(self.expected("a number"));
        }
        if self.text[self.at..].starts_with('.') {
            self.at += 1;
            if self.while_byte(|byte| byte.is_ascii_digit()).is_empty() {
                return Err(self.expected("a digit"));
            }
        }
        let number = self.text[start..self.at].parse::<f64>().unwrap_or(f64::INFINITY);
        match number <= MAX_NUMBER {
            true => Ok(number),
            false => Err(self.error(start, format!("a number is at most {MAX_NUMBER}"))),
        }
    }

    /// What is left, without blanks at its front.
    fn rest(&mut self) -> &'t str {
        let rest = self.text[self.at..].trim_start_matches([' ', '\t', '\r', '\n']);
        self.at = self.text.len() - rest.len();
        rest
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn need(&mut self, sign: &str, expected: &str) -> Parsed<()> {
        match self.take(sign) {
            true => Ok(()),
            false => Err(self.expected(expected)),
        }
    }

    fn while_byte(&mut self, belongs: impl Fn(u8) -> bool) -> &'t str {
        let rest = &self.text[self.at..];
        let end = rest.bytes().position(|byte| !belongs(byte)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn expected(&mut self, what: &str) -> ConditionError {
        let found = match self.rest().chars().next() {
            Some(found) => format!("`{}`", found.escape_debug()),
            None => "the end".to_owned(),
        };
        self.error(self.at, format!("expected {what}, found {found}"))
    }

    fn error(&self, at: usize, reason: String) -> ConditionError {
        ConditionError { column: self.text[..at].chars().count() + 1, reason }
    }
}

fn one_or(mut parts: Vec<Expression>, list: impl FnOnce(Box<[Expression]>) -> Expression) -> Expression {
    match parts.len() {
        1 => parts.remove(0),
        _ => list(parts.into()),
    }
}

const MEASURES: &str =
    "NetworkErrorRatio(), RequestThreshold(), LatencyAtQuantileMS(99), ResponseCodeRatio(500, 600, 0, 600)";
const MAX_LENGTH: usize = 4_096;
const MAX_DEPTH: usize = 32;
const MAX_RANGES: usize = 16;
const MAX_CODE: u16 = 1_000;
/// Beyond it whole numbers are no longer exact in a double, and nothing that is counted gets there.
const MAX_NUMBER: f64 = 9_007_199_254_740_992.0;
