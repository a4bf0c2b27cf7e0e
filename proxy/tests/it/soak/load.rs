//! Clients without end: `wrk`, or where it is not installed some of our own, which are slower.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{Client, Origin, Then, skip};

/// Load that goes on until this is dropped.
pub(super) enum Load {
    Wrk(Wrk),
    Own(Own),
}

/// What came of it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) by: &'static str,
    pub(super) answers: u64,
    pub(super) failures: u64,
    pub(super) p99: Duration,
    pub(super) report: String,
}

impl Load {
    pub(super) fn start(address: SocketAddr) -> Self {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t2", "-c64", "-d1h", "--latency", &format!("http://{address}/")]);
        match wrk.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn() {
            Ok(child) => Self::Wrk(Wrk(child)),
            Err(error) => {
                skip(&format!(
                    "wrk cannot be run ({error}), so the load is the test's own, and less of it (Debian: wrk)"
                ));
                Self::Own(Own::start(address))
            }
        }
    }

    pub(super) fn end(self) -> Outcome {
        match self {
            Self::Wrk(wrk) => wrk.end(),
            Self::Own(own) => own.end(),
        }
    }
}

impl Outcome {
    /// All answers of several loads, the p99 of the one in the middle, and the last report.
    pub(super) fn of_all(outcomes: &[Self]) -> Self {
        let mut p99s: Vec<Duration> = outcomes.iter().map(|outcome| outcome.p99).collect();
        p99s.sort_unstable();
        let last = outcomes.last().expect("there was load");
        Self {
            by: last.by,
            answers: outcomes.iter().map(|outcome| outcome.answers).sum(),
            failures: outcomes.iter().map(|outcome| outcome.failures).sum(),
            p99: p99s[p99s.len() / 2],
            report: last.report.clone(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers, {} failed, p99 {:.2?} ({})", self.answers, self.failures, self.p99, self.by)
    }
}

/// A running `wrk`.
pub(super) struct Wrk(Child);

impl Wrk {
    /// An interrupted `wrk` reports as one whose time is over.
    fn end(mut self) -> Outcome {
        let interrupted = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        assert!(interrupted.expect("kill runs").success(), "wrk has ended by itself");
        let mut report = String::new();
        self.0.stdout.take().expect("it is piped").read_to_string(&mut report).expect("wrk reports");
        outcome_of_wrk(report)
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `123 requests in 3.00s`, `99% 1.20ms` and, if there are any, `Socket errors: connect 0, read 1, …` and
/// `Non-2xx or 3xx responses: 3`.
fn outcome_of_wrk(report: String) -> Outcome {
    let number = |text: &str| text.trim().trim_end_matches(',').parse::<u64>().ok();
    let after = |start: &str| report.lines().find_map(|line| line.trim().strip_prefix(start));
    let answers = report.lines().find_map(|line| number(line.split_once(" requests in ")?.0));
    let p99 = after("99%").and_then(time_of_wrk);
    let refused = after("Non-2xx or 3xx responses:").and_then(number).unwrap_or_default();
    let broken: u64 = after("Socket errors:").into_iter().flat_map(|line| line.split(' ').filter_map(number)).sum();
    let (Some(answers), Some(p99)) = (answers, p99) else { panic!("this is no report of wrk:\n{report}") };
    Outcome { by: "wrk", answers, failures: refused + broken, p99, report }
}

/// `812.00us`, `1.20ms`, `2.01s`.
fn time_of_wrk(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.find(|char: char| char.is_ascii_alphabetic())?;
    let seconds = match &text[unit..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(text[..unit].parse::<f64>().ok()? * seconds))
}

/// Threads with a connection each.
pub(super) struct Own {
    running: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(Vec<Duration>, u64)>>,
}

impl Own {
    fn start(address: SocketAddr) -> Self {
        let running = Arc::new(AtomicBool::new(true));
        let thread = |_| {
            let running = Arc::clone(&running);
            std::thread::spawn(move || ask_until_told(address, &running))
        };
        let threads = (0..16).map(thread).collect();
        Self { running, threads }
    }

    fn end(mut self) -> Outcome {
        self.running.store(false, Ordering::Relaxed);
        let mut outcome = Outcome { by: "16 clients of the test", ..Outcome::default() };
        let mut times = Vec::new();
        for thread in self.threads.drain(..) {
            let (own_times, failures) = thread.join().expect("every answer is well-formed");
            times.extend(own_times);
            outcome.failures += failures;
        }
        times.sort_unstable();
        outcome.answers = times.len() as u64;
        outcome.p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
        outcome
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
    }
}

fn ask_until_told(address: SocketAddr, running: &AtomicBool) -> (Vec<Duration>, u64) {
    let mut client = Client::connect(address);
    let (mut times, mut failures) = (Vec::new(), 0);
    while running.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let sent = client.try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").is_ok();
        match sent.then(|| client.try_reply(false)) {
            Some(Ok(reply)) if reply.status == 200 => times.push(asked.elapsed()),
            _ => {
                client = Client::connect(address);
                failures += 1;
            }
        }
    }
    (times, failures)
}

#[test]
fn reports_of_wrk_are_understood() {
    let report = "Running 1h test @ http://127.0.0.1:1/\n  2 threads and 64 connections\n  Latency Distribution\n     \
                  50%    1.10ms\n     99%  812.00us\n  4321 requests in 3.00s, 1.00MB read\n  Socket errors: connect 1, \
                  read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 10\nRequests/sec:   1440.00\n";
    let outcome = outcome_of_wrk(report.to_owned());
    assert_eq!((outcome.answers, outcome.failures, outcome.p99), (4_321, 17, Duration::from_micros(812)));
    let good = outcome_of_wrk("     99%    2.50s \n  9 requests in 1.00s, 1KB read\n".to_owned());
    assert_eq!((good.answers, good.failures, good.p99), (9, 0, Duration::from_millis(2_500)));
}

#[test]
fn clients_of_the_test_count_what_fails() {
    let silent = Origin::start(|_| Ok(Then::Close));
    let own = Own::start(silent.address());
    silent.wait_until("requests of all, again", |log| log.requests.len() > 32);
    let outcome = own.end();
    assert!(outcome.failures > 16 && outcome.answers == 0, "{outcome}");
}
