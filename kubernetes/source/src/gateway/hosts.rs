//! Hostnames: those of a listener and those of a route, and what both have.

use routing_rules::rules::HostPattern;

/// The hosts, none for all, that a route has of a listener; empty if they have none in common.
pub(super) fn common(listener: Option<&str>, route: &[String]) -> Vec<Option<String>> {
    if route.is_empty() {
        return vec![listener.map(str::to_owned)];
    }
    // What is no host is nobody's.
    let lower =
        route.iter().map(|host| host.to_ascii_lowercase()).filter(|host| HostPattern::new(&pattern(host)).is_ok());
    let mut hosts: Vec<_> = match listener {
        None => lower.map(Some).collect(),
        Some(listener) => lower.filter_map(|host| narrower(listener, &host)).map(Some).collect(),
    };
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The narrower of two that lie within each other.
fn narrower(one: &str, other: &str) -> Option<String> {
    let narrow = if has(one, other) {
        other
    } else if has(other, one) {
        one
    } else {
        return None;
    };
    Some(narrow.to_owned())
}

/// Whether all that a host may stand for is among what another may. A `*` stands for one label and for more.
fn has(wide: &str, narrow: &str) -> bool {
    match wide.strip_prefix('*') {
        Some(suffix) => {
            let below = narrow.trim_start_matches('*').strip_suffix(suffix);
            below.is_some_and(|labels| narrow.starts_with('*') || !labels.is_empty())
        }
        None => wide == narrow,
    }
}

/// As routes of Serin have it, whose single `*` is one label.
pub(super) fn pattern(host: &str) -> String {
    match host.strip_prefix("*.") {
        Some(domain) => format!("**.{domain}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_and_routes_have_in_common_what_is_narrower() {
        for (listener, route, expected) in [
            ("a.test", "a.test", Some("a.test")),
            ("a.test", "b.test", None),
            ("*.a.test", "x.a.test", Some("x.a.test")),
            ("*.a.test", "x.y.a.test", Some("x.y.a.test")),
            ("*.a.test", "a.test", None),
            ("*.a.test", "xa.test", None),
            ("x.a.test", "*.a.test", Some("x.a.test")),
            ("*.a.test", "*.a.test", Some("*.a.test")),
            ("*.a.test", "*.x.a.test", Some("*.x.a.test")),
            ("*.x.a.test", "*.a.test", Some("*.x.a.test")),
            ("*.a.test", "*.b.test", None),
            ("*.a.test", "*.xa.test", None),
            ("*.a.test", "*.*.a.test", None),
        ] {
            let expected: Vec<_> = expected.iter().map(|host| Some((*host).to_owned())).collect();
            assert_eq!(common(Some(listener), &[route.into()]), expected, "{listener} and {route}");
        }
        assert_eq!(common(None, &[]), [None]);
        assert_eq!(common(Some("*.a"), &[]), [Some("*.a".into())]);
        assert_eq!(common(None, &["B".into(), "a".into(), "b".into()]), [Some("a".into()), Some("b".into())]);
    }
}
