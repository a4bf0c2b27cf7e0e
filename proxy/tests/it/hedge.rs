//! The same request at a second endpoint, when the first takes long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::support::{Origin, PATIENCE, Serin, Then};

/// An endpoint that takes so many ms, and then answers or closes the connection.
struct Endpoint {
    origin: Origin,
    takes_ms: Arc<AtomicU64>,
    served: Arc<AtomicUsize>,
}

fn endpoint(name: &'static str, takes_ms: u64, answers: bool) -> Endpoint {
    let (takes_ms, served) = (Arc::new(AtomicU64::new(takes_ms)), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (Arc::clone(&takes_ms), Arc::clone(&served));
    let origin = Origin::start(move |visit| {
        visit.read_body()?;
        count.fetch_add(1, Relaxed);
        std::thread::sleep(Duration::from_millis(wait.load(Relaxed)));
        if answers { visit.answer(200, &[], name.as_bytes()) } else { Ok(Then::Close) }
    });
    Endpoint { origin, takes_ms, served }
}

fn serving(endpoints: &[&Endpoint], route: &str) -> Serin {
    let endpoints: Vec<String> = endpoints.iter().map(|endpoint| endpoint.origin.address().to_string()).collect();
    Serin::serving(&format!(
        "routes: {{all: {{upstream: app, {route}}}}}\nupstreams: {{app: {{endpoints: {endpoints:?}, balance: round_robin, breaker: false, \
         retry: {{budget: 100%}}}}}}\n"
    ))
}

#[test]
fn who_answers_first_serves() {
    let (slow, quick) = (endpoint("slow", 400, true), endpoint("quick", 0, true));
    let serin = serving(&[&slow, &quick], "hedge: {after: 20ms}");
    let mut client = serin.client();
    for _ in 0..10 {
        let began = Instant::now();
        let reply = client.get("/");
        assert_eq!((reply.status, reply.text()), (200, "quick"));
        assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
    }
    let tried = slow.served.load(Relaxed);
    assert!(tried >= 5, "round robin chose it as often");
    assert_eq!(serin.metric_of("serin_endpoint_hedges_total", &quick.origin.address().to_string()), tried as f64);
    // A second one is slow, too: the first serves as if nothing had been.
    quick.takes_ms.store(400, Relaxed);
    slow.takes_ms.store(60, Relaxed);
    let served: Vec<String> = (0..4).map(|_| client.get("/").text().to_owned()).collect();
    assert_eq!(served, ["slow"; 4]);
    serin.wait_until_quiet(PATIENCE);
}

#[test]
fn what_must_not_be_repeated_is_not() {
    let (one, two) = (endpoint("one", 60, true), endpoint("two", 60, true));
    let serin = serving(&[&one, &two], "hedge: {after: 5ms}");
    let mut client = serin.client();
    assert_eq!(client.request("POST", "/", &[], b"").status, 200);
    assert_eq!(client.request("PUT", "/", &[], b"body").status, 200);
    assert_eq!(one.served.load(Relaxed) + two.served.load(Relaxed), 2);
    assert_eq!(serin.metric("serin_endpoint_hedges_total"), 0.0);
}

#[test]
fn one_that_fails_leaves_it_to_the_other() {
    for (first_answers, second_answers) in [(false, true), (true, false)] {
        let first = endpoint("first", 600, first_answers);
        let second = endpoint("second", 300, second_answers);
        let serin = serving(&[&first, &second], "hedge: {after: 20ms}");
        let mut client = serin.client();
        let replies = [(); 2].map(|()| client.get("/"));
        let good = if first_answers { "first" } else { "second" };
        assert!(replies.iter().all(|reply| reply.text() == good), "{:?}", replies.each_ref().map(|reply| reply.text()));
        serin.wait_until_quiet(PATIENCE);
    }
}

#[test]
fn hedges_keep_to_the_budget_of_retries() {
    let (one, two) = (endpoint("one", 15, true), endpoint("two", 15, true));
    let endpoints = [&one, &two].map(|endpoint| endpoint.origin.address().to_string());
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: app, hedge: {{after: 1ms}}}}}}\nupstreams: {{app: {{endpoints: {endpoints:?}, retry: {{budget: 10%}}}}}}\n"
    ));
    let mut client = serin.client();
    (0..100).for_each(|_| assert_eq!(client.get("/").status, 200));
    let sent = one.served.load(Relaxed) + two.served.load(Relaxed);
    assert!((103..=110).contains(&sent), "{sent}");
}
