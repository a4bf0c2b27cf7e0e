//! Endpoints that do what they are told: what they can be told, and how they work off requests.
//!
//! The sockets are in the program `faulty`; here is what it shares with those who give it orders. An order is a line
//! `ENDPOINT ORDER [NUMBER]`, answered by `ok` or by what is wrong with it.

pub mod work;

use std::fmt;
use std::str::FromStr;

/// What an endpoint can be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// Works so many times slower.
    Slow(f64),
    /// Takes requests and stands still.
    Stall,
    /// Resets every connection that has a request.
    Reset,
    /// Answers 500 at once.
    Errors,
    /// This part of its answers is a 500, after the usual time.
    Flaky(f64),
    /// Listens no more and resets what is open.
    Refuse,
    /// Listens no more, answers what it has, then ends connections: an orderly stop.
    Leave,
    /// Refuses for so many seconds, is well for as long, and so on.
    Flap(f64),
    /// Is well again.
    Recover,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(factor) => write!(f, "slow {factor}"),
            Self::Stall => f.write_str("stall"),
            Self::Reset => f.write_str("reset"),
            Self::Errors => f.write_str("errors"),
            Self::Flaky(part) => write!(f, "flaky {part}"),
            Self::Refuse => f.write_str("refuse"),
            Self::Leave => f.write_str("leave"),
            Self::Flap(seconds) => write!(f, "flap {seconds}"),
            Self::Recover => f.write_str("recover"),
        }
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(' ').unwrap_or((text, ""));
        let positive = || match number.parse::<f64>() {
            Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
            _ => Err(format!("`{name}` needs a number above 0, not `{number}`")),
        };
        Ok(match name {
            "slow" => Self::Slow(positive()?),
            "flaky" => Self::Flaky(positive()?),
            "flap" => Self::Flap(positive()?),
            _ if !number.is_empty() => return Err(format!("`{name}` takes no number")),
            "stall" => Self::Stall,
            "reset" => Self::Reset,
            "errors" => Self::Errors,
            "refuse" => Self::Refuse,
            "leave" => Self::Leave,
            "recover" => Self::Recover,
            _ => return Err(format!("`{name}` is no order")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        let all = [Order::Slow(10.0), Order::Flaky(0.3), Order::Flap(2.5), Order::Stall, Order::Reset, Order::Errors];
        for order in all.into_iter().chain([Order::Refuse, Order::Leave, Order::Recover]) {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        for wrong in ["slow", "slow x", "slow -1", "stall 3", "sing", ""] {
            assert!(wrong.parse::<Order>().is_err(), "{wrong}");
        }
    }
}
