//! One proxy, one endpoint, one case at a time. After each case three honest clients come by, on connections of their
//! own, and must get exactly what they asked for.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::Serin;
use crate::support::wire::{
    Answer, Assertion, EndpointCase, Listening, RawOutcome, RequestCase, exchange, parse_answers,
};
use crate::support::witness::{After, ScriptedEndpoint, SeenRequest, Witness, echo_body, escape};
use crate::tls;

use super::verdict::{self, Observed, Report};

/// A lane for hostile clients.
pub(super) struct RequestLane {
    witness: Witness,
    address: SocketAddr,
    _serin: Serin,
    honest: HonestClients,
}

impl RequestLane {
    pub(super) fn start(number: usize) -> Self {
        let witness = Witness::start();
        let serin = Serin::with_endpoint(witness.address());
        let address = serin.address();
        Self { witness, address, _serin: serin, honest: HonestClients { lane: number, sent: 0 } }
    }

    /// The same bytes, encrypted.
    pub(super) fn over_tls(number: usize) -> Self {
        let witness = Witness::start();
        let serin = tls::in_front_of(witness.address());
        let address = tls::bridge::to(serin.address());
        Self { witness, address, _serin: serin, honest: HonestClients { lane: number, sent: 0 } }
    }

    pub(super) fn run(&mut self, case: &RequestCase) -> Report {
        let observed = self.observe(case, PATIENCE);
        let report = verdict::of_request(case, &observed.0);
        with(report, observed.1)
    }

    /// As `run`, for requests that are mostly cut or senseless and are not worth a long wait.
    pub(super) fn run_broken(&mut self, case: &RequestCase) -> Report {
        let observed = self.observe(case, SHORT_PATIENCE);
        let report = verdict::of_broken(case, &observed.0);
        with(report, observed.1)
    }

    fn observe(&mut self, case: &RequestCase, patience: Duration) -> (Observed, Vec<String>) {
        let to_head = case.bytes.starts_with(b"HEAD ");
        let listening = Listening { answers: awaited(case), to_head, patience, quiet: QUIET };
        let mut failures: Vec<String> = accusations(&self.witness, "late, from the case before");
        self.witness.clear();
        let outcome = exchange(self.address, &case.bytes, &listening);
        failures.extend(self.honest.visit(self.address, 3));
        failures.extend(accusations(&self.witness, "witness"));
        let seen = hostile(&self.witness);
        self.witness.clear();
        (Observed { answers: read(&outcome, to_head), outcome, seen }, failures)
    }
}

/// A lane for misbehaving endpoints.
pub(super) struct EndpointLane {
    endpoint: ScriptedEndpoint,
    address: SocketAddr,
    _serin: Serin,
    honest: HonestClients,
}

impl EndpointLane {
    pub(super) fn start(number: usize) -> Self {
        let endpoint = ScriptedEndpoint::start(Vec::new(), After::Keep, None);
        let serin = Serin::with_endpoint(endpoint.address());
        let address = serin.address();
        Self { endpoint, address, _serin: serin, honest: HonestClients { lane: number, sent: 0 } }
    }

    /// Before clients that speak TLS.
    pub(super) fn over_tls(number: usize) -> Self {
        let endpoint = ScriptedEndpoint::start(Vec::new(), After::Keep, None);
        let serin = tls::in_front_of(endpoint.address());
        let address = tls::bridge::to(serin.address());
        Self { endpoint, address, _serin: serin, honest: HonestClients { lane: number, sent: 0 } }
    }

    pub(super) fn run(&mut self, case: &EndpointCase) -> Report {
        let witness = self.endpoint.witness();
        witness.clear();
        self.endpoint.play(case.bytes.clone(), case.after, case.late.clone());
        let method = if case.to_head { "HEAD" } else { "GET" };
        let plain = format!("{method} /scripted/{} HTTP/1.1\r\nHost: a.test\r\n\r\n", case.id).into_bytes();
        let request = case.request.as_ref().unwrap_or(&plain);
        let to_head = request.starts_with(b"HEAD ");
        let listening = Listening { answers: 1, to_head, patience: PATIENCE, quiet: QUIET };
        let outcome = exchange(self.address, request, &listening);
        let mut failures = Vec::new();
        if !self.endpoint.wait_for_late_bytes() {
            failures.push("the endpoint could not send its late bytes".to_owned());
        }
        failures.extend(self.honest.visit(self.address, 3));
        let witness = self.endpoint.witness();
        failures.extend(accusations(witness, "witness"));
        let observed = Observed { answers: read(&outcome, to_head), seen: hostile(witness), outcome };
        with(verdict::of_endpoint(case, &observed), failures)
    }
}

/// Clients that do nothing wrong.
pub(super) struct HonestClients {
    pub(super) lane: usize,
    pub(super) sent: u64,
}

impl HonestClients {
    /// Each sends one request on a connection of its own; what did not come back as its own answer is a failure.
    pub(super) fn visit(&mut self, address: SocketAddr, count: usize) -> Vec<String> {
        (0..count).filter_map(|_| self.ask(address)).collect()
    }

    fn ask(&mut self, address: SocketAddr) -> Option<String> {
        self.sent += 1;
        let target = format!("{HONEST}{}-{}", self.lane, self.sent);
        let (method, rest) = match self.sent % 3 {
            0 => ("POST", "Host: b.test\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"),
            1 => ("GET", "Host: a.test\r\nConnection: close\r\n\r\n"),
            _ => ("GET", "Host: a.test\r\n\r\n"),
        };
        let bytes = format!("{method} {target} HTTP/1.1\r\n{rest}");
        let listening = Listening { answers: 1, to_head: false, patience: PATIENCE, quiet: HONEST_QUIET };
        let outcome = exchange(address, bytes.as_bytes(), &listening);
        let own = echo_body(method, &target).into_bytes();
        let answered = match parse_answers(&outcome.bytes, false, outcome.closed).as_deref() {
            Ok([answer]) => {
                answer.complete
                    && answer.status == 200
                    && answer.body == own
                    && answer.header_lines("x-witness-seq").len() == 1
            }
            _ => false,
        };
        let poisoned = verdict::poison(&outcome.bytes).is_some();
        (!answered || poisoned).then(|| format!("honest client {target} got {:?}", escape(&outcome.bytes)))
    }
}

fn read(outcome: &RawOutcome, to_head: bool) -> Result<Vec<Answer>, String> {
    parse_answers(&outcome.bytes, to_head, outcome.closed && !outcome.reset)
}

pub(super) fn accusations(witness: &Witness, who: &str) -> Vec<String> {
    witness.violations().into_iter().map(|violation| format!("{who}: {violation}")).collect()
}

pub(super) fn hostile(witness: &Witness) -> Vec<SeenRequest> {
    witness.requests().into_iter().filter(|request| !request.target.starts_with(HONEST)).collect()
}

/// How many answers a legal reading of the case has.
fn awaited(case: &RequestCase) -> usize {
    let pipelined = case.text.contains("exactly two");
    let asserted = case.assertions.iter().find_map(|assertion| match assertion {
        Assertion::Requests(count) => Some(*count),
        _ => None,
    });
    asserted.unwrap_or(if pipelined { 2 } else { 1 })
}

pub(super) fn with(mut report: Report, failures: Vec<String>) -> Report {
    report.failures.extend(failures);
    report
}

pub(super) const HONEST: &str = "/honest/";

/// Long enough for a slow machine, short enough that a hanging proxy is called one.
const PATIENCE: Duration = Duration::from_millis(1000);
const SHORT_PATIENCE: Duration = Duration::from_millis(40);
/// How long a connection that stays open must be silent: a second answer nobody asked for comes at once.
const QUIET: Duration = Duration::from_millis(30);
const HONEST_QUIET: Duration = Duration::from_millis(2);
