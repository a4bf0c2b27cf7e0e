//! Routes and upstreams with captures, and the environments that register in a real etcd.

use std::time::{Duration, Instant};

use crate::support::control::replace;
use crate::support::etcd::Etcd;
use crate::support::{Client, Origin, PATIENCE, Reply, Serin, eventually};

/// The rules of the documentation.
const BRANCHES: &str = "routes:\n  \
    branches:\n    \
      hosts: [\"{app}-{branch}.dev.example.com\"]\n    \
      captures: {app: \"[a-z0-9]+\", branch: \"feature-[a-z0-9-]+\"}\n    \
      upstream: branches\n\
    upstreams:\n  \
    branches:\n    \
      discovery: {etcd: {prefix: \"/{app}_{branch}/\"}}\n";

fn rules(etcd: &Etcd, rules: &str) -> String {
    format!("state_dir: state\nsources: {{etcd: {}}}\n{rules}", etcd.source())
}

fn serving(etcd: &Etcd, more: &str) -> Serin {
    Serin::serving(&rules(etcd, more))
}

fn ask(serin: &Serin, host: &str, path: &str) -> Reply {
    Client::connect(serin.address()).request("GET", path, &[("Host", host)], b"")
}

fn status(serin: &Serin, host: &str) -> u16 {
    ask(serin, host, "/").status
}

fn says(serin: &Serin, host: &str, text: &str) {
    eventually(PATIENCE, &format!("{host} is {text}"), || ask(serin, host, "/").text() == text);
}

fn register(etcd: &Etcd, environment: &str, origin: &Origin) -> String {
    let address = origin.address();
    let key = format!("/{environment}/{}-{}", address.ip(), address.port());
    etcd.put(&key, address.to_string());
    key
}

/// The names of the upstreams there are.
fn upstreams(serin: &Serin) -> Vec<String> {
    let all: serde_json::Value = serde_json::from_str(&serin.admin_text("/api/v1/upstreams")).expect("JSON");
    let names = all.as_array().expect("a list").iter();
    names.map(|upstream| upstream["name"].as_str().expect("a name").to_owned()).collect()
}

/// What the API says of the only template.
fn template(serin: &Serin) -> serde_json::Value {
    let all: serde_json::Value = serde_json::from_str(&serin.admin_text("/api/v1/environments")).expect("JSON");
    all[0].clone()
}

#[test]
fn a_branch_that_registers_is_served_without_a_new_rule() {
    let Some(etcd) = Etcd::start() else { return };
    let (one, two, other) = (Origin::named("one"), Origin::named("two"), Origin::named("other"));
    let serin = serving(&etcd, BRANCHES);
    assert_eq!(template(&serin)["environments"], serde_json::json!([]));
    assert_eq!(template(&serin)["prefix"], "/{app}_{branch}/");
    assert_eq!(status(&serin, "shop-feature-x.dev.example.com"), 404);
    register(&etcd, "shop_feature-x", &one);
    says(&serin, "shop-feature-x.dev.example.com", "one");
    register(&etcd, "shop_feature-y", &two);
    register(&etcd, "cart_feature-x", &other);
    says(&serin, "shop-feature-y.dev.example.com", "two");
    says(&serin, "cart-feature-x.dev.example.com", "other");
    says(&serin, "shop-feature-x.dev.example.com", "one");
    assert_eq!(upstreams(&serin), ["branches.cart.feature-x", "branches.shop.feature-x", "branches.shop.feature-y"]);
    assert_eq!(serin.metric("serin_environments"), 3.0);
    assert_eq!(
        template(&serin)["environments"][0],
        serde_json::json!({
            "values": {"app": "shop", "branch": "feature-x"},
            "upstream": "branches.shop.feature-x"
        })
    );

    // Nobody has registered these, and no value of them is one the route wants.
    for host in ["shop-feature-z.dev.example.com", "shop-feature-.dev.example.com", "x.shop-feature-x.dev.example.com"]
    {
        assert_eq!(status(&serin, host), 404, "{host}");
    }
    register(&etcd, "shop_main", &one);
    register(&etcd, "shop_PRO", &one);
    register(&etcd, "my-shop_feature-x", &one);
    etcd.put("/shop_feature-w", "127.0.0.1:1");
    etcd.put("/shop_feature-w/", "127.0.0.1:1");
    register(&etcd, "last_feature-x", &one);
    says(&serin, "last-feature-x.dev.example.com", "one");
    assert_eq!(upstreams(&serin).len(), 4, "{:?}", upstreams(&serin));
    for host in ["shop-main.dev.example.com", "shop-pro.dev.example.com", "shop-feature-w.dev.example.com"] {
        assert_eq!(status(&serin, host), 404, "{host}");
    }
    assert_eq!(serin.metric("serin_rules_rejected"), 0.0);
    let explained = serin.admin_text("/api/v1/explain?url=http://shop-feature-x.dev.example.com/");
    assert!(explained.contains("\"route\":\"branches.shop.feature-x\""), "{explained}");
    let explained = serin.admin_text("/api/v1/explain?url=http://shop-feature-z.dev.example.com/");
    assert!(explained.contains("\"template\":\"branches\""), "{explained}");
}

/// The time from a registration to the first answer, over and over: the first branches, and those that come among a thousand. It is
/// told, and must not be seconds. Rules are swapped 60 times a second in the long run and a branch takes two swaps, so that those that
/// come one right after the other behind a thousand take at least 33 ms each.
#[test]
fn a_branch_serves_within_moments_of_its_registration() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    let address = origin.address().to_string();
    let serin = serving(&etcd, &BRANCHES.replace("/{app}_{branch}/\"", "/{app}_{branch}/\", most: 2000"));
    let measure = |name: &str| {
        let mut times: Vec<Duration> = (0..20)
            .map(|number| {
                let host = format!("{name}-feature-{number}.dev.example.com");
                let began = Instant::now();
                register(&etcd, &format!("{name}_feature-{number}"), &origin);
                eventually(PATIENCE, &host, || status(&serin, &host) == 200);
                began.elapsed()
            })
            .collect();
        times.sort();
        println!("{name}: from the put to 200: median {:?}, slowest {:?}", times[10], times[19]);
        assert!(times[10] < Duration::from_millis(500), "{times:?}");
    };
    measure("few");
    let keys: Vec<String> = (0..1_000).map(|number| format!("/many_feature-{number}/one")).collect();
    for some in keys.chunks(100) {
        etcd.write(&some.iter().map(|key| (key.as_str(), Some(address.as_str()))).collect::<Vec<_>>());
    }
    eventually(2 * PATIENCE, "all are live", || serin.metric("serin_environments") == 1_020.0);
    eventually(3 * PATIENCE, "the last one serves", || status(&serin, "many-feature-999.dev.example.com") == 200);
    measure("more");
}

#[test]
fn a_branch_whose_instances_have_gone_has_no_endpoints_and_stays_known() {
    let Some(etcd) = Etcd::start() else { return };
    let (origin, other) = (Origin::named("app"), Origin::named("other"));
    let host = "shop-feature-x.dev.example.com";
    let key = register(&etcd, "shop_feature-x", &origin);
    register(&etcd, "shop_feature-y", &other);
    let serin = serving(&etcd, BRANCHES);
    // What is registered at the start is served from the start.
    assert_eq!(ask(&serin, host, "/").text(), "app");
    drop(origin);
    etcd.delete(&key);
    eventually(PATIENCE, "it has no endpoint", || status(&serin, host) == 503);
    assert_eq!(upstreams(&serin).len(), 2);
    assert_eq!(ask(&serin, "shop-feature-y.dev.example.com", "/").text(), "other");
    let again = Origin::named("again");
    register(&etcd, "shop_feature-x", &again);
    says(&serin, host, "again");
}

#[test]
fn there_are_not_more_than_may_be_and_who_comes_later_waits() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    let bounded = BRANCHES.replace("/{app}_{branch}/\"", "/{app}_{branch}/\", most: 2");
    // In an order that is not that of their names.
    for branch in ["c", "a", "d", "b"] {
        register(&etcd, &format!("shop_feature-{branch}"), &origin);
    }
    let serin = Serin::start(&format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\n{}",
        rules(&etcd, &bounded)
    ));
    let live = || ["a", "b", "c", "d"].map(|branch| status(&serin, &format!("shop-feature-{branch}.dev.example.com")));
    assert_eq!(live(), [200, 404, 200, 404]);
    assert_eq!(serin.metric("serin_environments_waiting"), 2.0);
    let rejected = serin.admin_text("/api/v1/rejected");
    assert!(rejected.contains("`shop.feature-d` and those that came later wait"), "{rejected}");
    assert!(rejected.contains("upstreams.branches.discovery.etcd.most"), "{rejected}");
    // Room for all.
    let edited = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\n{}",
        rules(&etcd, &bounded.replace("most: 2", "most: 4"))
    );
    replace(&serin.config(), &edited);
    eventually(PATIENCE, "all are live", || live() == [200; 4]);
    eventually(PATIENCE, "nobody waits", || serin.metric("serin_rules_rejected") == 0.0);
}

#[test]
fn an_edit_of_a_template_reaches_what_is_live() {
    let Some(etcd) = Etcd::start() else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    register(&etcd, "shop_feature-x", &one);
    register(&etcd, "shop_fix-y", &two);
    let serin = serving(&etcd, BRANCHES);
    let host = "shop-feature-x.dev.example.com";
    assert_eq!(ask(&serin, host, "/").text(), "one");
    assert_eq!(status(&serin, "shop-fix-y.dev.example.com"), 404);
    let requests = || serin.metric_of("serin_endpoint_requests_total", "branches.shop.feature-x");
    assert_eq!(requests(), 1.0);

    let edit = |edited: &str| serin.reload_serving(&rules(&etcd, edited));
    // The route.
    edit(
        &BRANCHES.replace(
            "upstream: branches\n",
            "upstream: branches\n    filters: [{set_response_header: {x-edit: yes}}]\n",
        ),
    );
    eventually(PATIENCE, "a filter", || ask(&serin, host, "/").header("x-edit") == Some("yes"));
    // The upstream: what is known of its endpoints stays.
    let before = requests();
    edit(&BRANCHES.replace("discovery:", "health: {path: /}\n    discovery:"));
    eventually(PATIENCE, "a check", || serin.metric("serin_health_checks_total") >= 1.0);
    assert_eq!(ask(&serin, host, "/").text(), "one");
    assert_eq!(requests(), before + 1.0);
    // What values look like.
    edit(&BRANCHES.replace("feature-[a-z0-9-]+", "fix-.*"));
    says(&serin, "shop-fix-y.dev.example.com", "two");
    eventually(PATIENCE, "it is not taken any more", || status(&serin, host) == 404);
    // The hosts.
    edit(&BRANCHES.replace("{app}-{branch}.dev", "{branch}.{app}.dev"));
    says(&serin, "feature-x.shop.dev.example.com", "one");
    assert_eq!(status(&serin, host), 404);
    // The prefix: the same keys are of nobody, and others are there.
    etcd.put("/live/shop/feature-x/1", two.address().to_string());
    edit(&BRANCHES.replace("/{app}_{branch}/", "/live/{app}/{branch}/"));
    says(&serin, host, "two");
    // No template.
    edit("routes: {}\n");
    eventually(PATIENCE, "it has gone", || status(&serin, host) == 404 && upstreams(&serin).is_empty());
    edit(BRANCHES);
    says(&serin, host, "one");
}

#[test]
fn templates_in_etcd_are_templates() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    register(&etcd, "shop_feature-x", &origin);
    let serin = serving(&etcd, "");
    let host = "shop-feature-x.dev.example.com";
    etcd.put("/serin/routes/branches", "{hosts: [\"{app}-{branch}.dev.example.com\"], upstream: branches}");
    eventually(PATIENCE, "it waits for its upstream", || serin.metric("serin_rules_rejected") == 1.0);
    etcd.put("/serin/upstreams/branches", "{discovery: {etcd: {prefix: \"/{app}_{branch}/\"}}}");
    says(&serin, host, "app");
    // An upstream that does not fit its route any more stays as it was.
    etcd.put("/serin/upstreams/branches", "{discovery: {etcd: {prefix: \"/{app}/\"}}}");
    eventually(PATIENCE, "it is told", || serin.metric("serin_rules_rejected") == 1.0);
    assert_eq!(ask(&serin, host, "/").text(), "app");
    etcd.put("/serin/routes/branches", "{hosts: [\"{app}.dev.example.com\"], upstream: branches}");
    register(&etcd, "cart", &origin);
    says(&serin, "cart.dev.example.com", "app");
    // Keys of Serin's own are no registrations.
    assert_eq!(status(&serin, "serin.dev.example.com"), 404);
    assert_eq!(status(&serin, host), 404);
    eventually(PATIENCE, "nothing is wrong", || serin.metric("serin_rules_rejected") == 0.0);
}

#[test]
fn branches_serve_on_without_etcd_also_after_a_restart() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (one, two, three) = (Origin::named("one"), Origin::named("two"), Origin::named("three"));
    let hosts = ["shop-feature-x.dev.example.com", "shop-feature-y.dev.example.com"];
    register(&etcd, "shop_feature-x", &one);
    let gone = register(&etcd, "shop_feature-y", &two);
    let serin = serving(&etcd, BRANCHES);
    etcd.kill(0);
    eventually(2 * PATIENCE, "it is noticed", || template(&serin)["failure"].is_string());
    let both = |serin: &Serin| hosts.map(|host| ask(serin, host, "/").text().to_owned());
    assert_eq!(both(&serin), ["one", "two"]);
    let serin = serin.restart();
    assert_eq!(both(&serin), ["one", "two"]);
    assert_eq!(status(&serin, "shop-feature-z.dev.example.com"), 404);
    assert_eq!(serin.metric("serin_request_errors_total"), 1.0);
    // What went while nobody listened stays for a while; what came is there.
    etcd.restart(0);
    etcd.is_ready();
    etcd.delete(&gone);
    register(&etcd, "shop_feature-z", &three);
    eventually(3 * PATIENCE, "it is heard", || status(&serin, "shop-feature-z.dev.example.com") == 200);
    assert_eq!(both(&serin)[0], "one");
    assert_eq!(upstreams(&serin).len(), 3);
}

#[test]
fn what_somebody_wrote_comes_before_what_a_template_makes() {
    let Some(etcd) = Etcd::start() else { return };
    let (branch, explicit) = (Origin::named("branch"), Origin::named("explicit"));
    register(&etcd, "shop_feature-x", &branch);
    register(&etcd, "cart_feature-x", &branch);
    let more = format!(
        "routes:\n  zz: {{hosts: [cart-feature-x.dev.example.com], upstream: explicit}}\n  \
         admin: {{hosts: [shop-feature-x.dev.example.com], paths: [{{prefix: /admin}}], upstream: explicit}}\n  \
         rest: {{hosts: [\"*.dev.example.com\"], upstream: explicit}}\n\
         upstreams:\n  explicit: {{endpoints: [\"{}\"]}}\n",
        explicit.address()
    );
    let all = BRANCHES.replace("routes:\n", more.split("upstreams:\n").next().expect("routes"));
    let all =
        all.replace("upstreams:\n", &format!("upstreams:\n{}", more.split("upstreams:\n").nth(1).expect("upstreams")));
    let serin = serving(&etcd, &all);
    let text = |host: &str, path: &str| ask(&serin, host, path).text().to_owned();
    assert_eq!(text("shop-feature-x.dev.example.com", "/"), "branch");
    assert_eq!(text("shop-feature-x.dev.example.com", "/admin/x"), "explicit");
    // The same host and nothing more: whoever registers takes nothing from a route that somebody wrote.
    assert_eq!(text("cart-feature-x.dev.example.com", "/"), "explicit");
    // Nobody registered it, and somebody takes what is left.
    assert_eq!(text("shop-feature-z.dev.example.com", "/"), "explicit");
    // The name is somebody's, too.
    let named = all.replace(
        "  explicit:",
        &format!("  branches.shop.feature-x: {{endpoints: [\"{}\"]}}\n  explicit:", explicit.address()),
    );
    let generation = serin.metric("serin_rules_generation");
    crate::support::control::replace(
        &serin.config(),
        &format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\n{}",
            rules(&etcd, &named)
        ),
    );
    eventually(PATIENCE, "new rules", || serin.metric("serin_rules_generation") > generation);
    says(&serin, "shop-feature-x.dev.example.com", "explicit");
    let rejected = serin.admin_text("/api/v1/rejected");
    assert!(rejected.contains("made of a template, but already defined in"), "{rejected}");
    serin.reload_serving(&rules(&etcd, &all));
    says(&serin, "shop-feature-x.dev.example.com", "branch");
}

#[test]
fn of_two_environments_with_one_host_the_first_has_it() {
    let Some(etcd) = Etcd::start() else { return };
    let (first, second) = (Origin::named("first"), Origin::named("second"));
    let serin = serving(&etcd, &BRANCHES.replace("captures:", "#"));
    register(&etcd, "a-b_c", &first);
    says(&serin, "a-b-c.dev.example.com", "first");
    register(&etcd, "a_b-c", &second);
    eventually(PATIENCE, "it is told", || serin.metric("serin_rules_rejected") == 1.0);
    let rejected = serin.admin_text("/api/v1/rejected");
    assert!(rejected.contains("`branches.a.b-c` would have the host a-b-c.dev.example.com"), "{rejected}");
    assert!(rejected.contains("`branches.a-b.c` has"), "{rejected}");
    assert_eq!(ask(&serin, "a-b-c.dev.example.com", "/").text(), "first");
    let serin = serin.restart();
    assert_eq!(ask(&serin, "a-b-c.dev.example.com", "/").text(), "first");
}

#[test]
fn hostile_keys_do_no_harm() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    register(&etcd, "shop_feature-x", &origin);
    let serin = serving(&etcd, BRANCHES);
    let host = "shop-feature-x.dev.example.com";
    assert_eq!(ask(&serin, host, "/").text(), "app");
    let long = "a".repeat(300);
    for chunk in 0..100 {
        let keys: Vec<String> = (0..100)
            .map(|number| match number % 10 {
                0 => format!("/{chunk}_feature-{number}/x"),
                1 => format!("/{{app}}_{{branch}}/{chunk}-{number}"),
                2 => format!("/shop_feature-{long}/{chunk}-{number}"),
                3 => format!("/../_feature-x/{chunk}-{number}"),
                4 => format!("/shop_feature-é\u{0}/{chunk}-{number}"),
                5 => format!("/_/{chunk}-{number}"),
                6 => format!("/shop_feature-x.evil.example.com/{chunk}-{number}"),
                7 => format!("/SHOP_FEATURE-X/{chunk}-{number}"),
                8 => format!("/shop_feature-x/{chunk}-{number}/{long}"),
                _ => format!("//{long}_{long}/{chunk}-{number}"),
            })
            .collect();
        let all: Vec<(&str, Option<&str>)> = keys.iter().map(|key| (key.as_str(), Some("nonsense"))).collect();
        etcd.write(&all);
    }
    eventually(2 * PATIENCE, "as many as may be", || serin.metric("serin_environments") == 200.0);
    eventually(2 * PATIENCE, "all are seen", || serin.metric("serin_environments_waiting") == 801.0);
    assert_eq!(serin.metric("serin_environments_refused_keys"), 1_000.0);
    assert_eq!(ask(&serin, host, "/").text(), "app");
    eventually(PATIENCE, "they are made", || upstreams(&serin).len() == 200);
    assert!(serin.metric("serin_rules_rejected") <= 4.0, "{}", serin.admin_text("/api/v1/rejected"));
    assert_eq!(serin.metric_of("serin_request_errors_total", "internal"), 0.0);
    etcd.delete_prefix("/");
    assert_eq!(ask(&serin, host, "/").text(), "app", "it is asked whether it is there, and is");
}
