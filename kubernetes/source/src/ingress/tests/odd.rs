//! Values that nobody means: whatever is written, rules are right, and what is not understood is told.

use super::*;

const ODD: [&str; 32] = [
    "",
    " ",
    "true",
    "false",
    "off",
    "-1",
    "0",
    "1",
    "4294967296",
    "99999999999999999999999",
    "1.5",
    "ü",
    "\u{0}",
    "a\nb: c",
    "\"",
    "\\",
    "/",
    "//",
    "/%2e%2e",
    "/a?b#c",
    "$",
    "$1",
    "/$2$1",
    "http://",
    "https://:/",
    "https://a:99999/$host",
    "https://$host$request_uri",
    "http://a..b/x",
    "https://-:0",
    "*",
    "0.0.0.0/0,::/129",
    "(",
];

/// What makes others mean something.
const BESIDE: [&[(&str, &str)]; 5] = [
    &[],
    &[("enable-cors", "true"), ("affinity", "cookie"), ("backend-protocol", "HTTPS"), ("limit-rps", "1")],
    &[("auth-url", "http://a.b.svc"), ("mirror-target", "http://c.d.svc"), ("permanent-redirect", "/x")],
    &[("canary", "true"), ("canary-by-header", "x")],
    &[("auth-type", "basic"), ("auth-secret", "users"), ("use-regex", "true"), ("rewrite-target", "/$1")],
];

/// Each value stands in an Ingress of its own, beside one without annotations that a canary may take users of.
#[test]
fn odd_values_make_no_wrong_rules() {
    for known in known::all() {
        for beside in BESIDE {
            let mut cluster = Cluster::default().with(service("web")).with(service("next"));
            for (number, value) in ODD.iter().enumerate() {
                let of = |service: &str| {
                    let paths = [path("ImplementationSpecific", "/a(/|$)(.*)", service)];
                    ingress(
                        &format!("{service}{number}"),
                        1,
                        json!({"rules": [rule(&format!("{number}.example.com"), &paths)]}),
                    )
                };
                let annotations = [beside, &[(known.name, value)]].concat();
                cluster = cluster.with(annotated(of("next"), &annotations));
                if annotations.contains(&("canary", "true")) {
                    cluster = cluster.with(of("web"));
                }
            }
            accepted(&cluster);
        }
    }
}

#[test]
fn nothing_that_has_no_effect_is_passed_over() {
    for known in known::all().filter(|known| !known.has_effect()) {
        let (_, findings) = shop_route(&[(known.name, "some"), ("auth-url", "http://a.b.svc")]);
        assert!(findings.iter().any(|finding| finding.contains(&known.key())), "{}: {findings:?}", known.name);
    }
}

/// Paths with all kinds of signs.
#[test]
fn odd_paths_make_no_wrong_rules() {
    for text in [
        "",
        "(",
        "/(",
        "/(/.*)",
        "/(.*)",
        "(/|$)(.*)",
        "/a(/.*)?",
        "/.*",
        "^$",
        "/a\\",
        "/ü(.*)",
        "/a?b",
        "/%zz",
        "/a/../(.*)",
    ] {
        for kind in ["Exact", "Prefix", "ImplementationSpecific"] {
            for target in ["", "/", "/$1", "$2", "/x/$1", "/%zz", "/a#b"] {
                let rules = json!({"rules": [rule("shop.example.com", &[path(kind, text, "web")])]});
                let odd = annotated(ingress("odd", 1, rules), &[("rewrite-target", target), ("use-regex", "true")]);
                Cluster::default().with(service("web")).with(odd).translated();
            }
        }
    }
}
