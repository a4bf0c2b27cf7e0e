//! Publishes the counters of workers and endpoints for Prometheus, when somebody asks.

use std::sync::Arc;

use metrics::{Label, Unit, counter, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;
use routing_rules::health::State;

use super::counters::{Totals, WorkerCounters};
use super::names::{self, Kind};
use super::tallies::{self, CLASSES};
use crate::data_path::error::RequestError;
use crate::data_path::http::http2::Excess;
use crate::data_path::listener::proxy_protocol::Refused;
use crate::data_path::tls::HandshakeEnd;
use crate::snapshot::{ConnectionEnd, ConnectionTotals, Discovered, Endpoint, Member, Met, Mirrored, Snapshot, TlsEnd};

/// What the metrics are made from, besides the counters.
pub struct Facts<'a> {
    /// The rules in force.
    pub snapshot: &'a Snapshot,
    /// Problems in what is written.
    pub rejected: usize,
    /// Whether the rules come from the state folder.
    pub stale: bool,
    /// Dropped log lines.
    pub log_lines_dropped: u64,
    /// Where etcd is followed.
    pub etcd: Option<EtcdFacts>,
    /// Where Kubernetes is followed.
    pub kubernetes: Option<KubernetesFacts>,
    /// Who is told of changes of releases.
    pub webhooks: Vec<WebhookFacts>,
    /// What became of orders of certificates.
    pub orders: OrderFacts,
    /// Whether releases have room for their next phases.
    pub headroom: Vec<HeadroomFacts>,
}

/// What endpoints of a release's canary would have to carry in the next phase, in requests in flight at one.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadroomFacts {
    /// Its name.
    pub release: String,
    /// What they would have.
    pub predicted: f64,
    /// The most that one has carried.
    pub carried: Option<f64>,
}

/// How telling somebody of changes of releases goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookFacts {
    /// Its name.
    pub name: String,
    /// How often something came of it, by what.
    pub outcomes: [(&'static str, u64); 3],
    /// Changes that are not delivered yet.
    pub backlog: u64,
}

/// What became of orders of certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFacts {
    /// Those of this process with a certificate.
    pub issued: u64,
    /// Those without.
    pub failed: u64,
    /// How often in a row each certificate's order has failed, by whichever instance.
    pub failures: Vec<(String, u32)>,
}

/// How following etcd goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtcdFacts {
    /// Whether it was heard lately.
    pub is_heard: bool,
    /// The revision up to which all is known.
    pub revision: i64,
    /// How often a connection failed or ended.
    pub failures: u64,
    /// Objects that stay though their keys have gone.
    pub held: usize,
    /// Instances that follow the same etcd.
    pub instances: usize,
    /// Whether this one leads them.
    pub leads: bool,
    /// What became of the windows that this one had to report.
    pub windows: WindowFacts,
}

/// How following Kubernetes goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KubernetesFacts {
    /// Whether all of it is heard.
    pub is_heard: bool,
    /// Lists and watches that failed.
    pub failures: u64,
    /// Statuses and Events that could not be written.
    pub write_failures: u64,
    /// Whether this instance writes them.
    pub leads: bool,
    /// Ingresses that are served.
    pub ingresses: usize,
    /// Services that are known.
    pub services: usize,
    /// Pods behind them that are ready.
    pub pods: usize,
}

/// What became of windows that an instance had to report to its fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowFacts {
    /// They are in etcd.
    pub written: u64,
    /// etcd did not take them.
    pub failed: u64,
    /// Those before were still being written.
    pub passed_over: u64,
    /// Parts of them that there was no room for.
    pub left_out: u64,
}

/// The text that Prometheus reads. Everything is gathered anew, so that what has gone (an endpoint, an upstream) leaves
/// no series behind.
pub fn render(workers: &[Arc<WorkerCounters>], facts: &Facts<'_>) -> String {
    let mut totals = Totals::default();
    for worker in workers {
        worker.add_to(&mut totals);
    }
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe();
        publish_totals(&totals);
        publish_workers(workers);
        publish_endpoints(facts.snapshot);
        publish_route_limits(facts.snapshot);
        publish_route_edges(facts.snapshot);
        publish_upstream_limits(facts.snapshot);
        publish_mirrors(facts.snapshot);
        publish_environments(facts.snapshot);
        publish_rules(facts);
        facts.etcd.iter().for_each(publish_etcd);
        facts.kubernetes.iter().for_each(publish_kubernetes);
        facts.webhooks.iter().for_each(publish_webhook);
        publish_orders(&facts.orders);
        facts.headroom.iter().for_each(publish_headroom);
    });
    let mut text = recorder.handle().render();
    tallies::render(&totals.tally, &facts.snapshot.traffic, &mut text);
    render_head_seconds(facts.snapshot, &mut text);
    text
}

fn describe() {
    for metric in names::ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, Unit::Seconds, metric.help),
        }
    }
}

fn publish_totals(totals: &Totals) {
    let count = |name: &'static str, value: u64| counter!(name).absolute(value);
    count(names::CONNECTIONS_OPENED, totals.connections_opened);
    count(names::CONNECTION_LIMIT, totals.connection_limit);
    count(names::CLIENT_LIMIT, totals.client_limit);
    count(names::ACCEPT_ERRORS, totals.accept_errors);
    count(names::HEAD_TIMEOUTS, totals.head_timeouts);
    count(names::REQUEST_BYTES, totals.request_bytes);
    count(names::RESPONSE_BYTES, totals.response_bytes);
    count(names::TUNNELS_IDLE, totals.tunnels_idle);
    let level = |name: &'static str, value: u64| gauge!(name).set(value as f64);
    level(names::CONNECTIONS_OPEN, totals.connections_opened.saturating_sub(totals.connections_closed));
    level(names::CONNECTIONS_PARKED, totals.connections_parked);
    level(names::REQUESTS_IN_FLIGHT, totals.requests_began.saturating_sub(totals.requests_ended));
    level(names::TUNNELS_OPEN, totals.tunnels_opened.saturating_sub(totals.tunnels_closed));
    count(names::HTTP2_CONNECTIONS, totals.http2_connections);
    count(names::HTTP2_STALLED, totals.streams_stalled);
    count(names::NOT_COMPRESSED, totals.not_compressed);
    for (refused, value) in Refused::ALL.into_iter().zip(totals.unannounced) {
        counter!(names::PROXY_PROTOCOL_REFUSED, "reason" => refused.token()).absolute(value);
    }
    for (excess, value) in Excess::ALL.into_iter().zip(totals.excesses) {
        counter!(names::HTTP2_EXCESSES, "of" => excess.token()).absolute(value);
    }
    for (end, value) in HandshakeEnd::ALL.into_iter().zip(totals.handshakes) {
        counter!(names::TLS_HANDSHAKES, "result" => end.token()).absolute(value);
    }
    for (class, value) in CLASSES.into_iter().zip(totals.tally.statuses) {
        counter!(names::REQUESTS, "code" => class).absolute(value);
    }
    for (error, value) in RequestError::ALL.into_iter().zip(totals.errors.0) {
        counter!(names::REQUEST_ERRORS, "reason" => error.token()).absolute(value);
    }
}

fn publish_workers(workers: &[Arc<WorkerCounters>]) {
    for (index, worker) in workers.iter().enumerate() {
        let mut own = Totals::default();
        worker.add_to(&mut own);
        counter!(names::WORKER_REQUESTS, "worker" => index.to_string()).absolute(own.requests_began);
    }
}

fn publish_endpoints(snapshot: &Snapshot) {
    for upstream in snapshot.upstreams.iter().flatten() {
        counter!(names::UPSTREAM_PANICS, "upstream" => upstream.name().as_str().to_owned())
            .absolute(upstream.weighing.panics());
        if let Some(discovered) = &upstream.discovered {
            publish_discovery(upstream.name().as_str(), discovered);
        }
        if let Some(group) = &upstream.group {
            let label = || upstream.name().as_str().to_owned();
            gauge!(names::UPSTREAM_BREAKER_OPEN, "upstream" => label()).set(if group.is_out() { 1.0 } else { 0.0 });
            counter!(names::UPSTREAM_BREAKER_OPENINGS, "upstream" => label()).absolute(group.openings());
        }
        for (place, member) in upstream.endpoints.iter().enumerate() {
            let totals = member.endpoint.totals();
            let labels = [
                Label::new("upstream", upstream.name().as_str().to_owned()),
                Label::new("endpoint", member.endpoint.address().to_string()),
            ];
            for (class, value) in CLASSES.into_iter().zip(totals.statuses).filter(|(_, value)| *value > 0) {
                let mut labels = labels.to_vec();
                labels.push(Label::new("code", class));
                counter!(names::ENDPOINT_REQUESTS, labels).absolute(value);
            }
            counter!(names::ENDPOINT_ERRORS, labels.iter()).absolute(totals.errors);
            counter!(names::ENDPOINT_HEADS_TIMED, labels.iter()).absolute(totals.heads_timed);
            gauge!(names::ENDPOINT_IN_FLIGHT, labels.iter()).set(totals.in_flight as f64);
            publish_connections(&totals.connections, &labels);
            counter!(names::ENDPOINT_RETRIES, labels.iter()).absolute(totals.retries);
            counter!(names::ENDPOINT_HEDGES, labels.iter()).absolute(totals.hedges);
            counter!(names::ENDPOINT_GUARD_SKIPS, labels.iter()).absolute(totals.guard_skips);
            gauge!(names::ENDPOINT_WEIGHT, labels.iter()).set(upstream.weighing.share(place));
            publish_breaker(member, &labels);
            publish_health(&member.endpoint, &labels);
            if let Some((learning, learned)) = upstream.balancer.learning().zip(member.endpoint.learned().as_ref()) {
                gauge!(names::ENDPOINT_SLOWNESS, labels.iter()).set(learned.slowness());
                gauge!(names::ENDPOINT_RESULTS, labels.iter()).set(learned.results(learning) as f64);
            }
        }
    }
}

fn publish_environments(snapshot: &Snapshot) {
    for template in snapshot.table.rules().upstream_templates() {
        let known = snapshot.environments.of(template.name()).unwrap_or_default();
        let label = || template.name().as_str().to_owned();
        gauge!(names::ENVIRONMENTS, "upstream" => label()).set(known.live.len() as f64);
        gauge!(names::ENVIRONMENTS_WAITING, "upstream" => label()).set(known.waiting as f64);
        gauge!(names::ENVIRONMENTS_REFUSED, "upstream" => label()).set(known.refused as f64);
    }
}

fn publish_etcd(etcd: &EtcdFacts) {
    gauge!(names::ETCD_UP).set(u8::from(etcd.is_heard));
    gauge!(names::ETCD_REVISION).set(etcd.revision as f64);
    counter!(names::ETCD_FAILURES).absolute(etcd.failures);
    gauge!(names::ETCD_HELD).set(etcd.held as f64);
    gauge!(names::ETCD_INSTANCES).set(etcd.instances as f64);
    gauge!(names::ETCD_LEADER).set(u8::from(etcd.leads));
    let WindowFacts { written, failed, passed_over, left_out } = etcd.windows;
    for (outcome, count) in [("written", written), ("failed", failed), ("passed_over", passed_over)] {
        counter!(names::ETCD_WINDOWS, "outcome" => outcome).absolute(count);
    }
    counter!(names::ETCD_WINDOWS_LEFT_OUT).absolute(left_out);
}

fn publish_kubernetes(kubernetes: &KubernetesFacts) {
    gauge!(names::KUBERNETES_UP).set(u8::from(kubernetes.is_heard));
    counter!(names::KUBERNETES_FAILURES).absolute(kubernetes.failures);
    counter!(names::KUBERNETES_WRITE_FAILURES).absolute(kubernetes.write_failures);
    gauge!(names::KUBERNETES_LEADER).set(u8::from(kubernetes.leads));
    gauge!(names::KUBERNETES_INGRESSES).set(kubernetes.ingresses as f64);
    gauge!(names::KUBERNETES_SERVICES).set(kubernetes.services as f64);
    gauge!(names::KUBERNETES_PODS).set(kubernetes.pods as f64);
}

fn publish_webhook(webhook: &WebhookFacts) {
    let name = || Label::new("webhook", webhook.name.clone());
    for (outcome, count) in webhook.outcomes {
        counter!(names::WEBHOOK_DELIVERIES, vec![name(), Label::new("outcome", outcome)]).absolute(count);
    }
    gauge!(names::WEBHOOK_BACKLOG, vec![name()]).set(webhook.backlog as f64);
}

fn publish_headroom(headroom: &HeadroomFacts) {
    let release = || vec![Label::new("release", headroom.release.clone())];
    gauge!(names::RELEASE_PREDICTED, release()).set(headroom.predicted);
    if let Some(carried) = headroom.carried {
        gauge!(names::RELEASE_CARRIED, release()).set(carried);
    }
}

fn publish_breaker(member: &Member, labels: &[Label]) {
    if member.results.is_none() {
        return;
    }
    let (is_out, is_ramping) = match &*member.endpoint.breaker() {
        Some(state) => (state.breaker.is_out(), state.breaker.is_ramping()),
        None => (false, false),
    };
    gauge!(names::ENDPOINT_BREAKER_OPEN, labels.iter()).set(u8::from(is_out));
    gauge!(names::ENDPOINT_BREAKER_RAMPING, labels.iter()).set(u8::from(is_ramping));
    for (cause, count) in member.endpoint.openings() {
        counter!(names::ENDPOINT_BREAKER_OPENINGS, [labels, &[Label::new("cause", cause)]].concat()).absolute(count);
    }
}

fn publish_connections(totals: &ConnectionTotals, labels: &[Label]) {
    counter!(names::ENDPOINT_CONNECTS, labels.iter()).absolute(totals.opened);
    gauge!(names::ENDPOINT_CONNECTIONS, labels.iter()).set(totals.open() as f64);
    let with = |name: &'static str, label: Label, count: u64| {
        if count > 0 {
            counter!(name, [labels, &[label]].concat()).absolute(count);
        }
    };
    for (end, count) in ConnectionEnd::ALL.into_iter().zip(totals.ended) {
        with(names::ENDPOINT_CONNECTIONS_ENDED, Label::new("reason", end.token()), count);
    }
    for (end, count) in TlsEnd::ALL.into_iter().zip(totals.handshakes) {
        with(names::ENDPOINT_TLS_HANDSHAKES, Label::new("result", end.token()), count);
    }
    with(names::ENDPOINT_WARM_UPS, Label::new("result", "opened"), totals.warm_opened);
    with(names::ENDPOINT_WARM_UPS, Label::new("result", "failed"), totals.warm_failed);
}

fn publish_discovery(upstream: &str, discovered: &Discovered) {
    let state = discovered.state();
    let label = |name: &'static str, value: &'static str| {
        vec![Label::new("upstream", upstream.to_owned()), Label::new(name, value)]
    };
    for (result, count) in [("answered", state.lookups.0), ("failed", state.lookups.1)] {
        counter!(names::DISCOVERY_LOOKUPS, label("result", result)).absolute(count);
    }
    for (reason, count) in [("refused", state.refused), ("limit", state.beyond_limit)] {
        counter!(names::DISCOVERY_LEFT_OUT, label("reason", reason)).absolute(count);
    }
    if let Some(age) = state.age() {
        gauge!(names::DISCOVERY_AGE, "upstream" => upstream.to_owned()).set(age.as_secs_f64());
    }
}

fn publish_health(endpoint: &Endpoint, labels: &[Label]) {
    let checked = endpoint.checked();
    let Some(checked) = &*checked else { return };
    if checked.health().state() != State::Unknown {
        gauge!(names::ENDPOINT_UP, labels.iter()).set(u8::from(checked.health().is_up()));
    }
    let (passed, failed) = checked.counts();
    for (result, count) in [("passed", passed), ("failed", failed)] {
        let mut labels = labels.to_vec();
        labels.push(Label::new("result", result));
        counter!(names::HEALTH_CHECKS, labels).absolute(count);
    }
}

fn publish_route_limits(snapshot: &Snapshot) {
    for limits in snapshot.route_limits.all() {
        let route = || Label::new("route", limits.name().as_str().to_owned());
        let refused = [
            ("rate", limits.refused_by_rate()),
            ("in_flight", limits.refused_by_in_flight()),
            ("in_flight_per_key", limits.refused_by_key()),
        ];
        for (limit, count) in refused.into_iter().filter_map(|(limit, count)| Some((limit, count?))) {
            counter!(names::ROUTE_REFUSED, vec![route(), Label::new("limit", limit)]).absolute(count);
        }
        if let Some(count) = limits.evicted() {
            counter!(names::ROUTE_RATE_EVICTIONS, vec![route()]).absolute(count);
        }
        if let Some(count) = limits.uncounted() {
            counter!(names::ROUTE_UNCOUNTED, vec![route()]).absolute(count);
        }
    }
}

fn publish_route_edges(snapshot: &Snapshot) {
    for edge in snapshot.route_edges.all() {
        let route = || Label::new("route", edge.name().as_str().to_owned());
        for (met, count) in Met::ANSWERS.into_iter().filter_map(|met| Some((met, edge.counted(met)?))) {
            counter!(names::ROUTE_EDGE, vec![route(), Label::new("met", met.token())]).absolute(count);
        }
        for (met, count) in Met::COMPRESSED.into_iter().filter_map(|met| Some((met, edge.counted(met)?))) {
            counter!(names::ROUTE_COMPRESSED, vec![route(), Label::new("coding", met.token())]).absolute(count);
        }
    }
}

fn publish_orders(orders: &OrderFacts) {
    for (result, count) in [("issued", orders.issued), ("failed", orders.failed)] {
        counter!(names::ACME_ORDERS, "result" => result).absolute(count);
    }
    for (certificate, count) in &orders.failures {
        gauge!(names::ACME_FAILURES, "certificate" => certificate.clone()).set(f64::from(*count));
    }
}

fn publish_upstream_limits(snapshot: &Snapshot) {
    for upstream in snapshot.upstreams.iter().flatten() {
        let Some(door) = &upstream.door else { continue };
        let totals = door.totals();
        let label = || Label::new("upstream", upstream.name().as_str().to_owned());
        gauge!(names::UPSTREAM_IN_FLIGHT, vec![label()]).set(f64::from(totals.in_flight));
        gauge!(names::UPSTREAM_WAITING, vec![label()]).set(f64::from(totals.waiting));
        if let Some(limit) = totals.limit {
            gauge!(names::UPSTREAM_IN_FLIGHT_LIMIT, vec![label()]).set(f64::from(limit));
        }
        counter!(names::UPSTREAM_WAITED, vec![label()]).absolute(totals.waited);
        for (reason, count) in [("full", totals.refused), ("timeout", totals.timed_out)] {
            counter!(names::UPSTREAM_REFUSED, vec![label(), Label::new("reason", reason)]).absolute(count);
        }
    }
}

fn publish_mirrors(snapshot: &Snapshot) {
    for traffic in snapshot.traffic.all() {
        for (outcome, count) in Mirrored::ALL.into_iter().filter_map(|one| Some((one, traffic.mirrored(one)?))) {
            let route = Label::new("route", traffic.name().as_str().to_owned());
            counter!(names::MIRRORED, vec![route, Label::new("outcome", outcome.as_str())]).absolute(count);
        }
    }
}

fn publish_rules(facts: &Facts<'_>) {
    let rules = facts.snapshot.table.rules();
    let level = |name: &'static str, value: u64| gauge!(name).set(value as f64);
    level(names::RULES_GENERATION, facts.snapshot.generation);
    level(names::RULES_REJECTED, facts.rejected as u64);
    level(names::RULES_STALE, facts.stale.into());
    counter!(names::LOG_DROPPED).absolute(facts.log_lines_dropped);
    let kinds = [
        ("listener", rules.listeners().len()),
        ("route", rules.routes().len()),
        ("upstream", rules.upstreams().len()),
        ("release", rules.releases().len()),
        ("certificate", rules.certificates().len()),
        ("acme_account", rules.acme_accounts().len()),
    ];
    for certificate in facts.snapshot.tls.certificates.values() {
        let label = certificate.name.as_str().to_owned();
        gauge!(names::CERTIFICATE_EXPIRES, "certificate" => label).set(certificate.not_after as f64);
    }
    for (kind, count) in kinds {
        gauge!(names::RULES_OBJECTS, "kind" => kind).set(count as f64);
    }
}

/// A counter of seconds has fractions, which the recorder's counters have not; so this one is written here.
fn render_head_seconds(snapshot: &Snapshot, text: &mut String) {
    use std::fmt::Write;
    let name = names::ENDPOINT_HEAD_SECONDS;
    let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} counter", help(name));
    for upstream in snapshot.upstreams.iter().flatten() {
        for Member { endpoint, .. } in &upstream.endpoints {
            let seconds = endpoint.totals().head_time_us as f64 / 1e6;
            // Names and addresses hold nothing that a label would have to escape.
            let (upstream, endpoint) = (&upstream.name(), endpoint.address());
            let _ = writeln!(text, "{name}{{upstream=\"{upstream}\",endpoint=\"{endpoint}\"}} {seconds}");
        }
    }
}

pub(super) fn help(name: &str) -> &'static str {
    names::ALL.iter().find(|metric| metric.name == name).map_or("", |metric| metric.help)
}
