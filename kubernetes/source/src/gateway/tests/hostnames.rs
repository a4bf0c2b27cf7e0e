//! Hostnames of listeners and of routes.

use super::*;

fn listener(name: &str, hostname: &str) -> Value {
    and(http(name), json!({"hostname": hostname}))
}

#[test]
fn a_route_is_served_for_what_it_has_in_common_with_listeners() {
    let listeners = json!([
        listener("exact", "very.specific.test"),
        listener("wild", "*.wildcard.test"),
        listener("another", "*.another.test"),
    ]);
    let of = |name: &str, hosts: Value, service: &str| {
        with_spec(route(name, 0, json!([prefix("/", service)])), "hostnames", hosts)
    };
    let outcome = Cluster::new()
        .with(gateway("web", 0, listeners))
        .with(of("exact", json!(["non.matching.test", "*.nonmatching.test", "very.specific.test"]), "one"))
        .with(of(
            "wild",
            json!(["non.matching.test", "wildcard.test", "foo.wildcard.test", "*.bar.wildcard.test"]),
            "two",
        ))
        .with(of("all", json!(["*.another.test"]), "three"))
        .with(of("none", json!(["other.test", "*.other.test"]), "one"))
        .translated();
    outcome.check(&[
        ("GET very.specific.test/", "shop.one.80"),
        ("GET non.matching.test/", "none"),
        ("GET foo.nonmatching.test/", "none"),
        ("GET foo.wildcard.test/", "shop.two.80"),
        ("GET x.y.bar.wildcard.test/", "shop.two.80"),
        ("GET wildcard.test/", "none"),
        ("GET bar.wildcard.test/", "none"),
        ("GET a.another.test/", "shop.three.80"),
        ("GET a.b.another.test/", "shop.three.80"),
        ("GET another.test/", "none"),
        ("GET other.test/", "none"),
    ]);
    assert_eq!(outcome.route_conditions("HTTPRoute shop/exact"), GOOD);
    let refused = ["Accepted=False NoMatchingListenerHostname", "ResolvedRefs=True ResolvedRefs"];
    assert_eq!(outcome.route_conditions("HTTPRoute shop/none"), refused);
    let attached = ["exact", "wild", "another"].map(|name| outcome.listener("shop/web", name).0);
    assert_eq!(attached, [1, 1, 1]);
}

#[test]
fn routes_without_hostnames_have_those_of_their_listeners() {
    let listeners = json!([
        listener("bar", "bar.test"),
        listener("foo-bar", "foo.bar.test"),
        listener("wild", "*.bar.test"),
        listener("other", "*.foo.test"),
    ]);
    let at = |name: &str, sections: &[&str], service: &str| {
        let parents: Vec<_> = sections.iter().map(|section| json!({"name": "web", "sectionName": section})).collect();
        with_spec(route(name, 0, json!([prefix("/", service)])), "parentRefs", json!(parents))
    };
    let outcome = Cluster::new()
        .with(gateway("web", 0, listeners))
        .with(at("a", &["bar", "foo-bar"], "one"))
        .with(at("b", &["wild"], "two"))
        .with(at("c", &["other"], "three"))
        .translated();
    outcome.check(&[
        ("GET bar.test/", "shop.one.80"),
        ("GET foo.bar.test/", "shop.one.80"),
        ("GET baz.bar.test/", "shop.two.80"),
        ("GET x.foo.bar.test/", "shop.two.80"),
        ("GET x.foo.test/", "shop.three.80"),
        ("GET no.test/", "none"),
    ]);
    let parents = outcome.status("HTTPRoute shop/a")["parents"].as_array().unwrap();
    let sections: Vec<_> = parents.iter().map(|parent| &parent["parentRef"]["sectionName"]).collect();
    assert_eq!(sections, ["bar", "foo-bar"]);
}

#[test]
fn longer_domains_go_before_shorter_ones() {
    let of = |name: &str, host: &str, service: &str| {
        with_spec(route(name, 0, json!([prefix("/", service)])), "hostnames", json!([host]))
    };
    let outcome = Cluster::with_gateway()
        .with(of("a", "*.test", "one"))
        .with(of("b", "*.A.test", "two"))
        .with(of("c", "x.a.test", "three"))
        .translated();
    outcome.check(&[
        ("GET b.test/", "shop.one.80"),
        ("GET a.test/", "shop.one.80"),
        ("GET y.a.test/", "shop.two.80"),
        ("GET z.y.a.test/", "shop.two.80"),
        ("GET x.a.test/", "shop.three.80"),
    ]);
}
