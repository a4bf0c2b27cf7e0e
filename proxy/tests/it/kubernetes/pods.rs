//! Pods come and go while requests are under way.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::channel;
use std::thread;

use crate::support::kubernetes::{Cluster, Pod, answers, get_of, says};
use crate::support::{Client, Origin, PATIENCE, eventually};

#[test]
fn a_pod_gets_requests_while_it_is_ready_and_one_that_ends_keeps_those_it_has() {
    let (tell, told) = channel::<()>();
    let told = std::sync::Mutex::new(told);
    let old = Origin::start(move |visit| {
        visit.read_body()?;
        if visit.request.target == "/slow" {
            let _ = told.lock().unwrap().recv();
        }
        visit.answer(200, &[], b"old")
    });
    let new = Origin::named("new");
    let cluster = Cluster::with_web(&old);
    cluster.ingress_of("shop", "shop.example.com", "web");
    let serin = cluster.followed("");
    says(&serin, "shop.example.com", "/", "old");
    let mut slow = Client::connect(serin.address());
    slow.send("GET /slow HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
    old.wait_until("it has the slow one", |log| log.requests.iter().any(|request| request.target == "/slow"));
    cluster.slice("web", "web-2", &[(new.address(), Pod::Starting)]);
    cluster.slice("web", "web-2", &[(new.address(), Pod::Ready)]);
    cluster.slice("web", "web-1", &[(old.address(), Pod::Ending)]);
    says(&serin, "shop.example.com", "/", "new");
    let before = old.requests().len();
    (0..50).for_each(|_| assert_eq!(get_of(&serin, "shop.example.com", "/").text(), "new"));
    assert_eq!(old.requests().len(), before);
    tell.send(()).unwrap();
    assert_eq!(slow.reply().text(), "old");
    // Where there is no other, one that still serves is better than none; and then there is none.
    cluster.slice("web", "web-2", &[(new.address(), Pod::Ending)]);
    cluster.0.remove("EndpointSlice", "shop", "web-1");
    eventually(PATIENCE, "only the new one is left", || {
        (0..20).all(|_| get_of(&serin, "shop.example.com", "/").text() == "new")
    });
    cluster.0.remove("EndpointSlice", "shop", "web-2");
    answers(&serin, "shop.example.com", "/", 503);
    cluster.slice("web", "web-1", &[(old.address(), Pod::Ready)]);
    says(&serin, "shop.example.com", "/", "old");
}

/// What a rolling update does to ten pods, in the order in which a Deployment does it: a new pod, which becomes ready; an old one that ends,
/// gets no new requests, and goes a while later.
#[test]
fn a_rolling_update_of_ten_pods_loses_no_request() {
    let cluster = Cluster::start();
    cluster.service("web");
    let pods = |name: &'static str| -> Vec<Origin> { (0..10).map(|_| Origin::named(name)).collect() };
    let slice =
        |index: usize, pod: &Origin, how| cluster.slice("web", &format!("web-{index}"), &[(pod.address(), how)]);
    let mut old: Vec<Option<Origin>> = pods("old").into_iter().map(Some).collect();
    for (index, pod) in old.iter().flatten().enumerate() {
        slice(index, pod, Pod::Ready);
    }
    cluster.ingress_of("shop", "shop.example.com", "web");
    let serin = cluster.followed("");
    says(&serin, "shop.example.com", "/", "old");
    let (address, served, is_over) = (serin.address(), AtomicUsize::new(0), std::sync::atomic::AtomicBool::new(false));
    let failed: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let news = pods("new");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while !is_over.load(Relaxed) {
                    let reply = client.request("GET", "/", &[("Host", "shop.example.com")], b"");
                    if reply.status != 200 {
                        failed.lock().unwrap().push(format!("{} {}", reply.status, reply.text()));
                    }
                    served.fetch_add(1, Relaxed);
                }
            });
        }
        for (index, new) in news.iter().enumerate() {
            slice(10 + index, new, Pod::Starting);
            slice(10 + index, new, Pod::Ready);
            new.wait_until("it has requests", |log| !log.requests.is_empty());
            let ending = old[index].take().unwrap();
            slice(index, &ending, Pod::Ending);
            // The pod waits as long as a `preStop` hook makes it: until nobody sends it anything any more.
            eventually(PATIENCE, "it gets no more requests", || {
                let before = (ending.requests().len(), served.load(Relaxed));
                eventually(PATIENCE, "others do", || served.load(Relaxed) > before.1 + 200);
                ending.requests().len() == before.0
            });
            cluster.0.remove("EndpointSlice", "shop", &format!("web-{index}"));
            drop(ending);
        }
        is_over.store(true, Relaxed);
    });
    assert_eq!(*failed.lock().unwrap(), Vec::<String>::new());
    assert!(served.load(Relaxed) > 2_000);
    assert_eq!(get_of(&serin, "shop.example.com", "/").text(), "new");
}

#[test]
fn a_service_that_comes_later_is_served_and_one_that_is_missing_is_told() {
    let web = Origin::named("web");
    let cluster = Cluster::start();
    cluster.ingress_of("shop", "shop.example.com", "web");
    let serin = cluster.followed("");
    answers(&serin, "shop.example.com", "/", 503);
    let is_about_it = |event: &serde_json::Value| event["regarding"]["name"] == "shop" && event["reason"] == "Missing";
    let event = cluster.0.wait_for_event(is_about_it, PATIENCE);
    assert_eq!(event["note"], "there is no Service shop/web: its requests get 503");
    let told = serin.admin_text("/api/v1/upstreams");
    assert!(
        told.contains("pods of Service shop/web, port http") && told.contains("there is no Service shop/web"),
        "{told}"
    );
    cluster.slice("web", "web-1", &[(web.address(), Pod::Ready)]);
    cluster.service("web");
    says(&serin, "shop.example.com", "/", "web");
}

#[test]
fn pods_serve_rules_of_files_too() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    let rules =
        "routes: {all: {upstream: web}}\nupstreams: {web: {discovery: {kubernetes: {service: shop/web, port: 80}}}}\n";
    let serin = cluster.begun_with("", rules);
    says(&serin, "any.example.com", "/", "web");
    // Without a cluster it is told, and nothing else is harmed.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = Origin::named_on(listener, "other");
    let serin = crate::support::Serin::serving(&format!(
        "routes: {{all: {{upstream: web}}, other: {{paths: [{{prefix: /other}}], upstream: other}}}}\n\
         upstreams: {{web: {{discovery: {{kubernetes: {{service: shop/web, port: 80}}}}}}, other: {{endpoints: [\"{}\"]}}}}\n",
        other.address()
    ));
    answers(&serin, "any.example.com", "/", 503);
    assert_eq!(get_of(&serin, "any.example.com", "/other").text(), "other");
    assert!(serin.admin_text("/api/v1/upstreams").contains("`sources.kubernetes` is not set"));
}
