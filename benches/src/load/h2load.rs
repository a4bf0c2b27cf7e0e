//! HTTP/2 under load: `h2load` (Debian: nghttp2-client), a program of others that users measure with, too.
//!
//! It is told how many requests to make, so that every one of them is counted and none is cut off at the end: a short run
//! just before says how many fill the window, and makes the proxy's connections to the endpoint. What it prints and what it
//! logs are held against each other, and against the status and the length that are right.

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Edge, Failures, Outcome};
use crate::peers::on_path;
use crate::process::{Interrupt, Running};
use crate::tls;

/// What to send where.
#[derive(Clone, Debug)]
pub struct Plan<'p> {
    pub target: SocketAddrV4,
    /// Over TLS, or in clear text with prior knowledge.
    pub is_tls: bool,
    pub path: &'static str,
    /// Length of the right answer's body.
    pub body: u64,
    pub connections: usize,
    /// Requests that each connection has under way.
    pub streams: usize,
    pub warm_up: Duration,
    pub window: Duration,
    /// Where the program writes.
    pub folder: &'p Path,
    pub core: usize,
}

/// Runs `plan`; `at_edge` is called before the program starts, in the middle of the window, and when the program has ended.
///
/// # Errors
/// When there is no such program, or it fails, or contradicts itself; on interruption. Failures of the proxy are part of the
/// outcome.
pub fn run(plan: &Plan, interrupt: &Interrupt, mut at_edge: impl FnMut(Edge)) -> io::Result<Outcome> {
    let warm_up = format!("{}ms", plan.warm_up.as_millis().max(1));
    let printed = plan.start(&["-D", &warm_up])?.finish(interrupt, |_| {})?;
    let requests = plan.requests(&Summary::read(&printed)?).to_string();
    let log = plan.folder.join("h2load.log");
    // Left by the run before, it would be appended to.
    if log.exists() {
        fs::remove_file(&log)?;
    }
    at_edge(Edge::Start);
    let mut middle = Some(plan.window / 2);
    let load = plan.start(&["-n", &requests, "--log-file", &log.display().to_string()])?;
    let printed = load.finish(interrupt, |since| {
        if middle.take_if(|middle| since >= *middle).is_some() {
            at_edge(Edge::Middle);
        }
    })?;
    at_edge(Edge::End);
    Summary::read(&printed)?.outcome(plan.body, &fs::read_to_string(log)?)
}

impl Plan<'_> {
    /// As many as fill the window at the rate of a short run, but a few for each stream.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "requests of a window are far below 2^53"
    )]
    fn requests(&self, warm_up: &Summary) -> u64 {
        let rate = warm_up.statuses[0] as f64 / warm_up.seconds.max(1e-3);
        let least = 4 * self.connections * self.streams;
        ((rate * self.window.as_secs_f64()) as u64).max(least as u64)
    }

    fn start(&self, how_many: &[&str]) -> io::Result<Program> {
        let program = on_path("h2load").ok_or_else(|| io::Error::other("no h2load (Debian: nghttp2-client)"))?;
        let mut command = Command::new(program);
        command.args(how_many).args(["-t", "1", "-c", &self.connections.to_string(), "-m", &self.streams.to_string()]);
        command.args(["--tls13-ciphers", tls::CIPHER, "--groups", tls::GROUP]);
        command.args(["--connect-to", &self.target.to_string()]);
        let scheme = if self.is_tls { "https" } else { "http" };
        command.arg(format!("{scheme}://{}{}", tls::HOST, self.path)).current_dir(self.folder);
        let running = Running::start(command, self.core, self.folder, "h2load")?;
        // A window's worth of requests takes longer than the window where the machine has become slower since.
        let patience = self.window * 10 + Duration::from_secs(10);
        Ok(Program { running, began: Instant::now(), patience })
    }
}

struct Program {
    running: Running,
    began: Instant,
    patience: Duration,
}

impl Program {
    /// Waits for the end and says what was printed; `meanwhile` hears now and then for how long it has been running.
    fn finish(mut self, interrupt: &Interrupt, mut meanwhile: impl FnMut(Duration)) -> io::Result<String> {
        while !self.running.has_succeeded()? {
            if self.began.elapsed() > self.patience {
                return Err(io::Error::other(format!("h2load does not end: {}", self.running.last_words())));
            }
            meanwhile(self.began.elapsed());
            interrupt.sleep(Duration::from_millis(5))?;
        }
        self.running.printed()
    }
}

/// What it prints at its end.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Summary {
    seconds: f64,
    total: u64,
    /// 2xx, 3xx, 4xx, 5xx.
    statuses: [u64; 4],
    /// Bytes of bodies.
    data: u64,
}

impl Summary {
    fn read(printed: &str) -> io::Result<Self> {
        let line = |begin: &str| printed.lines().find_map(|line| line.strip_prefix(begin));
        let read = || {
            let [total] = before(line("requests: ")?, [" total"])?;
            let statuses = before(line("status codes: ")?, [" 2xx", " 3xx", " 4xx", " 5xx"])?;
            let (_, data) = line("traffic: ")?.rsplit_once('(')?;
            Some(Self {
                seconds: seconds(line("finished in ")?.split(',').next()?)?,
                total,
                statuses,
                data: data.strip_suffix(") data")?.parse().ok()?,
            })
        };
        read().ok_or_else(|| io::Error::other(format!("h2load printed no summary: {printed}")))
    }

    fn outcome(&self, body: u64, log: &str) -> io::Result<Outcome> {
        let [good, others @ ..] = self.statuses;
        let answered = good + others.iter().sum::<u64>();
        let failures = Failures {
            status: others.iter().sum(),
            cut: self.total.saturating_sub(answered),
            length: (good * body).abs_diff(self.data).div_ceil(body),
            ..Failures::default()
        };
        let latencies: Vec<f32> = log.lines().filter_map(latency_us).collect();
        if latencies.len() as u64 != good {
            let logged = latencies.len();
            return Err(io::Error::other(format!("h2load counts {good} right answers and logs {logged}")));
        }
        Ok(Outcome::of(latencies, Duration::from_secs_f64(self.seconds), failures))
    }
}

/// The numbers before each of these words, which come in this order between commas.
fn before<const N: usize>(line: &str, words: [&str; N]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    let parts = line.split(", ").zip(words).zip(&mut numbers);
    for ((part, word), number) in parts {
        *number = part.strip_suffix(word)?.parse().ok()?;
    }
    Some(numbers)
}

/// A time as it is printed, such as `15.56ms`.
fn seconds(text: &str) -> Option<f64> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    Some(number.parse::<f64>().ok()? * unit)
}

/// Of a line of the log (begin, status, microseconds), where the answer was right.
fn latency_us(line: &str) -> Option<f32> {
    let mut columns = line.split('\t').skip(1);
    let status: u16 = columns.next()?.parse().ok()?;
    columns.next()?.parse().ok().filter(|_| (200..300).contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "starting benchmark...\n\nfinished in 1.50s, 2.67 req/s, 3.00KB/s\n\
        requests: 4 total, 4 started, 4 done, 2 succeeded, 2 failed, 1 errored, 0 timeout\n\
        status codes: 2 2xx, 0 3xx, 0 4xx, 1 5xx\n\
        traffic: 3.00KB (3072) total, 72B (72) headers (space savings 93.54%), 2.00KB (2048) data\n";

    #[test]
    fn what_is_printed_and_what_is_logged_make_an_outcome() {
        let log = "1700000000000001\t200\t300\n1700000000000002\t502\t900\n1700000000000003\t200\t100\n1\t-1\t5\n";
        let summary = Summary::read(PRINTED).unwrap();
        let outcome = summary.outcome(1_024, log).unwrap();
        assert_eq!((outcome.completed, outcome.window), (2, Duration::from_millis(1_500)));
        assert_eq!((outcome.latency_us(0.5), outcome.latency_us(1.0)), (100.0, 300.0));
        assert_eq!(outcome.failures, Failures { status: 1, cut: 1, ..Failures::default() });
        assert_eq!(summary.outcome(1_025, log).unwrap().failures.length, 1);
    }

    #[test]
    fn what_contradicts_itself_is_no_outcome() {
        assert!(Summary::read(PRINTED).unwrap().outcome(1_024, "1\t200\t300\n").is_err());
        assert!(Summary::read("finished in 1.00s\n").is_err());
        assert_eq!(seconds("500.05us"), Some(0.000_500_05));
        assert_eq!(seconds("2m"), None);
    }
}
