//! What a case came to. Pure functions from what the client saw and what the witness saw to a list of failures.

use crate::support::wire::{
    Answer, Assertion, EndpointCase, EndpointOutcome, Expect, RawOutcome, RequestCase, lenient_answer,
};
use crate::support::witness::{SeenRequest, echo_body, escape};

use super::desync;

/// One line of the final table, or none when there are no failures.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) expected: String,
    pub(super) got: String,
    pub(super) failures: Vec<String>,
    pub(super) notes: Vec<String>,
    /// Refused, as it had to be, but only after a first part had been forwarded.
    pub(super) reached_partly: bool,
}

/// Everything observable about one hostile request.
pub(super) struct Observed {
    pub(super) outcome: RawOutcome,
    pub(super) answers: Result<Vec<Answer>, String>,
    /// What reached the witness, honest requests left out.
    pub(super) seen: Vec<SeenRequest>,
}

impl Observed {
    fn answers(&self) -> &[Answer] {
        self.answers.as_deref().unwrap_or_default()
    }

    fn finals(&self) -> Vec<&Answer> {
        self.answers().iter().filter(|answer| !answer.is_interim()).collect()
    }

    fn forwarded(&self) -> Vec<&SeenRequest> {
        self.seen.iter().filter(|request| request.complete).collect()
    }

    fn refused(&self) -> bool {
        self.outcome.closed && self.finals().last().is_some_and(|answer| is_refusal(answer.status))
    }

    fn describe(&self) -> String {
        let statuses: Vec<String> = self
            .finals()
            .iter()
            .map(|answer| if answer.complete { answer.status.to_string() } else { format!("{}(cut)", answer.status) })
            .collect();
        let statuses = if statuses.is_empty() { "no answer".to_owned() } else { statuses.join(" ") };
        let end = match (self.outcome.closed, self.outcome.reset) {
            (true, true) => "reset",
            (true, false) => "closed",
            (false, _) => "open",
        };
        format!("{statuses}, {end}, {} forwarded", self.forwarded().len())
    }
}

/// Judges a case of the tables.
pub(super) fn of_request(case: &RequestCase, observed: &Observed) -> Report {
    let several = case.text.contains("second request");
    let mut failures = in_any_case(&case.bytes, several, observed);
    let fulfilled = match case.expect {
        Expect::Reject => rejected(observed),
        Expect::Serve => served(observed),
        Expect::Either => rejected(observed).or_else(|_| served(observed)),
    };
    failures.extend(fulfilled.err());
    failures.extend(smuggled(observed, several));
    failures.extend(case.assertions.iter().filter_map(|assertion| broken(assertion, observed)));
    let mut notes = Vec::new();
    if observed.outcome.only_after_half_close {
        notes.push(format!("answered only after the client stopped sending: {}", observed.describe()));
    }
    Report {
        id: case.id.clone(),
        text: case.text.clone(),
        expected: format!("{:?}", case.expect),
        got: observed.describe(),
        failures,
        notes,
        reached_partly: observed.refused() && observed.seen.iter().any(|request| !request.complete),
    }
}

/// Judges a generated request, of which nobody knows what should come of it, only what must not.
pub(super) fn of_broken(case: &RequestCase, observed: &Observed) -> Report {
    let mut failures = in_any_case(&case.bytes, case.text.contains("several requests"), observed);
    failures.extend(smuggled(observed, case.text.contains("second request")));
    if observed.finals().iter().filter(|answer| answer.status < 300).count() > observed.forwarded().len() {
        failures.push("more answers than requests forwarded".to_owned());
    }
    if !failures.is_empty() {
        failures.push(escape(&case.bytes));
    }
    Report {
        id: case.id.clone(),
        text: case.text.clone(),
        expected: "safe".to_owned(),
        got: observed.describe(),
        failures,
        ..Report::default()
    }
}

/// What holds whatever the case expects. `several` says that the bytes can be read as more than one request.
fn in_any_case(bytes: &[u8], several: bool, observed: &Observed) -> Vec<String> {
    let mut failures = Vec::new();
    failures.extend(observed.answers.as_ref().err().cloned());
    failures.extend(
        observed
            .finals()
            .iter()
            .filter(|answer| matches!(answer.status, 500 | 502..=504 | 506..))
            .map(|answer| format!("status {}", answer.status)),
    );
    failures.extend(wrong_echo(observed));
    if desync::is_severe(bytes) && !several && !observed.refused() && observed.forwarded().len() > 1 {
        failures.push("the second judge calls it severe, and more than one request was made of it".to_owned());
    }
    failures
}

fn rejected(observed: &Observed) -> Result<(), String> {
    if !observed.forwarded().is_empty() {
        return Err("a complete request reached the endpoint".to_owned());
    }
    match observed.finals().as_slice() {
        [] => Err("no answer".to_owned()),
        [answer] if !answer.complete => Err("the refusal is cut".to_owned()),
        [answer] if !is_refusal(answer.status) => Err(format!("{} is no refusal", answer.status)),
        [_] if !observed.outcome.closed => Err("refused, but the connection lives on".to_owned()),
        [_] => Ok(()),
        _ => Err("several answers".to_owned()),
    }
}

/// Every forwarded request has its answer, in order; the bytes behind the last one may be refused.
fn served(observed: &Observed) -> Result<(), String> {
    let finals = observed.finals();
    let good = finals.iter().take_while(|answer| answer.complete && answer.status < 300).count();
    if good == 0 {
        return Err("not served".to_owned());
    }
    if good != observed.forwarded().len() {
        return Err(format!("{good} answers to {} forwarded requests", observed.forwarded().len()));
    }
    match &finals[good..] {
        [] => Ok(()),
        [_] if observed.refused() => Ok(()),
        _ => Err("something else follows the answers".to_owned()),
    }
}

fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=499 | 501 | 505)
}

fn smuggled(observed: &Observed, expected: bool) -> Option<String> {
    let found = observed.seen.iter().any(|request| request.target.contains("smuggled"));
    (found && !expected).then(|| "a smuggled request reached the endpoint".to_owned())
}

/// Answers carry the echo of the requests the witness saw, in the same order.
fn wrong_echo(observed: &Observed) -> Option<String> {
    let finals = observed.finals();
    let pairs = finals.iter().filter(|answer| answer.complete && answer.status == 200).zip(observed.forwarded());
    pairs
        .filter(|(answer, request)| {
            request.method != "HEAD" && answer.body != echo_body(&request.method, &request.target).into_bytes()
        })
        .map(|(answer, _)| format!("an answer to somebody else: {}", escape(&answer.body)))
        .next()
}

fn broken(assertion: &Assertion, observed: &Observed) -> Option<String> {
    let finals = observed.finals();
    let answer = finals.first();
    let answer_lines = |name: &str| answer.map(|answer| answer.header_lines(name)).unwrap_or_default();
    let forwarded = observed.forwarded();
    let request = forwarded.first();
    let (holds, found) = match assertion {
        Assertion::Status(allowed) => {
            let status = answer.map_or(0, |answer| answer.status);
            (allowed.contains(&status), status.to_string())
        }
        Assertion::Closed => (observed.outcome.closed, "open".to_owned()),
        Assertion::Interim(status) => {
            (observed.answers().iter().any(|a| a.is_interim() && a.status == *status), "none".to_owned())
        }
        Assertion::NoInterim => (!observed.answers().iter().any(Answer::is_interim), "an interim answer".to_owned()),
        Assertion::AnswerHeader(name, value) => {
            let lines = answer_lines(name);
            (lines == [value.as_str()], format!("{lines:?}"))
        }
        Assertion::AnswerAbsent(name) => (answer_lines(name).is_empty(), format!("{:?}", answer_lines(name))),
        Assertion::AnswerLines(name, count) => {
            (answer_lines(name).len() == *count, format!("{:?}", answer_lines(name)))
        }
        // What follows speaks about the forwarded request; a refusal has none.
        _ if request.is_none() => return None,
        Assertion::Requests(count) => (forwarded.len() == *count, forwarded.len().to_string()),
        Assertion::Target(target) => of_seen(request, |seen| (seen.target == *target, seen.target.clone())),
        Assertion::Body(body) => of_seen(request, |seen| (seen.body == *body, escape(&seen.body))),
        Assertion::Header(name, value) => of_seen(request, |seen| {
            let lines = seen.header_lines(name);
            (lines == [value.as_str()], format!("{lines:?}"))
        }),
        Assertion::Never(name, value) => of_seen(request, |seen| {
            let lines = seen.header_lines(name);
            (!lines.contains(&value.as_str()), format!("{lines:?}"))
        }),
        Assertion::Absent(name) => of_seen(request, |seen| {
            let lines = seen.header_lines(name);
            (lines.is_empty(), format!("{lines:?}"))
        }),
    };
    (!holds).then(|| format!("{assertion:?} does not hold: {found}"))
}

fn of_seen(request: Option<&&SeenRequest>, look: impl Fn(&SeenRequest) -> (bool, String)) -> (bool, String) {
    request.map_or((false, "nothing".to_owned()), |seen| look(seen))
}

/// Judges what a client made of an endpoint's answer.
pub(super) fn of_endpoint(case: &EndpointCase, observed: &Observed) -> Report {
    let mut failures = Vec::new();
    failures.extend(observed.answers.as_ref().err().cloned());
    if !case.outcomes.iter().any(|outcome| relayed(*outcome, case, observed)) {
        failures.push("none of the allowed outcomes".to_owned());
    }
    if observed.outcome.only_after_half_close {
        failures.push("no answer until the client stopped sending".to_owned());
    }
    failures.extend(poison(&observed.outcome.bytes));
    failures.extend(case.assertions.iter().filter_map(|assertion| broken(assertion, observed)));
    let expected: Vec<String> = case.outcomes.iter().map(|outcome| format!("{outcome:?}")).collect();
    Report {
        id: case.id.clone(),
        text: case.text.clone(),
        expected: expected.join("/"),
        got: observed.describe(),
        failures,
        ..Report::default()
    }
}

fn relayed(outcome: EndpointOutcome, case: &EndpointCase, observed: &Observed) -> bool {
    let finals = observed.finals();
    let answer = match finals.as_slice() {
        [answer] => *answer,
        [] => return outcome == EndpointOutcome::Truncated && observed.outcome.closed,
        _ => return false,
    };
    let expected = lenient_answer(&case.bytes, case.to_head);
    match outcome {
        EndpointOutcome::BadGateway => answer.status == 502 && answer.complete,
        EndpointOutcome::Pass => expected.is_some_and(|expected| {
            answer.complete && answer.status == expected.status && answer.body == expected.body
        }),
        // 502 is as visible as a cut, for an answer that never began.
        EndpointOutcome::Truncated => (!answer.complete && observed.outcome.closed) || answer.status == 502,
        EndpointOutcome::Tunnel => {
            answer.status == 101 && expected.is_some_and(|expected| expected.body == answer.body)
        }
    }
}

/// Marks of an answer that was meant for nobody.
pub(super) fn poison(bytes: &[u8]) -> Option<String> {
    let lower = bytes.to_ascii_lowercase();
    let holds = |needle: &[u8]| lower.windows(needle.len()).any(|window| window == needle);
    (holds(b"poison") || holds(b"x-p:")).then(|| "bytes of a stray answer reached a client".to_owned())
}
