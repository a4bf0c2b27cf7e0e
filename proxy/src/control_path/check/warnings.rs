//! What is right and yet hardly meant: rules that nothing uses, or that no request can reach.

use std::net::SocketAddr;
use std::sync::Arc;

use routing_rules::rules::{AcmeChallenge, Certificate, Kind, Listener, Name, Route, RuleSet, Upstream};
use routing_rules::table::{Example, Neighbours, Pair, RouteTable};

use super::places;
use crate::control_path::catalog::Catalog;
use crate::control_path::certificates::Finding;
use crate::control_path::decode::Problem;
use crate::settings::Settings;

/// Where a warning belongs, within the main file or an object, and what it says.
type Found = Vec<(Option<(Kind, Name)>, &'static str, String)>;

/// Everything to warn of, in the order of the files.
pub(super) fn find(
    main: &str,
    settings: &Settings,
    catalog: &mut Catalog,
    table: &RouteTable,
    certificates: Vec<Finding>,
) -> Vec<Problem> {
    let rules = catalog.rules();
    let mut found = Found::new();
    missing(rules, &mut found);
    unreachable(rules, table, &mut found);
    unused(rules, &mut found);
    upstreams(rules, &mut found);
    addresses(rules, settings, &mut found);
    tls(rules, &mut found);
    found.extend(certificates.into_iter().map(|(kind, name, field, reason)| (Some((kind, name)), field, reason)));
    found.extend(places::unusable(settings).map(|(field, reason)| (None, field, reason)));
    let warning = |(object, field, reason): (Option<(Kind, Name)>, &'static str, String)| match object {
        Some((kind, name)) => catalog.problem(kind, name.as_str(), field, reason),
        None => catalog.problem_at(&main.into(), field.to_owned(), reason),
    };
    let mut warnings: Vec<Problem> = found.into_iter().map(warning).collect();
    super::sort(&mut warnings);
    warnings
}

fn missing(rules: &RuleSet, found: &mut Found) {
    if rules.listeners().len() == 0 {
        found.push((None, "", "there is no listener, so no request comes in".into()));
    }
    if rules.routes().len() + rules.route_templates().len() == 0 {
        found.push((None, "", "there is no route, so every request is answered with 404".into()));
    }
}

fn unreachable(rules: &RuleSet, table: &RouteTable, found: &mut Found) {
    let neighbours = Neighbours::new(rules);
    let listeners: Vec<&str> = rules.listeners().map(|listener| listener.name().as_str()).collect();
    for route in rules.routes().filter(|route| !is_reached(route, table, &listeners)) {
        let hiders = neighbours.hiding(route);
        if !hiders.is_empty() {
            let names: Vec<String> = hiders.iter().map(|name| format!("`{name}`")).collect();
            let reason =
                format!("no request reaches this route: all of them match {}, with precedence", names.join(" or "));
            found.push((Some((Kind::Route, route.name().clone())), "", reason));
        }
    }
}

/// Whether a made-up request reaches a route, which spares nearly all routes the comparison with others.
fn is_reached(route: &Route, table: &RouteTable, listeners: &[&str]) -> bool {
    let reaches =
        |example: &Example| table.find(&example.view()).is_some_and(|found| found.route().name() == route.name());
    Pair::all_of(route).any(|pair| Example::matching(&[pair], listeners).iter().any(reaches))
}

fn unused(rules: &RuleSet, found: &mut Found) {
    let is_unused = |kind, name: &Name| rules.users(kind, name).next().is_none();
    for release in rules.releases().filter(|release| is_unused(Kind::Release, release.name())) {
        found.push((Some((Kind::Release, release.name().clone())), "", "no route uses this release".into()));
    }
    let templates = rules.upstream_templates().map(|template| template.name());
    let upstreams = rules.upstreams().map(|upstream| upstream.name()).chain(templates);
    for upstream in upstreams.filter(|upstream| is_unused(Kind::Upstream, upstream)) {
        let reason = "no route and no release uses this upstream".to_owned();
        found.push((Some((Kind::Upstream, upstream.clone())), "", reason));
    }
}

fn upstreams(rules: &RuleSet, found: &mut Found) {
    let reason = |upstream: &Upstream| match upstream.endpoints() {
        [] if upstream.discovery().is_some() => None,
        [] => Some("there is no endpoint, so requests are answered with 503"),
        endpoints if endpoints.iter().all(|endpoint| endpoint.weight.get() == 0) => {
            Some("all weights are 0, so requests are answered with 503")
        }
        _ => None,
    };
    for upstream in rules.upstreams() {
        let object = Some((Kind::Upstream, upstream.name().clone()));
        found.extend(reason(upstream).map(|reason| (object, "endpoints", reason.to_owned())));
    }
}

/// Listeners without certificates, and certificates without listeners.
fn tls(rules: &RuleSet, found: &mut Found) {
    let speaks_tls = |listener: &&Arc<Listener>| listener.tls().is_some();
    for listener in rules.listeners().filter(speaks_tls).filter(|_| rules.certificates().len() == 0) {
        let reason = "there is no certificate, so every handshake ends with an alert".to_owned();
        found.push((Some((Kind::Listener, listener.name().clone())), "tls", reason));
    }
    let has_listener = rules.listeners().any(|listener| listener.tls().is_some());
    for certificate in rules.certificates() {
        let is_default = rules.users(Kind::Certificate, certificate.name()).next().is_some();
        let reason = match certificate.hosts() {
            _ if !has_listener => "no listener speaks TLS, so nobody is shown this certificate",
            [] if !is_default => "it has no hosts, and no listener has it as its default, so nobody is shown it",
            _ => continue,
        };
        found.push((Some((Kind::Certificate, certificate.name().clone())), "", reason.into()));
    }
    let is_clear = rules.listeners().any(|listener| listener.tls().is_none());
    let by_request = |certificate: &&Arc<Certificate>| {
        certificate.order().is_some_and(|order| order.challenge == AcmeChallenge::Http01)
    };
    for certificate in rules.certificates().filter(by_request).filter(|_| !is_clear) {
        let reason = "no listener is in clear text, and `http_01` takes one at port 80; or take `tls_alpn_01`";
        found.push((Some((Kind::Certificate, certificate.name().clone())), "acme.challenge", reason.into()));
    }
}

/// Addresses that are taken twice: whoever comes second cannot be opened.
fn addresses(rules: &RuleSet, settings: &Settings, found: &mut Found) {
    let mut taken: Vec<(String, SocketAddr)> = Vec::new();
    taken.extend(settings.admin.as_ref().map(|admin| ("`admin`".to_owned(), admin.address)));
    for listener in rules.listeners() {
        let address = listener.address();
        if let Some((owner, _)) = taken.iter().find(|(_, other)| clash(address, *other)) {
            let reason = format!("{owner} has this address already, so the listener cannot be opened");
            found.push((Some((Kind::Listener, listener.name().clone())), "address", reason));
        }
        taken.push((format!("listener `{}`", listener.name()), address));
    }
}

/// Port 0 takes a free one, and the unspecified address is all of its family.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    let same_ip = one.ip() == other.ip() || is_any && one.is_ipv4() == other.is_ipv4();
    one.port() != 0 && one.port() == other.port() && same_ip
}
