//! What the file says in each round: something of everything changes, and all of it is right.

use std::net::SocketAddr;

/// Whom the rules name.
#[derive(Clone, Copy)]
pub(super) struct Endpoints {
    pub(super) stable: [SocketAddr; 3],
    pub(super) canary: SocketAddr,
    /// Answers with the request's own `x-round` as `x-seen`.
    pub(super) echo: SocketAddr,
}

impl Endpoints {
    /// Routes, filters, weights, endpoints and the audience of a release are others in every round. That takes nobody back, or it
    /// would be refused.
    pub(super) fn rules(&self, round: u64) -> String {
        format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n\
             routes:\n  all: {{{all}, filters: [{{set_response_header: {{x-round: \"{round}\"}}}}]}}\n\
             \x20 round: {{paths: [{{exact: /round}}], upstream: echo, filters: [\
             {{set_request_header: {{x-round: \"{round}\"}}}}, {{set_response_header: {{x-round: \"{round}\"}}}}]}}\n\
             {other}upstreams:\n  app: {{endpoints: [{stable}]}}\n  canary: {{endpoints: [\"{}\"]}}\n\
             \x20 echo: {{endpoints: [\"{}\"]}}\n{nowhere}\
             releases:\n  next: {{stable: app, canary: canary, audience: [\
             {{name: office, ip: [10.{}.0.0/16], percent: 30}}, {{name: all, percent: 30}}]}}\n",
            self.canary,
            self.echo,
            round * 7 % 256,
            all = destination(round),
            other = other_routes(round),
            stable = self.stable(round),
            nowhere = unused_upstreams(round),
        )
    }

    /// One has another weight in every round. Every tenth round one leaves or another comes back: more often, and the
    /// connections that go and come with endpoints are most of the work, in the endpoints too.
    fn stable(&self, round: u64) -> String {
        let first = usize::try_from(round / 10 % 3).expect("it is small");
        let [weighted, plain, last] = [first, first + 1, first + 2].map(|turn| self.stable[turn % 3]);
        let last = if (round / 10).is_multiple_of(2) { format!(", \"{last}\"") } else { String::new() };
        format!("{{address: \"{weighted}\", weight: {}}}, \"{plain}\"{last}", 1 + round % 5)
    }
}

fn destination(round: u64) -> String {
    match round % 3 {
        0 => "upstream: app".into(),
        1 => "upstream: app, release: next".into(),
        _ => format!("split: [{{upstream: app, weight: {}}}, {{upstream: canary, weight: 1}}]", 1 + round % 9),
    }
}

/// Up to seven routes of other hosts, one of them with a name that was never there before.
fn other_routes(round: u64) -> String {
    let host = |number: u64| match number {
        0 => format!("h{round}.test"),
        _ => format!("*.n{number}.test"),
    };
    let route = |number| {
        let paths = format!("[{{prefix: /p{}}}, {{regex: \"^/r{round}/[0-9]+$\"}}]", round % 11);
        format!("  other-{number}: {{hosts: [\"{}\"], paths: {paths}, upstream: gone-{}}}\n", host(number), round % 50)
    };
    (0..=round % 7).map(route).collect()
}

/// Endpoints come and go all the time, as pods do. Nobody is sent to these.
fn unused_upstreams(round: u64) -> String {
    format!("  gone-{}: {{endpoints: [\"127.1.0.1:{}\"]}}\n", round % 50, 1 + round % 60_000)
}
