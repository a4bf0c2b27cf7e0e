//! What Serin says of itself at its admin address while it is measured.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

/// Its metrics, as text.
///
/// # Errors
/// It does not answer within five seconds.
pub fn metrics(admin: SocketAddrV4) -> io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Counters by name and labels, without the `serin_` and `_total` that all have.
#[must_use]
pub fn counters(metrics: &str) -> BTreeMap<String, u64> {
    let counter = |line: &str| {
        let (series, value) = line.strip_prefix("serin_")?.rsplit_once(' ')?;
        let (name, labels) =
            series.split_once('{').map_or((series, String::new()), |(name, labels)| (name, format!(" {{{labels}")));
        Some((name.strip_suffix("_total")?.to_owned() + &labels, value.parse().ok()?))
    };
    metrics.lines().filter_map(counter).collect()
}

/// A number without labels, by its whole name.
#[must_use]
pub fn gauge(metrics: &str, name: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::{counters, gauge};

    #[test]
    fn gauges_are_found_by_their_whole_names() {
        let metrics = "# TYPE serin_a gauge\nserin_ab 1\nserin_a{of=\"b\"} 2\nserin_a 3\n";
        assert_eq!(gauge(metrics, "serin_a"), Some(3));
        assert_eq!(gauge(metrics, "serin_b"), None);
    }

    #[test]
    fn counters_have_their_labels() {
        let counters =
            counters("# TYPE x\nserin_a_total{of=\"b c\"} 3\nserin_d_total 4\nserin_open 5\nserin_e_total nan\n");
        assert_eq!(counters.into_iter().collect::<Vec<_>>(), [("a {of=\"b c\"}".to_owned(), 3), ("d".to_owned(), 4)]);
    }
}
