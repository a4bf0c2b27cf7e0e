//! What is decided for every request: route, group, endpoint, and the canonical forms they stand on.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Method;
use http::header::{COOKIE, HeaderMap, HeaderValue, USER_AGENT};
use routing_rules::balance::{Schedule, Split};
use routing_rules::release::{Moment, ReleaseContext, Secret};
use routing_rules::request::{RequestView, canonical};
use routing_rules::table::RouteTable;
use serin_micro::{Draws, SIZES, Target, rules, spec};
use serin_proxy::snapshot::{Compared, Comparison, FirstAttempt};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A hot request is what a busy site asks all the time; uniform over all routes is the worst case, where every look into
/// the table misses the processor's caches. `text` is what making the request's text costs: take it off both others.
fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find");
    let headers = HeaderMap::new();
    let client = [192, 0, 2, 1].into();
    for size in SIZES {
        let table = RouteTable::compile(&rules(&spec(size)), &ReleaseContext::default());
        let mut target = Target::default();
        let mut look = |route: usize| {
            let (host, path) = target.of(route);
            let view = RequestView::new(&Method::GET, host, path, &headers, client);
            let found = table.find(&view).expect("every route is there").id();
            black_box(found);
        };
        group.bench_function(BenchmarkId::new("hot: one route", size), |bencher| {
            bencher.iter(|| look(black_box(size / 2)));
        });
        let mut draws = Draws::new();
        group.bench_function(BenchmarkId::new("hot: 64 routes", size), |bencher| {
            bencher.iter(|| look(draws.below(64) * (size / 100)));
        });
        group.bench_function(BenchmarkId::new("uniform over all routes", size), |bencher| {
            bencher.iter(|| look(draws.below(size)));
        });
        group.bench_function(BenchmarkId::new("text", size), |bencher| {
            let mut target = Target::default();
            bencher.iter(|| black_box(target.of(draws.below(size))).0.len());
        });
    }
    group.finish();
}

fn assign(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("assign");
    let context = ReleaseContext { secret: Secret::from_bytes([7; 32]), ..ReleaseContext::default() };
    let table = RouteTable::compile(&release_rules(), &context);
    let (_, release) = table.releases().next().expect("there is a release");
    let moment = Moment { unix_secs: 1_800_000_000, draw: [1, 2] };
    let (office, anywhere) = ([10, 8, 0, 7].into(), [198, 51, 100, 7].into());
    let campus = [203, 0, 113, 7].into();

    let mut signed_in = HeaderMap::new();
    signed_in.insert(COOKIE, HeaderValue::from_static("theme=dark; uid=4711; lang=en"));
    let mut phone = signed_in.clone();
    phone.insert(USER_AGENT, HeaderValue::from_static(IPHONE));
    let mut pinned = HeaderMap::new();
    let cookies = release.assigner.assign(&view(&signed_in, office), &moment);
    let pin = cookies.cookies(false).next().expect("the office is in the canary group");
    let pin = pin.to_str().expect("a cookie is text").split(';').next().expect("it has a value");
    pinned.insert(COOKIE, HeaderValue::from_str(pin).expect("it is a header value"));
    let empty = HeaderMap::new();

    let cases = [
        ("first rule, by address", &signed_in, office),
        ("second rule, by device", &phone, campus),
        ("last rule, cookie key", &signed_in, anywhere),
        ("last rule, address key", &empty, anywhere),
        ("pin", &pinned, anywhere),
    ];
    for (name, headers, client) in cases {
        group.bench_function(name, |bencher| {
            bencher.iter(|| release.assigner.assign(black_box(&view(headers, client)), &moment).group);
        });
    }
    group.bench_function("the pin's cookie, signed", |bencher| {
        bencher.iter(|| cookies.cookies(false).count());
    });
    group.finish();
}

/// What a request pays for being compared: `saw` when it is placed, `count` when its first attempt has ended.
fn compare(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compare");
    let table = RouteTable::compile(&release_rules(), &ReleaseContext::default());
    let (_, release) = table.releases().next().expect("there is a release");
    let moment = Moment { unix_secs: 1_800_000_000, draw: [1, 2] };
    let users: Vec<HeaderMap> = (0..10_000).map(of_user).collect();
    let client = [198, 51, 100, 7].into();
    let assignments: Vec<_> =
        users.iter().map(|headers| release.assigner.assign(&view(headers, client), &moment)).collect();
    let comparison = Comparison::new(&release.assigner, 1);
    let mut draws = Draws::new();
    for (name, count) in [("saw: 100 users", 100), ("saw: 10,000 users", users.len())] {
        let mut requests = 0_u64;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                requests += 1;
                let user = draws.below(count);
                // So many requests a second as a worker may serve.
                let now = moment.unix_secs + requests / 30_000;
                comparison.saw(0, black_box(&view(&users[user], client)), &assignments[user], now);
            });
        });
    }
    for (name, first) in [("count: answered", None), ("count: failed", Some(FirstAttempt::Failed))] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let user = draws.below(users.len());
                let compared = Compared::new(&assignments[user]).expect("users have a bucket");
                let after_us = Some(500 + draws.below(20_000) as u64);
                let first = first.unwrap_or(FirstAttempt::Answered { after_us });
                comparison.count(0, black_box(&compared), Some(user % 16), first);
            });
        });
    }
    group.bench_function("draws alone", |bencher| bencher.iter(|| draws.below(users.len()) + draws.below(20_000)));
    group.finish();
}

fn of_user(number: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, format!("uid={number}").parse().expect("a cookie is text"));
    headers.insert(USER_AGENT, HeaderValue::from_static(IPHONE));
    headers
}

fn view<'a>(headers: &'a HeaderMap, client: std::net::IpAddr) -> RequestView<'a> {
    RequestView::new(&Method::GET, "shop.example.com", "/cart", headers, client)
}

fn release_rules() -> routing_rules::rules::RuleSet {
    let text = r#"{
        "routes": {"shop": {"upstream": "shop", "release": "shop-v2"}},
        "upstreams": {"shop": {"endpoints": ["10.0.0.1:80"]}, "shop-v2": {"endpoints": ["10.0.0.2:80"]}},
        "releases": {"shop-v2": {
            "stable": "shop", "canary": "shop-v2", "phases": [10, 100],
            "audience": [
                {"name": "office", "ip": ["10.8.0.0/16"], "percent": 100},
                {"name": "campus iPhones", "ip": ["203.0.113.0/24"], "device": ["iphone"], "percent": 50},
                {"name": "everyone"}
            ],
            "sticky": {"key": [{"cookie": "uid"}, "client_ip"]}
        }}
    }"#;
    rules(&serde_json::from_str(text).expect("the rules are JSON"))
}

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for size in [3, 100, 1_000] {
        let schedule = Schedule::new(&vec![1.0; size]);
        let mut seq = 0;
        group.bench_function(BenchmarkId::new("equal weights", size), |bencher| {
            bencher.iter(|| schedule.next(black_box(&mut seq)));
        });
        let weights: Vec<f64> = (0..size).map(|place| 1.0 / (1 + place % 4) as f64).collect();
        let schedule = Schedule::new(&weights);
        group.bench_function(BenchmarkId::new("weights 1 to 1/4", size), |bencher| {
            bencher.iter(|| schedule.next(black_box(&mut seq)));
        });
    }
    let split = Split::new(&[90, 9, 1]).expect("there are weights");
    let mut draws = Draws::new();
    group.bench_function("split in three", |bencher| {
        bencher.iter(|| split.pick(black_box(draws.below(usize::MAX) as u64)));
    });
    group.finish();
}

fn canonical_forms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("canonical");
    for (name, text) in [("host, plain", "shop.example.com"), ("host, capitals and port", "Shop.Example.COM:8080")] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| canonical::host(black_box(text.as_bytes())).map(|host| host.name().len()));
        });
    }
    let paths = [
        ("path, plain", "/catalogue/garden/chairs/4711"),
        ("path, escapes that stay", "/catalogue/gr%C3%BCn/caf%C3%A9"),
        ("path, dots and slashes", "/catalogue//garden/./tables/../chairs/%34711"),
    ];
    for (name, text) in paths {
        group.bench_function(name, |bencher| {
            bencher.iter(|| canonical::path(black_box(text.as_bytes())).map(|path| path.len()));
        });
    }
    group.finish();
}

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/18.1 Mobile/15E148 Safari/604.1";

fn short() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = request;
    config = short();
    targets = find, assign, compare, pick, canonical_forms
}
criterion_main!(request);
