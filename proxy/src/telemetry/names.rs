//! Every metric, once. Names begin with `serin_`, units are base units, labels come from rules and never from
//! requests. `docs/reference/metrics.md` is written from here.

/// A metric: name, what it tells.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// The kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

macro_rules! metrics {
    ($($const:ident = $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $const: &str = $name;
        )*

        /// All metrics.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help },)*
        ];
    };
}

metrics! {
    CONNECTIONS_OPENED = "serin_connections_opened_total", Counter, [], "Connections accepted from clients.";
    CONNECTIONS_OPEN = "serin_connections_open", Gauge, [], "Connections of clients open now.";
    CONNECTIONS_PARKED = "serin_connections_parked", Gauge, [], "Idle connections of clients kept with their socket alone.";
    CONNECTION_LIMIT = "serin_connection_limit_reached_total", Counter, [], "Times accepting rested because a worker had its maximum of connections.";
    CLIENT_LIMIT = "serin_client_limit_reached_total", Counter, [], "Connections closed at once because their client had its maximum; they are not among the accepted ones.";
    ACCEPT_ERRORS = "serin_accept_errors_total", Counter, [], "Times accepting failed for want of descriptors or memory.";
    HEAD_TIMEOUTS = "serin_request_head_timeouts_total", Counter, [], "Connections closed because a request head did not come in time.";
    REQUESTS = "serin_requests_total", Counter, ["code"], "Requests that are over, by status class (2xx).";
    REQUESTS_IN_FLIGHT = "serin_requests_in_flight", Gauge, [], "Requests under way.";
    REQUEST_ERRORS = "serin_request_errors_total", Counter, ["reason"], "Requests that Serin could not serve as the endpoint would have, by reason.";
    REQUEST_DURATION = "serin_request_duration_seconds", Histogram, [], "Time from a request's head to the end of its response.";
    ROUTE_REQUESTS = "serin_route_requests_total", Counter, ["route", "code"], "Requests of a route that are over, by status class. The series of a route stay for a minute after it has gone.";
    ROUTE_DURATION = "serin_route_request_duration_seconds", Histogram, ["route"], "Time from a request's head to the end of its response, by route.";
    ROUTE_REFUSED = "serin_route_refused_total", Counter, ["route", "limit"], "Requests that a limit of their route refused: `rate`, `in_flight` or `in_flight_per_key`.";
    ROUTE_RATE_EVICTIONS = "serin_route_rate_evictions_total", Counter, ["route"], "Clients a rate limit forgot before their time, because there were too many at once; each got its burst back.";
    ROUTE_UNCOUNTED = "serin_route_uncounted_requests_total", Counter, ["route"], "Requests that went on without being counted by `in_flight_per_key`, because too many clients had some in flight at once.";
    ROUTE_EDGE = "serin_route_edge_answers_total", Counter, ["route", "met"], "Requests that a filter of their route answered: `address` is not let in, `https_redirect` to TLS, `preflight` of a browser and `preflight_refused`, `no_password` given, `wrong_password`, too many `attempts` of a client, too `busy` to look at a password; what the service of `forward_auth` `denied`, and why it did not say: `auth_no_endpoint`, `auth_full`, `auth_timeout`, or `auth_failed` for no valid answer.";
    ROUTE_COMPRESSED = "serin_route_compressed_responses_total", Counter, ["route", "coding"], "Responses that Serin compressed, by `zstd`, `br` or `gzip`.";
    NOT_COMPRESSED = "serin_not_compressed_responses_total", Counter, [], "Responses sent as they were because the memory for compressing, 64 MiB for each worker, was in use.";
    MIRRORED = "serin_mirrored_requests_total", Counter, ["route", "outcome"], "Requests that were to be mirrored, by what became of the copy: `answered` by an endpoint, whatever it said; `failed` there; `timed_out`; or not sent: `no_endpoint` took it, `too_many` were under way, its body was `too_large`, or it came `incomplete`.";
    RELEASE_REQUESTS = "serin_release_requests_total", Counter, ["release", "group", "code"], "Requests that a release placed, by status class and the group whose upstream served.";
    RELEASE_DURATION = "serin_release_request_duration_seconds", Histogram, ["release", "group"], "Time from a request's head to the end of its response, by release and group.";
    RELEASE_PREDICTED = "serin_release_headroom_predicted_requests", Gauge, ["release"], "Requests in flight that an endpoint of the canary would have in the next phase, by what comes through this instance.";
    RELEASE_CARRIED = "serin_release_headroom_carried_requests", Gauge, ["release"], "The most requests in flight that an endpoint of the canary or of stable has carried well in the last hour.";
    REQUEST_BYTES = "serin_request_body_bytes_total", Counter, [], "Body bytes received from clients.";
    RESPONSE_BYTES = "serin_response_body_bytes_total", Counter, [], "Body bytes received from endpoints for clients.";
    PROXY_PROTOCOL_REFUSED = "serin_proxy_protocol_refused_total", Counter, ["reason"], "Connections closed because they did not begin with the PROXY protocol as their listener asks: `missing`, `malformed`, `too_long`, or `late`.";
    HTTP2_CONNECTIONS = "serin_http2_connections_total", Counter, [], "Connections of clients that turned out to be HTTP/2.";
    HTTP2_EXCESSES = "serin_http2_excesses_total", Counter, ["of"], "HTTP/2 connections closed because their client sent more of something than it may: `resets` of requests, pieces of a head (`continuation`), `settings`, `ping`, `window_update`, frames to be `ignored` (priorities, unknown ones), `tiny_data`, or `other` things.";
    HTTP2_STALLED = "serin_http2_stalled_responses_total", Counter, [], "Responses given up because an HTTP/2 client took less than 16 KiB of them in 30 s, or in the shorter time that is left where an upstream is more than half full.";
    TLS_HANDSHAKES = "serin_tls_handshakes_total", Counter, ["result"], "Handshakes with clients, by result: `completed` in full, or `resumed`, which goes on with a session of before; a `challenge`, by which an authority saw that a host leads here; ended because there is `no_certificate` for the host, `no_protocol` or nothing else in common (`incompatible`), or the `client_certificate` is missing or wrong; `refused_by_client`; `broken`, because what came is not TLS; the client `left`; `timed_out`; or there were too many (`excess`).";
    WORKER_REQUESTS = "serin_worker_requests_total", Counter, ["worker"], "Requests by the worker that served them. Workers share the connections, so about the same number each.";
    TUNNELS_OPEN = "serin_tunnels_open", Gauge, [], "Upgraded connections (WebSocket) open now.";
    TUNNELS_IDLE = "serin_tunnels_idle_closed_total", Counter, [], "Upgraded connections closed because nothing moved.";
    ENDPOINT_REQUESTS = "serin_endpoint_requests_total", Counter, ["upstream", "endpoint", "code"], "Responses of an endpoint, by status class.";
    ENDPOINT_ERRORS = "serin_endpoint_errors_total", Counter, ["upstream", "endpoint"], "Requests to an endpoint that got no valid response head, or a response that the endpoint cut short.";
    ENDPOINT_IN_FLIGHT = "serin_endpoint_requests_in_flight", Gauge, ["upstream", "endpoint"], "Requests under way at an endpoint.";
    ENDPOINT_HEAD_SECONDS = "serin_endpoint_response_head_seconds_total", Counter, ["upstream", "endpoint"], "Sum of the times to the response head, from the request's head or, if it has a body, the body's end.";
    ENDPOINT_HEADS_TIMED = "serin_endpoint_response_heads_timed_total", Counter, ["upstream", "endpoint"], "Response heads in that sum; those that came before the end of the request are not. The quotient is the mean.";
    ENDPOINT_CONNECTS = "serin_endpoint_connections_opened_total", Counter, ["upstream", "endpoint"], "Connections opened to an endpoint.";
    ENDPOINT_CONNECTIONS = "serin_endpoint_connections_open", Gauge, ["upstream", "endpoint"], "Connections to an endpoint open now, with those that are kept for later.";
    ENDPOINT_CONNECTIONS_ENDED = "serin_endpoint_connections_closed_total", Counter, ["upstream", "endpoint", "reason"], "Connections to an endpoint that ended: `endpoint` closed it, `idle_timeout`, `max_age` or `max_requests` was reached, `broken` off in an exchange or unfit for another, closed to make `room`, `removed` from the rules with its endpoint or with how that was spoken to, a `tunnel` that is over, or that of a `client` who has gone, where endpoints are told of clients.";
    ENDPOINT_TLS_HANDSHAKES = "serin_endpoint_tls_handshakes_total", Counter, ["upstream", "endpoint", "result"], "Handshakes with an endpoint, by result: `completed`, or `resumed` with what was checked before. Or they failed because its certificate is `expired` or not valid yet, of an `unknown_issuer`, for another name (`wrong_name`), or a `bad_certificate` otherwise; because there is `no_protocol` or nothing else in common (`incompatible`); `refused_by_endpoint`, which may want a certificate; `broken`, because what came is not TLS; the endpoint `left`; `timed_out`. Those of health checks are not among them.";
    ENDPOINT_WARM_UPS = "serin_endpoint_warm_connections_total", Counter, ["upstream", "endpoint", "result"], "Connections that were to be opened ahead of requests, by result: `opened` or `failed`.";
    ENDPOINT_RETRIES = "serin_endpoint_retries_total", Counter, ["upstream", "endpoint"], "Requests an endpoint got after another try had failed.";
    ENDPOINT_HEDGES = "serin_endpoint_hedges_total", Counter, ["upstream", "endpoint"], "Requests an endpoint got because another one took long (`hedge`).";
    ENDPOINT_GUARD_SKIPS = "serin_endpoint_guard_skips_total", Counter, ["upstream", "endpoint"], "Choices that passed an endpoint over because it had more in flight than its bound.";
    ENDPOINT_WEIGHT = "serin_endpoint_weight", Gauge, ["upstream", "endpoint"], "Weight at this moment, relative to the largest of the upstream: 0 to 1.";
    ENDPOINT_SLOWNESS = "serin_endpoint_slowness", Gauge, ["upstream", "endpoint"], "How much slower than the usual of its upstream an endpoint is, as a natural logarithm: 0.69 is twice as slow. 0 where chance explains it.";
    ENDPOINT_RESULTS = "serin_endpoint_look_back_results", Gauge, ["upstream", "endpoint"], "Answers and errors of an endpoint in the look-back that its weight is learned from.";
    ENDPOINT_BREAKER_OPEN = "serin_endpoint_breaker_open", Gauge, ["upstream", "endpoint"], "1 while the endpoint's breaker lets nothing but probes through.";
    ENDPOINT_BREAKER_RAMPING = "serin_endpoint_breaker_ramping", Gauge, ["upstream", "endpoint"], "1 while the endpoint comes back and gets a growing part of its requests.";
    ENDPOINT_BREAKER_OPENINGS = "serin_endpoint_breaker_openings_total", Counter, ["upstream", "endpoint", "cause"], "Times the endpoint's breaker opened: its `condition` held, too many failures came in a row (`streak`), or `probes` failed.";
    UPSTREAM_BREAKER_OPEN = "serin_upstream_breaker_open", Gauge, ["upstream"], "1 while the upstream's group breaker lets nothing but probes through.";
    UPSTREAM_BREAKER_OPENINGS = "serin_upstream_breaker_openings_total", Counter, ["upstream"], "Times the upstream's group breaker opened.";
    ENDPOINT_UP = "serin_endpoint_up", Gauge, ["upstream", "endpoint"], "1 while health checks find an endpoint well, 0 while they do not. Only where there are checks, from the first result on.";
    HEALTH_CHECKS = "serin_health_checks_total", Counter, ["upstream", "endpoint", "result"], "Health checks of an endpoint, by result: `passed` or `failed`.";
    UPSTREAM_IN_FLIGHT = "serin_upstream_requests_in_flight", Gauge, ["upstream"], "Requests at an upstream that has limits, over all workers.";
    UPSTREAM_IN_FLIGHT_LIMIT = "serin_upstream_in_flight_limit", Gauge, ["upstream"], "How many may be there at once, where `in_flight` is set; with `auto` it changes.";
    UPSTREAM_WAITING = "serin_upstream_requests_waiting", Gauge, ["upstream"], "Requests that wait for a place at an upstream.";
    UPSTREAM_WAITED = "serin_upstream_waits_total", Counter, ["upstream"], "Requests that had to wait for a place at an upstream.";
    UPSTREAM_REFUSED = "serin_upstream_refused_total", Counter, ["upstream", "reason"], "Requests that found no place at an upstream: `full` at once, `timeout` after waiting.";
    UPSTREAM_PANICS = "serin_upstream_panics_total", Counter, ["upstream"], "Times no endpoint of an upstream was left, so that all got requests again.";
    DISCOVERY_LOOKUPS = "serin_discovery_lookups_total", Counter, ["upstream", "result"], "Lookups of the endpoints of an upstream, by result: `answered` or `failed`.";
    DISCOVERY_AGE = "serin_discovery_age_seconds", Gauge, ["upstream"], "How old the last good answer to a lookup is. While lookups fail it grows, and what was found last serves on. Only from the first good answer on, which with `state_dir` an earlier process may have had.";
    DISCOVERY_LEFT_OUT = "serin_discovery_addresses_left_out_total", Counter, ["upstream", "reason"], "Addresses in answers that became no endpoint: `refused`, because no endpoint can have one, or `limit`, because there were more than 1,000.";
    ENVIRONMENTS = "serin_environments", Gauge, ["upstream"], "Environments of a template of upstreams that are live.";
    ENVIRONMENTS_WAITING = "serin_environments_waiting", Gauge, ["upstream"], "Environments of a template that there is no place for, because as many are live as may be (`most`).";
    ENVIRONMENTS_REFUSED = "serin_environments_refused_keys", Gauge, ["upstream"], "Keys of a template whose values would make no host.";
    ACME_ORDERS = "serin_acme_orders_total", Counter, ["result"], "Orders of certificates by this process that are over: `issued` or `failed`.";
    ACME_FAILURES = "serin_acme_failures", Gauge, ["certificate"], "How often in a row a certificate could not be ordered; 0 if all is well.";
    CERTIFICATE_EXPIRES = "serin_certificate_expires_seconds", Gauge, ["certificate"], "When a certificate in use expires, in seconds since 1970.";
    LOG_DROPPED = "serin_access_log_lines_dropped_total", Counter, [], "Access log lines dropped because the sink was blocked.";
    RULES_GENERATION = "serin_rules_generation", Gauge, [], "Counts the changes of the rules in force since the start.";
    RULES_OBJECTS = "serin_rules_objects", Gauge, ["kind"], "Objects in force, by kind.";
    RULES_REJECTED = "serin_rules_rejected", Gauge, [], "Problems in what is written now; each one is at /api/v1/rejected.";
    RULES_STALE = "serin_rules_stale", Gauge, [], "1 while the rules in force come from the state folder because files could not be used, or etcd was not heard yet.";
    WEBHOOK_DELIVERIES = "serin_webhook_deliveries_total", Counter, ["webhook", "outcome"], "Changes of releases that were `delivered` or `given_up`, and calls that `failed`.";
    WEBHOOK_BACKLOG = "serin_webhook_backlog", Gauge, ["webhook"], "Changes that are not delivered yet. In a fleet only the instance that leads knows of them.";
    ETCD_UP = "serin_etcd_up", Gauge, [], "1 while etcd answers, 0 while what was heard last serves on. Only where rules come from etcd, as all of these.";
    ETCD_REVISION = "serin_etcd_revision", Gauge, [], "The revision of etcd up to which all rules are known.";
    ETCD_FAILURES = "serin_etcd_failures_total", Counter, [], "Connections to etcd that failed or ended.";
    ETCD_INSTANCES = "serin_etcd_instances", Gauge, [], "Instances that follow the same etcd, this one among them.";
    ETCD_LEADER = "serin_etcd_leader", Gauge, [], "1 while this instance leads them.";
    ETCD_HELD = "serin_etcd_held_objects", Gauge, [], "Objects that stay though their keys have gone, because most routes went at once.";
    ETCD_WINDOWS = "serin_etcd_windows_total", Counter, ["outcome"], "Windows of five seconds that this instance had to report to the fleet for the analysis of releases, by outcome: `written`; `failed`, because etcd did not take it; `passed_over`, because those before were still being written.";
    ETCD_WINDOWS_LEFT_OUT = "serin_etcd_windows_left_out_total", Counter, [], "Releases in such windows, or five minutes of one, that there was no room for.";
    KUBERNETES_UP = "serin_kubernetes_up", Gauge, [], "1 while the API server is heard, 0 while what was heard last serves on. Only where Kubernetes is followed, as all of these.";
    KUBERNETES_FAILURES = "serin_kubernetes_failures_total", Counter, [], "Lists and watches of the API server that failed.";
    KUBERNETES_WRITE_FAILURES = "serin_kubernetes_write_failures_total", Counter, [], "Statuses and Events that could not be written.";
    KUBERNETES_LEADER = "serin_kubernetes_leader", Gauge, [], "1 while this instance holds the Lease and writes on objects.";
    KUBERNETES_INGRESSES = "serin_kubernetes_ingresses", Gauge, [], "Ingresses that are served.";
    KUBERNETES_SERVICES = "serin_kubernetes_services", Gauge, [], "Services that are known.";
    KUBERNETES_PODS = "serin_kubernetes_pods", Gauge, [], "Pods behind them that are ready; one that is in two Services counts twice.";
}
