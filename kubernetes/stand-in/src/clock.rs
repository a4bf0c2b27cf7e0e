//! The time as the API writes it.

use std::time::{Duration, SystemTime};

/// Now, to the second.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// How long ago that was, as tables show it.
pub(crate) fn age(timestamp: &str) -> Option<String> {
    let then = humantime::parse_rfc3339(timestamp).ok()?;
    Some(short(SystemTime::now().duration_since(then).unwrap_or_default()))
}

/// With two units while that says something: `95s`, `3m10s`, `12m`, `5h7m`, `3d4h`, `30d`.
fn short(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |whole: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{small}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::short;

    #[test]
    fn ages_are_short() {
        let cases = [(0, "0s"), (95, "95s"), (190, "3m10s"), (720, "12m"), (18_420, "5h7m"), (273_600, "3d4h")];
        for (seconds, expected) in cases {
            assert_eq!(short(Duration::from_secs(seconds)), expected);
        }
    }
}
