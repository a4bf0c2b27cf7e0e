//! Requests counted by route and by release group: right through reloads, and gone some time after their route.

use crate::support::{Origin, Serin};

/// Answers with the status that the target names.
fn obedient() -> Origin {
    Origin::start(|visit| {
        let status = visit.request.target.rsplit('/').next().and_then(|status| status.parse().ok()).unwrap_or(200);
        visit.answer(status, &[], b"")
    })
}

fn routes(origin: &Origin, routes: &str) -> String {
    format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\nroutes: {{{routes}}}\n",
        origin.address()
    )
}

const SHOP: &str = "shop: {upstream: app, paths: [{prefix: /shop}]}";
const OLD: &str = "old: {paths: [{prefix: /old}], filters: [{redirect: {path: /shop}}]}";
const BLOG: &str = "blog: {upstream: app, paths: [{prefix: /blog}]}";

fn requests(serin: &Serin, route: &str) -> f64 {
    serin.metric_of("serin_route_requests_total", &format!("route=\"{route}\""))
}

#[test]
fn routes_are_counted_by_status_class_and_duration() {
    let origin = obedient();
    let serin = Serin::start(&routes(&origin, &format!("{SHOP}, {OLD}")));
    let mut client = serin.client();
    let targets = ["/shop", "/shop/204", "/shop/404", "/shop/503", "/old", "/nowhere"];
    targets.iter().for_each(|target| drop(client.get(target)));
    let of = |labels: &str| serin.metric_of("serin_route_requests_total", labels);
    assert_eq!(of("{route=\"shop\",code=\"2xx\"}"), 2.0);
    assert_eq!(of("{route=\"shop\",code=\"4xx\"}"), 1.0);
    assert_eq!(of("{route=\"shop\",code=\"5xx\"}"), 1.0);
    assert_eq!(of("{route=\"old\",code=\"3xx\"}"), 1.0);
    assert_eq!(of(""), 5.0, "what no route takes is no route's");
    assert_eq!(serin.metric_of("serin_route_request_duration_seconds_count", "{route=\"shop\"}"), 4.0);
    assert_eq!(serin.metric_of("serin_route_request_duration_seconds_bucket", "{route=\"shop\",le=\"+Inf\"}"), 4.0);
    assert!(serin.metric_of("serin_route_request_duration_seconds_sum", "{route=\"shop\"}") > 0.0);
}

#[test]
fn counts_belong_to_the_name_whatever_is_reloaded() {
    let origin = obedient();
    let serin = Serin::start(&routes(&origin, &format!("{SHOP}, {OLD}")));
    serin.client().get("/shop");
    serin.client().get("/old");
    serin.reload(&routes(&origin, &format!("{SHOP}, {OLD}, {BLOG}")));
    assert_eq!((requests(&serin, "shop"), requests(&serin, "blog")), (1.0, 0.0));
    // The blog gets the number that the shop had.
    serin.reload(&routes(&origin, OLD));
    serin.reload(&routes(&origin, &format!("{OLD}, {BLOG}")));
    serin.client().get("/blog");
    serin.client().get("/old");
    assert_eq!((requests(&serin, "shop"), requests(&serin, "old"), requests(&serin, "blog")), (1.0, 2.0, 1.0));
    serin.reload(&routes(&origin, &format!("{OLD}, {BLOG}, {SHOP}")));
    serin.client().get("/shop/500");
    assert_eq!(requests(&serin, "shop"), 2.0, "it is back and goes on");
}

#[test]
fn a_request_that_ends_after_its_route_has_gone_counts_for_it() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |visit| {
        let _ = wait.lock().unwrap().recv();
        visit.answer(200, &[], b"late")
    });
    let serin = Serin::start(&routes(&origin, SHOP));
    let mut client = serin.client();
    client.send("GET /shop HTTP/1.1\r\nHost: a.test\r\n\r\n");
    origin.wait_until("the request", |log| log.requests.len() == 1);
    serin.reload(&routes(&origin, BLOG));
    go.send(()).unwrap();
    assert_eq!(client.reply().text(), "late");
    assert_eq!((requests(&serin, "shop"), requests(&serin, "blog")), (1.0, 0.0));
}

#[test]
fn releases_are_counted_by_the_group_that_served() {
    let (stable, canary) = (Origin::named("stable"), Origin::named("canary"));
    let rules = |weight: u32| {
        format!(
            "routes: {{shop: {{upstream: stable, release: v2}}}}\n\
             upstreams: {{stable: {{endpoints: [\"{}\"]}}, canary: {{endpoints: [{{address: \"{}\", weight: {weight}}}]}}}}\n\
             releases: {{v2: {{stable: stable, canary: canary, audience: [{{name: all, percent: 50}}], sticky: {{key: [{{header: x-user}}]}}}}}}\n",
            stable.address(),
            canary.address()
        )
    };
    let serin = Serin::serving(&rules(1));
    let mut client = serin.client();
    let mut by_canary = 0;
    for user in 0..40 {
        let reply = client.request("GET", "/", &[("x-user", &user.to_string())], b"");
        by_canary += u32::from(reply.text() == "canary");
    }
    let of = |group: &str| {
        let labels = format!("{{release=\"v2\",group=\"{group}\",code=\"2xx\"}}");
        serin.metric_of("serin_release_requests_total", &labels)
    };
    assert!((1..40).contains(&by_canary), "{by_canary}");
    assert_eq!((of("canary"), of("stable")), (f64::from(by_canary), f64::from(40 - by_canary)));
    assert_eq!(serin.metric_of("serin_release_request_duration_seconds_count", ""), 40.0);
    assert_eq!(serin.metric_of("serin_route_requests_total", "route=\"shop\""), 40.0);
    serin.reload_serving(&rules(0));
    for user in 0..40 {
        assert_eq!(client.request("GET", "/", &[("x-user", &user.to_string())], b"").text(), "stable");
    }
    assert_eq!((of("canary"), of("stable")), (f64::from(by_canary), f64::from(80 - by_canary)));
}
