//! What is refused, and how it is said: every message of the rules, as an operator would see it.

use std::time::Duration;

use http::{HeaderMap, Method};
use routing_rules::breaker::{Settings, Streak};
use routing_rules::health::Thresholds;
use routing_rules::limit::Rate;
use routing_rules::release::ReleaseContext;
use routing_rules::request::RequestView;
use routing_rules::rules::{
    Balance, Connections, ConsistentHash, Dwrr, Filter, HashKey, HealthCheck, HttpProbe, Kind, LimitKey, Measure,
    Mirror, Name, Probe, Protocol, Queue, RateLimit, ReplacePrefix, Retry, RuleSet, UpstreamLimits,
};
use routing_rules::spec::{InFlight, Percent, RouteSpec, Spec, UpstreamSpec};
use routing_rules::table::RouteTable;

/// A spec as JSON, and what is wrong with it: one block of text per case, the problems after `---`.
const CASES: &[&str] = &[
    // nothing
    r#"{"routes": {"r": {"upstream": "u"}}, "upstreams": {"u": {"endpoints": ["192.0.2.1:80", {"address": "[2001:db8::1]:80", "weight": 0}]}}}
    ---"#,
    // names
    r#"{"upstreams": {"": {}, "-a": {}, "a b": {}, "a\u0007": {}, "a/b": {}, "ä": {}}}
    ---
    upstreams.: a name is empty
    upstreams.-a: name `-a` must begin with a letter or digit
    upstreams.a\u{7}: name `a\u{7}` has a character other than letters, digits, `.`, `_` and `-`
    upstreams.a b: name `a b` has a character other than letters, digits, `.`, `_` and `-`
    upstreams.a/b: name `a/b` has a character other than letters, digits, `.`, `_` and `-`
    upstreams.ä: name `ä` must begin with a letter or digit"#,
    // references
    r#"{"routes": {"a": {"upstream": "x", "release": "y", "listeners": ["z"]},
                   "b": {"split": [{"upstream": "u", "weight": 1}, {"upstream": "x", "weight": 1}], "release": ["c", "y"]}},
        "upstreams": {"u": {}}, "releases": {"c": {"stable": "x", "canary": "u", "audience": [{"name": "n", "percent": 5}]},
                                             "d": {"stable": "u", "canary": "x", "audience": [{"name": "n", "percent": 5}]}}}
    ---
    routes.a.upstream: there is no upstream `x`
    routes.a.release: there is no release `y`
    routes.a.listeners[0]: there is no listener `z`
    routes.b.split[1].upstream: there is no upstream `x`
    routes.b.release[1]: there is no release `y`
    releases.c.stable: there is no upstream `x`
    releases.d.canary: there is no upstream `x`"#,
    // listeners
    r#"{"listeners": {"a": {"address": "[::]:0"}, "b": {"address": "localhost:80"}, "c": {"address": "127.0.0.1"}, "d": {"address": "\u0000"}}}
    ---
    listeners.b.address: `localhost:80` is not an address such as 127.0.0.1:8080 or [::]:8080
    listeners.c.address: `127.0.0.1` is not an address such as 127.0.0.1:8080 or [::]:8080
    listeners.d.address: `\0` is not an address such as 127.0.0.1:8080 or [::]:8080"#,
    // certificates
    r#"{"certificates": {"a": {"hosts": ["a.test", "*.b.test"], "cert_file": "c", "key": "k", "client_certificates": {"ca": "c", "mode": "optional"}},
                         "b": {"hosts": ["192.0.2.1", "[::1]", "a:1"], "cert": "c", "cert_file": "c", "key_file": "", "ocsp_file": ""},
                         "c": {"client_certificates": {}}}}
    ---
    certificates.b.hosts[0]: `192.0.2.1` is an address; a client that connects to one names no host, and gets the listener's `default_certificate`
    certificates.b.hosts[1]: `[::1]` is an address; a client that connects to one names no host, and gets the listener's `default_certificate`
    certificates.b.hosts[2]: `a:1` has a port; routes match host names, listeners have ports
    certificates.b.cert: `cert_file` says it already; one of the two must go
    certificates.b.key_file: is empty
    certificates.b.ocsp_file: is empty
    certificates.c: `cert_file` or `cert` is missing
    certificates.c: `key_file` or `key` is missing
    certificates.c.client_certificates: `ca_file` or `ca` is missing"#,
    // certificates that are ordered
    r#"{"acme_accounts": {"le": {"directory": "https://acme.test/directory", "contact": ["ops@a.test"], "agree_to_terms": true, "ca": "c",
                                 "external_account": {"key_id": "1", "key": "k"}},
                          "bad": {"directory": "http://acme.test/", "contact": ["mailto:a@b", "a"], "ca": "c", "ca_file": "c",
                                  "external_account": {"key_file": ""}},
                          "none": {"directory": "https://u@acme.test/", "agree_to_terms": true, "external_account": {"key_id": "1", "key_file": "f", "key": "k"}}},
        "certificates": {"a": {"hosts": ["a.test"], "acme": {"account": "le"}},
                         "b": {"hosts": ["*.b.test"], "cert": "c", "key_file": "k", "acme": {"account": "le", "challenge": "tls_alpn_01"}},
                         "c": {"acme": {"account": "le"}},
                         "d": {"hosts": ["a.test"], "acme": {"account": "x"}},
                         "e": {"hosts": ["a:1"], "acme": {"account": "-"}}}}
    ---
    certificates.b.cert: a certificate that is ordered (`acme`) has none that is written; one of the two must go
    certificates.b.key_file: a certificate that is ordered (`acme`) has none that is written; one of the two must go
    certificates.b.acme: `*.b.test` cannot be ordered: authorities sign for names that begin with `*.` only if they are asked for by DNS (dns-01), which Serin does not do
    certificates.c.acme: a certificate is ordered for its `hosts`, and there are none
    certificates.e.hosts[0]: `a:1` has a port; routes match host names, listeners have ports
    certificates.e.acme.account: name `-` must begin with a letter or digit
    acme_accounts.bad.directory: a directory is `https://HOST/PATH`, without a user or a fragment
    acme_accounts.bad.contact[0]: `mailto:a@b` is not an address such as ops@example.com
    acme_accounts.bad.contact[1]: `a` is not an address such as ops@example.com
    acme_accounts.bad.agree_to_terms: the authority asks everybody to agree to its terms: read them, and say `true`
    acme_accounts.bad.ca: `ca_file` says it already; one of the two must go
    acme_accounts.bad.external_account.key_id: is empty
    acme_accounts.bad.external_account.key_file: is empty
    acme_accounts.none.directory: a directory is `https://HOST/PATH`, without a user or a fragment
    acme_accounts.none.external_account.key: `key_file` says it already; one of the two must go
    certificates.d.acme.account: there is no acme_account `x`"#,
    // listeners that speak TLS
    r#"{"listeners": {"a": {"address": "[::]:0", "tls": {"min_version": "1.3", "cipher_suites": ["TLS13_AES_128_GCM_SHA256"], "default_certificate": "c"}},
                      "b": {"address": "[::]:0", "tls": {"min_version": "1.3", "default_certificate": "-", "client_certificates": {"ca": "a", "ca_file": "b"},
                                                         "cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]}},
                      "c": {"address": "[::]:0", "tls": {"cipher_suites": []}}}}
    ---
    listeners.b.tls.cipher_suites[0]: `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` is of TLS 1.2, which `min_version` does not allow
    listeners.b.tls.default_certificate: name `-` must begin with a letter or digit
    listeners.b.tls.client_certificates.ca: `ca_file` says it already; one of the two must go
    listeners.c.tls.cipher_suites: without any there is no TLS; leave it out for the usual ones
    listeners.a.tls.default_certificate: there is no certificate `c`"#,
    // what is put in the place of hosts and paths, and of answers of nobody
    r#"{"routes": {"a": {"hosts": ["**.a.test"], "upstream": "u", "filters": [{"replace_host": "b.test"}, {"replace_path": "/b"}]},
                   "b": {"upstream": "u", "filters": [{"replace_host": "**.b.test"}, {"replace_host": "b:1"}, {"replace_path": "b"}]},
                   "c": {"filters": [{"redirect": {"replace_prefix": {"from": "/a", "to": "/b"}}}]},
                   "d": {"filters": [{"redirect": {"path": "/", "replace_prefix": {"from": "/a", "to": "/b"}}}]},
                   "e": {"filters": [{"redirect": {"replace_prefix": {"from": "/a", "to": "b"}}}]},
                   "f": {"filters": [{"redirect": {"host": "**.f.test"}}]}},
        "certificates": {"a": {"hosts": ["**.a.test"], "cert": "c", "key": "k"}},
        "upstreams": {"u": {"empty_status": 500}, "v": {"empty_status": 302}, "w": {"empty_status": 600}}}
    ---
    routes.b.filters[0].replace_host: endpoints cannot be told a wildcard
    routes.b.filters[1].replace_host: `b:1` has a port; routes match host names, listeners have ports
    routes.b.filters[2].replace_path: path `b` must begin with `/`
    routes.d.filters[0].redirect: a redirect has only one of `path` and `replace_prefix`
    routes.e.filters[0].redirect: path `b` must begin with `/`
    routes.f.filters[0].redirect: the host of a redirect cannot have a wildcard
    upstreams.v.empty_status: status 302 is none of a failure; use one from 400 to 599
    upstreams.w.empty_status: status 600 is none of a failure; use one from 400 to 599
    certificates.a.hosts[0]: `**.a.test` is more than a certificate can be for: `*` is one label"#,
    // endpoints
    r#"{"upstreams": {"u": {"endpoints": ["app:80", "10.0.0.1:0", "0.0.0.0:80", "224.0.0.1:80", "10.0.0.1:80", {"address": "10.0.0.1:80"},
                                          {"address": "10.0.0.2:80", "weight": 1001}]}}}
    ---
    upstreams.u.endpoints[0]: `app:80` is not an address such as 10.0.0.1:8080 or [2001:db8::1]:8080
    upstreams.u.endpoints[1]: `10.0.0.1:0` has port 0
    upstreams.u.endpoints[2]: `0.0.0.0:80` is not the address of one host
    upstreams.u.endpoints[3]: `224.0.0.1:80` is not the address of one host
    upstreams.u.endpoints[5]: `10.0.0.1:80` is listed twice
    upstreams.u.endpoints[6]: weight 1001 is above 1000"#,
    // discovery
    r#"{"upstreams": {
        "a": {"discovery": {"dns": {"name": "shop.service.consul.", "port": 8080}}},
        "b": {"discovery": {"dns": {"name": "_http._tcp.shop.service.consul", "srv": true, "resolvers": ["127.0.0.1:8600", "::1", "10.0.0.2"],
                                    "min_ttl": "10m", "max_ttl": "10m"}}},
        "c": {"discovery": {"dns": {"name": "a", "port": 1, "min_ttl": "10m"}}},
        "etcd1": {"discovery": {"etcd": {"prefix": "/shop_PRO/"}}},
        "etcd2": {"discovery": {"etcd": {"prefix": "/shop_PRO"}}},
        "etcd3": {"discovery": {"etcd": {"prefix": "/"}}},
        "d": {"discovery": {"dns": {"port": 65536}}},
        "e": {"discovery": {"dns": {"name": "10.0.0.1", "port": 0}}},
        "f": {"discovery": {"dns": {"name": "[2001:db8::1]"}}},
        "g": {"discovery": {"dns": {"name": "a..b", "srv": true, "port": 80}}},
        "h": {"discovery": {"dns": {"name": "a.1234567890123456789012345678901234567890123456789012345678901234", "srv": true,
                                    "resolvers": ["dns", "10.0.0.1:0", "0.0.0.0"]}}},
        "i": {"discovery": {"dns": {"name": "bücher.example", "srv": true, "min_ttl": "0s", "max_ttl": "25h"}}},
        "j": {"discovery": {"dns": {"name": "a.b", "srv": true, "min_ttl": "1m", "max_ttl": "59s",
                                    "resolvers": ["::1", "::1", "::1", "::1", "::1", "::1", "::1", "::1", "::1"]}}},
        "k": {"discovery": {"dns": {"name": "a.b", "srv": true}}, "endpoints": ["10.0.0.1:80"]}}}
    ---
    upstreams.d.discovery.dns.name: there is no name to look up, such as `shop.service.consul`
    upstreams.d.discovery.dns.port: 65536 is not between 1 and 65535
    upstreams.e.discovery.dns.name: `10.0.0.1` is an address and needs no lookup: write it as an endpoint
    upstreams.e.discovery.dns.port: 0 is not between 1 and 65535
    upstreams.etcd2.discovery.etcd.prefix: the prefix ends with `/`, so that it is of one name only
    upstreams.etcd3.discovery.etcd.prefix: the prefix would be that of all keys
    upstreams.f.discovery.dns.name: `[2001:db8::1]` is an address and needs no lookup: write it as an endpoint
    upstreams.f.discovery.dns: `port: 8080` is missing; or `srv: true`, where SRV records say the ports
    upstreams.g.discovery.dns.name: `a..b` has a part without a character between its dots
    upstreams.g.discovery.dns.port: SRV records have ports of their own: leave out `port` or `srv`
    upstreams.h.discovery.dns.name: `a.1234567890123456789012345678901234567890123456789012345678901234` has a part of more than 63 characters
    upstreams.h.discovery.dns.resolvers[0]: `dns` is not an address such as 10.0.0.2 or 127.0.0.1:8600
    upstreams.h.discovery.dns.resolvers[1]: `10.0.0.1:0` is not the address of one server
    upstreams.h.discovery.dns.resolvers[2]: `0.0.0.0:53` is not the address of one server
    upstreams.i.discovery.dns.name: `bücher.example` has a character other than letters, digits, `-`, `_` and `.`
    upstreams.i.discovery.dns.min_ttl: 0s is not between 1s and 1h
    upstreams.i.discovery.dns.max_ttl: 25h is not between 1s and 24h
    upstreams.j.discovery.dns.resolvers: more than 8 resolvers
    upstreams.j.discovery.dns.max_ttl: `max_ttl` is less than `min_ttl`
    upstreams.k.discovery: an upstream has only one of `endpoints` and `discovery`"#,
    // balancing
    r#"{"upstreams": {"a": {"balance": "drr"}, "b": {"balance": {"round_robin": {}}}, "c": {"balance": "consistent_hash"},
                      "d": {"balance": {"dwrr": {"by": "in_flight", "window": "1s", "latency_floor": "0.1ms", "sensitivity": 2, "min_share": 0.01, "slow_start": "0s"}}},
                      "e": {"balance": {"drr": {"window": "0.9s", "latency_floor": "0s", "sensitivity": 0.4, "min_share": 0, "slow_start": "11m"}}, "endpoints": ["x"]},
                      "f": {"balance": {"dwrr": {"window": "31s", "latency_floor": "2s", "sensitivity": 2.1, "min_share": 1.5}}},
                      "g": {"balance": {"consistent_hash": {"by": {"header": "a b"}, "bound": 1}}}, "h": {"balance": {"consistent_hash": {"by": {"cookie": "a;b"}, "bound": 11}}},
                      "i": {"balance": {"consistent_hash": {"by": {"cookie": "ok"}, "bound": 10}}}, "j": {"balance": {"sticky": {"life": "59s"}}},
                      "k": {"balance": {"sticky": {"life": "8760h"}}}}}
    ---
    upstreams.e.endpoints[0]: `x` is not an address such as 10.0.0.1:8080 or [2001:db8::1]:8080
    upstreams.e.balance.dwrr.window: 900ms is not within 1s to 30s
    upstreams.e.balance.dwrr.latency_floor: 0s is not within 0.1ms to 1s
    upstreams.e.balance.dwrr.sensitivity: 0.4 is not within 0.5 to 2
    upstreams.e.balance.dwrr.min_share: 0 is not within 0.01 to 1
    upstreams.e.balance.dwrr.slow_start: 660s is not within 0s to 600s
    upstreams.f.balance.dwrr.window: 31s is not within 1s to 30s
    upstreams.f.balance.dwrr.latency_floor: 2s is not within 0.1ms to 1s
    upstreams.f.balance.dwrr.sensitivity: 2.1 is not within 0.5 to 2
    upstreams.f.balance.dwrr.min_share: 1.5 is not within 0.01 to 1
    upstreams.g.balance.consistent_hash.by: `a b` is not a header name
    upstreams.g.balance.consistent_hash.bound: 1 is not within 1.05 to 10
    upstreams.h.balance.consistent_hash.by: `a;b` is not a cookie name
    upstreams.h.balance.consistent_hash.bound: 11 is not within 1.05 to 10
    upstreams.j.balance.sticky.life: 59s is not within 60s to 8760h"#,
    // breakers
    r#"{"upstreams": {"u": {"breaker": "NetworkErrorRatio() > 0.3"}, "v": {"breaker": false}, "w": {"breaker": {"streak": 0, "condition": "RequestThreshold() > 5"}},
                      "a": {"breaker": "1 > 0"}, "b": {"breaker": {"condition": "NetworkErrorRatio()", "min_requests": 0, "open": "99ms", "max_open": "25h", "streak": 1001}},
                      "c": {"breaker": {"open": "2m", "max_open": "1m"}}, "d": {"breaker": {"streak": 0}}, "e": {"breaker": {"open": "2m"}},
                      "f": {"group_breaker": {"condition": "RequestThreshold()", "fallback": "f", "streak": 2000}}, "g": {"group_breaker": {"condition": "RequestThreshold() > 1", "fallback": ""}},
                      "h": {"group_breaker": {"condition": "RequestThreshold() > 1", "fallback": "x"}}, "i": {"group_breaker": {"condition": "RequestThreshold() > 1", "fallback": "h"}}}}
    ---
    upstreams.a.breaker.condition: column 1: a comparison needs a measure: NetworkErrorRatio(), RequestThreshold(), LatencyAtQuantileMS(99), ResponseCodeRatio(500, 600, 0, 600)
    upstreams.b.breaker.condition: column 20: expected one of > >= < <= == !=, found the end
    upstreams.b.breaker.min_requests: 0 is not between 1 and 100000
    upstreams.b.breaker.open: 99ms is not between 100ms and 1h
    upstreams.b.breaker.max_open: 25h is not between 100ms and 24h
    upstreams.b.breaker.streak: 1001 is not between 0 and 1000
    upstreams.c.breaker.max_open: the longest time is shorter than the first, `open`
    upstreams.d.breaker: without a condition and without a streak nothing opens it; for none at all write `breaker: false`
    upstreams.f.group_breaker.condition: column 19: expected one of > >= < <= == !=, found the end
    upstreams.f.group_breaker.fallback: an upstream cannot stand in for itself
    upstreams.f.group_breaker.streak: 2000 is not between 0 and 1000
    upstreams.g.group_breaker.fallback: a name is empty
    upstreams.h.group_breaker.fallback: there is no upstream `x`"#,
    // retries and limits
    r#"{"upstreams": {"u": {"retry": {"tries": 1, "budget": "0%"}, "limits": {"in_flight": "auto", "in_flight_per_endpoint": 1000000, "queue": {"length": 10000, "timeout": "60s"}}},
                      "v": {"retry": {"tries": 0}, "limits": {"in_flight_per_endpoint": 0, "queue": {"length": 0, "timeout": "61s"}}},
                      "w": {"retry": {"tries": 6}, "limits": {"in_flight": 5, "queue": {"length": 10001, "timeout": "0s"}}}, "x": {"limits": {"queue": {"length": 1}}}},
        "routes": {"r": {"upstream": "u", "limits": {"rate_limit": {"rate": "100/s", "burst": 200, "by": {"header": "X-User"}}, "in_flight": 5}},
                   "s": {"upstream": "u", "limits": {"rate_limit": {"rate": "1/h", "burst": 0, "by": {"header": "a b"}}, "in_flight": 0}},
                   "t": {"upstream": "u", "limits": {"rate_limit": {"rate": "1000000/m", "burst": 1000001, "by": "all"}, "in_flight": 1000001}},
                   "v": {"upstream": "u", "limits": {"in_flight_per_key": {"limit": 0, "by": {"header": "a b"}}}},
                   "w": {"upstream": "u", "limits": {"in_flight_per_key": {"limit": 1, "by": "all"}}},
                   "x": {"upstream": "u", "limits": {"in_flight_per_key": {"limit": 1000000, "by": {"header": "X-User"}}}}}}
    ---
    routes.s.limits.rate_limit.burst: 0 is not between 1 and 1000000
    routes.s.limits.rate_limit.by.header: `a b` is not a header name
    routes.s.limits.in_flight: 0 is not between 1 and 1000000
    routes.t.limits.rate_limit.burst: 1000001 is not between 1 and 1000000
    routes.t.limits.in_flight: 1000001 is not between 1 and 1000000
    routes.v.limits.in_flight_per_key.limit: 0 is not between 1 and 1000000
    routes.v.limits.in_flight_per_key.by.header: `a b` is not a header name
    routes.w.limits.in_flight_per_key.by: `all` is what `in_flight` is for
    upstreams.v.retry.tries: 0 is not between 1 and 5
    upstreams.v.limits.in_flight_per_endpoint: 0 is not between 1 and 1000000
    upstreams.v.limits.queue.length: 0 is not between 1 and 10000
    upstreams.v.limits.queue.timeout: 61s is not between 1ms and 60s
    upstreams.w.retry.tries: 6 is not between 1 and 5
    upstreams.w.limits.queue.length: 10001 is not between 1 and 10000
    upstreams.w.limits.queue.timeout: 0s is not between 1ms and 60s
    upstreams.x.limits.queue: without `in_flight` or `in_flight_per_endpoint` nobody would ever wait"#,
    // mirrors
    r#"{"routes": {"a": {"upstream": "u", "mirror": {"upstream": "v", "percent": 0.01, "max_body": "1MiB"}},
                   "b": {"upstream": "u", "mirror": {"upstream": "gone"}},
                   "c": {"upstream": "u", "mirror": {"upstream": "u", "max_body": 1048577}},
                   "d": {"upstream": "u", "mirror": {"upstream": ""}},
                   "e": {"filters": [{"redirect": {"path": "/x"}}], "mirror": {"upstream": "v"}},
                   "f": {"split": [{"upstream": "u", "weight": 1}, {"upstream": "v", "weight": 1}], "mirror": {"upstream": "v"}}},
        "upstreams": {"u": {}, "v": {}}}
    ---
    routes.c.mirror.upstream: upstream `u` serves the route, so it has every request already
    routes.c.mirror.max_body: it is above 1MiB, the most a mirrored body can have
    routes.d.mirror.upstream: a name is empty
    routes.e.mirror: a route that redirects sends no request that could be mirrored
    routes.b.mirror.upstream: there is no upstream `gone`"#,
    // connections
    r#"{"upstreams": {"a": {"connections": {"max_age": "1s", "max_requests": 1, "max_streams": 1, "ping": "1s", "idle_timeout": "100ms", "warm": 64, "tcp_keepalive": "1s", "tcp_user_timeout": "1h"}},
                      "b": {"connections": {"max_age": "0s", "max_requests": 0, "max_streams": 0, "ping": "999ms", "idle_timeout": "99ms", "warm": 65, "tcp_keepalive": "999ms", "tcp_user_timeout": "0s"}},
                      "c": {"connections": {"max_age": "25h", "max_requests": 1000001, "max_streams": 1001, "ping": "61m", "idle_timeout": "61m", "tcp_keepalive": "2h", "tcp_user_timeout": "2h"}}}}
    ---
    upstreams.b.connections.max_age: 0s is not between 1s and 24h
    upstreams.b.connections.max_requests: 0 is not between 1 and 1000000
    upstreams.b.connections.max_streams: 0 is not between 1 and 1000
    upstreams.b.connections.ping: 999ms is not between 1s and 1h
    upstreams.b.connections.idle_timeout: 99ms is not between 100ms and 1h
    upstreams.b.connections.warm: 65 is not between 0 and 64
    upstreams.b.connections.tcp_keepalive: 999ms is not between 1s and 1h
    upstreams.b.connections.tcp_user_timeout: 0s is not between 1s and 1h
    upstreams.c.connections.max_age: 25h is not between 1s and 24h
    upstreams.c.connections.max_requests: 1000001 is not between 1 and 1000000
    upstreams.c.connections.max_streams: 1001 is not between 1 and 1000
    upstreams.c.connections.ping: 3660s is not between 1s and 1h
    upstreams.c.connections.idle_timeout: 3660s is not between 100ms and 1h
    upstreams.c.connections.tcp_keepalive: 2h is not between 1s and 1h
    upstreams.c.connections.tcp_user_timeout: 2h is not between 1s and 1h"#,
    // endpoints that are told whose a connection is
    r#"{"upstreams": {"a": {"proxy_protocol": "v2", "tls": {}, "connections": {"warm": 0}}, "b": {"proxy_protocol": "v2", "protocol": "h2c"},
                      "c": {"proxy_protocol": "v2", "protocol": "h2", "tls": {}, "connections": {"warm": 1}}}}
    ---
    upstreams.b.proxy_protocol: a connection of HTTP/2 carries requests of many clients, and this names one of them: `protocol` has to be `http1`
    upstreams.c.proxy_protocol: a connection of HTTP/2 carries requests of many clients, and this names one of them: `protocol` has to be `http1`
    upstreams.c.connections.warm: with `proxy_protocol` each connection is a client's, so none can be opened before it comes"#,
    // health checks
    r#"{"upstreams": {"a": {"health": {"path": "/healthz"}}, "b": {"health": {"tcp": true, "interval": "100ms", "timeout": "100ms", "rise": 1, "fall": 100}},
                      "c": {"health": {"path": "/x?deep=1", "host": "shop.test:81", "status": [204, "300-399"], "body": "fine"}},
                      "d": {"health": {}}, "e": {"health": {"tcp": false}}, "f": {"health": {"path": "/", "tcp": true}},
                      "g": {"health": {"tcp": true, "host": "a", "status": [200], "body": "b"}},
                      "h": {"health": {"path": "x", "interval": "99ms", "timeout": "61s", "rise": 0, "fall": 101, "host": "a b", "status": [], "body": ""}},
                      "k": {"protocol": "h2c", "health": {"grpc": {"service": "shop.Orders"}}}, "l": {"health": {"grpc": {}}},
                      "m": {"protocol": "h2c", "health": {"grpc": {}, "path": "/"}}, "n": {"protocol": "h2c", "health": {"grpc": {}, "status": [200]}},
                      "i": {"health": {"path": "/a b", "interval": "1s", "timeout": "2s"}}, "j": {"health": {"path": "/#top", "host": ""}}}}
    ---
    upstreams.d.health: a check needs `path: /healthz` for a request, or `tcp: true` for a connection alone
    upstreams.e.health: a check needs `path: /healthz` for a request, or `tcp: true` for a connection alone
    upstreams.f.health: a check has only one of `path`, `grpc` and `tcp`
    upstreams.g.health.host: a check with `tcp` sends no request and gets no answer
    upstreams.g.health.status: a check with `tcp` sends no request and gets no answer
    upstreams.g.health.body: a check with `tcp` sends no request and gets no answer
    upstreams.h.health.path: path `x` must begin with `/`
    upstreams.h.health.host: `a b` has a character that a host name cannot have
    upstreams.h.health.status: without a status no answer would be good
    upstreams.h.health.body: every body has nothing in it; leave `body` out
    upstreams.h.health.interval: 99ms is not between 100ms and 1h
    upstreams.h.health.timeout: 61s is not between 1ms and 60s
    upstreams.h.health.rise: 0 is not between 1 and 100
    upstreams.h.health.fall: 101 is not between 1 and 100
    upstreams.i.health.path: path `/a b` has a character that must be escaped
    upstreams.j.health.path: path `/#top` has a fragment, which is never sent
    upstreams.j.health.host: a host name is empty
    upstreams.l.health.grpc.service: needs an upstream with `protocol: h2` or `h2c`
    upstreams.m.health: a check has only one of `path`, `grpc` and `tcp`
    upstreams.n.health.status: a check with `grpc` has a request and an answer of its own"#,
    // TLS with endpoints
    r#"{"upstreams": {"a": {"tls": {}}, "b": {"protocol": "h2", "tls": {"ca_file": "ca.pem", "server_name": "App.internal"}},
                      "c": {"tls": {"ca": "x", "cert_file": "c.pem", "key": "x", "server_name": "2001:DB8::1"}},
                      "d": {"protocol": "h2"}, "e": {"protocol": "h2c", "tls": {}}, "f": {"tls": {"ca": "x", "ca_file": "y", "key_file": ""}},
                      "g": {"tls": {"cert": "x", "cert_file": "y", "ca_file": ""}}, "h": {"tls": {"server_name": "*.internal"}},
                      "i": {"tls": {"server_name": "a:443"}}, "j": {"tls": {"server_name": "[::1]"}}, "k": {"tls": {"server_name": ""}}}}
    ---
    upstreams.d.protocol: `h2` is HTTP/2 with TLS, so it needs `tls`: `{}` trusts whom the system trusts; without TLS it is `h2c`
    upstreams.e.protocol: `h2c` is HTTP/2 without TLS; with `tls` it is `h2`
    upstreams.f.tls.ca: `ca_file` says it already; one of the two must go
    upstreams.f.tls: `cert_file` or `cert` is missing
    upstreams.f.tls.key_file: is empty
    upstreams.g.tls.ca_file: is empty
    upstreams.g.tls.cert: `cert_file` says it already; one of the two must go
    upstreams.g.tls: `key_file` or `key` is missing
    upstreams.h.tls.server_name: `*.internal` is not a host name such as app.internal, nor an address
    upstreams.i.tls.server_name: `a:443` is not a host name such as app.internal, nor an address
    upstreams.j.tls.server_name: `[::1]` is not a host name such as app.internal, nor an address
    upstreams.k.tls.server_name: `` is not a host name such as app.internal, nor an address"#,
    // hosts
    r#"{"routes": {"r": {"upstream": "u", "hosts": ["A.example.", "*.Example", "*", "a.*.b", "*a.b", "a..b", "a:80", "", "*.", "http://a", "ä", "[::1"]}}, "upstreams": {"u": {}}}
    ---
    routes.r.hosts[2]: `*`: `*` stands only for the whole first label, as in *.example.com; for any host leave `hosts` out
    routes.r.hosts[3]: `a.*.b`: `*` stands only for the whole first label, as in *.example.com; for any host leave `hosts` out
    routes.r.hosts[4]: `*a.b`: `*` stands only for the whole first label, as in *.example.com; for any host leave `hosts` out
    routes.r.hosts[5]: `a..b` has an empty label
    routes.r.hosts[6]: `a:80` has a port; routes match host names, listeners have ports
    routes.r.hosts[7]: a host name is empty
    routes.r.hosts[8]: a host name is empty
    routes.r.hosts[9]: `http://a` is a URL; write the host name alone
    routes.r.hosts[10]: `ä` has a character that a host name cannot have; names of other scripts are written as xn--…
    routes.r.hosts[11]: `[::1` has brackets without an IPv6 address in them; write names without brackets, which are for IPv6 addresses as in [::1]"#,
    // paths
    r#"{"routes": {"r": {"upstream": "u", "paths": [{"exact": "/a//b"}, {"exact": "a"}, {"prefix": ""}, {"prefix": "/a?b"}, {"exact": "/a#b"}, {"exact": "/%zz"},
                                                    {"prefix": "/%00"}, {"prefix": "/a b"}, {"prefix": "/..;/"}, {"regex": "("}, {"regex": "[a-z]{9999}"}, {"regex": "(?=a)"}]}},
        "upstreams": {"u": {}}}
    ---
    routes.r.paths[1]: path `a` must begin with `/`
    routes.r.paths[2]: path `` must begin with `/`
    routes.r.paths[3]: path `/a?b` has a query or fragment; use `query` conditions
    routes.r.paths[4]: path `/a#b` has a query or fragment; use `query` conditions
    routes.r.paths[5]: path `/%zz` has a `%` without two hexadecimal digits
    routes.r.paths[6]: path `/%00` has an escaped control character
    routes.r.paths[7]: path `/a b` has a character that must be escaped
    routes.r.paths[8]: path `/..;/` has `.` or `..` beside `;`, `%2F` or `%5C`, which servers read differently
    routes.r.paths[9]: regular expression `(`: unclosed group
    routes.r.paths[10]: regular expression `[a-z]{9999}` is too big
    routes.r.paths[11]: regular expression `(?=a)`: look-around, including look-ahead and look-behind, is not supported"#,
    // conditions of a route
    r#"{"routes": {"r": {"upstream": "u", "methods": ["PURGE", "get", "CONNECT", "G T"], "headers": {"x y": "1", "ok": {"regex": "*"}}, "query": {"q": {"regex": ")"}},
                         "client_ip": ["10.0.0.1", "10.0.0.1/8", "10.0.0.0/33", "office"], "listeners": ["a b"]}}, "upstreams": {"u": {}}}
    ---
    routes.r.methods[1]: method `get` is written in capitals: GET
    routes.r.methods[2]: CONNECT is for forward proxies and never served
    routes.r.methods[3]: `G T` is not a method
    routes.r.headers.ok: regular expression `*`: repetition operator missing expression
    routes.r.headers.x y: `x y` is not a header name
    routes.r.query.q: regular expression `)`: unopened group
    routes.r.client_ip[1]: `10.0.0.1/8` has bits set beyond its prefix; write `10.0.0.0/8`
    routes.r.client_ip[2]: `10.0.0.0/33` is not an address or a network such as 10.0.0.0/8
    routes.r.client_ip[3]: `office` is not an address or a network such as 10.0.0.0/8
    routes.r.listeners[0]: name `a b` has a character other than letters, digits, `.`, `_` and `-`"#,
    // targets
    r#"{"routes": {"a": {}, "b": {"upstream": "u", "split": [{"upstream": "u", "weight": 1}]}, "c": {"upstream": "u", "filters": [{"redirect": {"port": 1}}]},
                   "d": {"split": [{"upstream": "u", "weight": 0}]}, "e": {"split": [{"upstream": "u", "weight": 1000001}, {"upstream": " ", "weight": 1}]},
                   "f": {"filters": [{"redirect": {"scheme": "https"}}], "release": "x"}, "g": {"upstream": "?"}, "h": {"upstream": "u", "release": ["?"]}},
        "upstreams": {"u": {}}}
    ---
    routes.a: a route needs one of `upstream`, `split` and a `redirect` filter
    routes.b: a route has only one of `upstream`, `split` and a `redirect` filter
    routes.c: a route has only one of `upstream`, `split` and a `redirect` filter
    routes.d.split: at least one weight must be above 0
    routes.e.split[0]: weight 1000001 is above 1000000, the most a part of a split can have
    routes.e.split[1]: name ` ` must begin with a letter or digit
    routes.f.release: a route that redirects has no upstream a release could move users from
    routes.g.upstream: name `?` must begin with a letter or digit
    routes.h.release[0]: name `?` must begin with a letter or digit"#,
    // filters, and everything else of the same route
    r#"{"routes": {"r": {"upstream": "u", "filters": [{"strip_prefix": "a"}, {"replace_prefix": {"from": "/a", "to": "/b?c"}}, {"set_request_header": {"a b": "1", "x": "\n"}},
            {"add_request_header": {"Host": "a"}}, {"remove_request_header": ["Content-Length", "ok", "keep-alive"]}, {"set_response_header": {"connection": "close"}},
            {"add_response_header": {"Transfer-Encoding": "chunked"}}, {"remove_response_header": ["ä"]}], "methods": ["get"], "upgrade": ["WebSocket", "h2c", "a b"],
            "trailers": ["grpc-status", "cookie", "te", "?"], "timeouts": {"connect": "0s", "request": "0ms", "idle": "0s", "total": "0h", "tunnel_idle": "0m"}}}, "upstreams": {"u": {}}}
    ---
    routes.r.methods[0]: method `get` is written in capitals: GET
    routes.r.filters[0].strip_prefix: path `a` must begin with `/`
    routes.r.filters[1].replace_prefix: path `/b?c` has a query or fragment; use `query` conditions
    routes.r.filters[2].set_request_header.a b: `a b` is not a header name
    routes.r.filters[2].set_request_header.x: `\n` is not a header value
    routes.r.filters[3].add_request_header.Host: `host` is part of the message framing and cannot be changed by a filter
    routes.r.filters[4].remove_request_header[0]: `content-length` is part of the message framing and cannot be changed by a filter
    routes.r.filters[4].remove_request_header[2]: `keep-alive` is part of the message framing and cannot be changed by a filter
    routes.r.filters[5].set_response_header.connection: `connection` is part of the message framing and cannot be changed by a filter
    routes.r.filters[6].add_response_header.Transfer-Encoding: `transfer-encoding` is part of the message framing and cannot be changed by a filter
    routes.r.filters[7].remove_response_header[0]: `ä` is not a header name
    routes.r.timeouts.connect: a time limit of 0 would fail every request; leave the field out for the default
    routes.r.timeouts.request: a time limit of 0 would fail every request; leave the field out for the default
    routes.r.timeouts.idle: a time limit of 0 would fail every request; leave the field out for the default
    routes.r.timeouts.total: a time limit of 0 would fail every request; leave the field out for the default
    routes.r.timeouts.tunnel_idle: a time limit of 0 would fail every request; leave the field out for the default
    routes.r.upgrade[1]: `h2c` cannot be allowed: the tunnel would carry requests past every rule
    routes.r.upgrade[2]: `a b` is not a protocol token
    routes.r.trailers[1]: `cookie` has no meaning, or a dangerous one, in trailers
    routes.r.trailers[2]: `te` is part of the message framing and cannot be a trailer
    routes.r.trailers[3]: `?` is not a header name"#,
    // redirects
    r#"{"routes": {"a": {"filters": [{"redirect": {}}]}, "b": {"filters": [{"redirect": {"status": 304, "port": 1}}]}, "c": {"filters": [{"redirect": {"scheme": "ftp"}}]},
                   "d": {"filters": [{"redirect": {"host": "*.a"}}]}, "e": {"filters": [{"redirect": {"host": "a/b"}}]}, "f": {"filters": [{"redirect": {"path": "x"}}]},
                   "g": {"filters": [{"redirect": {"port": 1}}, {"redirect": {"port": 2}}]}, "h": {"filters": [{"redirect": {"status": 308, "scheme": "https", "host": "A", "port": 443, "path": "/x"}}]}}}
    ---
    routes.a.filters[0].redirect: a redirect must change scheme, host, port or path, or it leads back to itself
    routes.b.filters[0].redirect: status 304 is not a redirect; use 301, 302, 303, 307 or 308
    routes.c.filters[0].redirect: scheme `ftp` is neither http nor https
    routes.d.filters[0].redirect: the host of a redirect cannot have a wildcard
    routes.e.filters[0].redirect: `a/b` has a character that a host name cannot have; a host has no path and no network, which are `paths` and `client_ip` of a route
    routes.f.filters[0].redirect: path `x` must begin with `/`
    routes.g.filters[1]: a route has at most one redirect"#,
    // releases
    r#"{"upstreams": {"u": {}, "v": {}}, "releases": {
            "a": {"stable": "u", "canary": "u", "audience": []},
            "b": {"stable": "", "canary": "v", "audience": [{"name": "n"}], "override": {"header": "x y"}},
            "c": {"stable": "u", "canary": "v", "audience": [{"name": "n"}, {"name": "n", "percent": 1}, {"name": ""}, {"name": "a\tb"}], "phases": [1, 10, 10]},
            "d": {"stable": "u", "canary": "v", "phases": [5, 1], "audience": [{"name": "n", "ip": ["x"], "device": ["toaster"], "geo": {}, "header": {"a b": "1"}, "cookie": {"a=b": "1"}},
                                                              {"name": "m", "geo": {"country": ["CN", "China"]}}],
                  "sticky": {"key": [{"header": ""}, {"cookie": ";"}, "client_ip"], "salt": "xyz"}, "override": {"cookie": "a;b"}}}}
    ---
    releases.a.canary: stable and canary are the same upstream
    releases.a.audience: an audience needs at least one rule, for example [{name: everyone}]
    releases.b.stable: a name is empty
    releases.b.phases: a rule follows the phases, but there are none; write for example [1, 10, 50, 100]
    releases.b.override: `x y` is not a header name
    releases.c.audience[1].name: another rule is already called `n`
    releases.c.audience[2].name: a rule needs a name, which logs and `explain` show
    releases.c.audience[3].name: name `a\tb` has a control character
    releases.c.phases[2]: phases must grow, but 10 follows 10
    releases.d.audience[0].ip[0]: `x` is not an address or a network such as 10.0.0.0/8
    releases.d.audience[0].device[0]: unknown device "toaster"; one of iphone, ipad, android_phone, android_tablet, windows, mac, linux, tv, bot, other
    releases.d.audience[0].geo: a geo condition needs a country, subdivision or city
    releases.d.audience[0].header.a b: `a b` is not a header name
    releases.d.audience[0].cookie.a=b: `a=b` is not a cookie name
    releases.d.audience[1].geo: country `China` is not a two-letter code such as CN
    releases.d.phases[1]: phases must grow, but 1 follows 5
    releases.d.override: `a;b` is not a cookie name
    releases.d.sticky.key[0]: `` is not a header name
    releases.d.sticky.key[1]: `;` is not a cookie name
    releases.d.sticky.salt: salt `xyz` is not 32 hexadecimal digits"#,
];

#[test]
fn an_unknown_cipher_suite_is_told_with_those_that_there_are() {
    let spec = r#"{"listeners": {"a": {"address": "[::]:0", "tls": {"cipher_suites": ["RC4"]}}}}"#;
    let spec: Spec = serde_json::from_str(spec).expect("a spec");
    let (_, problems) = RuleSet::from_spec(&spec);
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    let starts =
        "listeners.a.tls.cipher_suites[0]: there is no cipher suite `RC4`; there are TLS13_AES_256_GCM_SHA384, ";
    assert!(problem.to_string().starts_with(starts), "{problem}");
}

#[test]
fn a_key_is_not_shown() {
    let spec = r#"{"certificates": {"a": {"cert": "c", "key": "SECRET"}}}"#;
    let spec: Spec = serde_json::from_str(spec).expect("a spec");
    let (rules, problems) = RuleSet::from_spec(&spec);
    assert!(problems.is_empty());
    assert!(!format!("{spec:?}{rules:?}").contains("SECRET"));
    // It is stored, or it would be gone with the next start.
    assert!(serde_json::to_string(&spec).expect("JSON").contains("SECRET"));
}

#[test]
fn every_problem_is_named() {
    for case in CASES {
        let (json, expected) = case.split_once("---").unwrap();
        let spec: Spec = serde_json::from_str(json).unwrap();
        let (_, problems) = RuleSet::from_spec(&spec);
        let found: Vec<String> =
            problems.iter().map(|problem| problem.to_string().replace('\u{7}', "\\u{7}")).collect();
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert!(found == expected, "found:\n{}\n\nexpected:\n{}", found.join("\n"), expected.join("\n"));
    }
}

/// A field of an upstream or a route as JSON, and why it cannot be read.
const UNREADABLE: &[(&str, &str)] = &[
    (r#""mirror": {"upstream": "v", "percent": 101}"#, "percent 101 is above 100, which is everybody"),
    (r#""mirror": {"upstream": "v", "percent": 0.001}"#, "percent 0.001 has more than two decimals, the least is 0.01"),
    (r#""mirror": {"percent": 1}"#, "missing field `upstream`"),
    (
        r#""breaker": 5"#,
        r#"invalid type: integer `5`, expected a condition, false, or a map such as {condition: "NetworkErrorRatio() > 0.3", open: 5s}"#,
    ),
    (
        r#""breaker": {"conditon": "x"}"#,
        "unknown field `conditon`, expected one of `enabled`, `condition`, `min_requests`, `open`, `max_open`, `streak`",
    ),
    (r#""breaker": {"open": 5}"#, "duration `5` needs a unit: ms, s, m or h"),
    (r#""group_breaker": {"fallback": "u"}"#, "missing field `condition`"),
    (
        r#""group_breaker": {"condition": "x", "peer": 1}"#,
        "unknown field `peer`, expected one of `condition`, `fallback`, `min_requests`, `open`, `max_open`, `streak`",
    ),
    (r#""retry": {"budget": 101}"#, "percent 101 is above 100, which is everybody"),
    (
        r#""health": {"path": "/", "every": "5s"}"#,
        "unknown field `every`, expected one of `path`, `grpc`, `tcp`, `interval`, `timeout`, `rise`, `fall`, `host`, `status`, `body`",
    ),
    (r#""health": "tcp""#, "invalid type: string \"tcp\", expected struct HealthSpec"),
    (r#""health": {"status": [199]}"#, "`199` is not a status from 200 to 599, or a range of them such as 200-299"),
    (r#""health": {"status": ["2xx"]}"#, "`2xx` is not a status from 200 to 599, or a range of them such as 200-299"),
    (r#""health": {"status": ["299-200"]}"#, "`299-200` ends before it begins"),
    (
        r#""connections": {"keepalive": "5s"}"#,
        "unknown field `keepalive`, expected one of `max_age`, `max_requests`, `max_streams`, `ping`, `idle_timeout`, `warm`, `tcp_keepalive`, `tcp_user_timeout`",
    ),
    (r#""protocol": "http2""#, "unknown variant `http2`, expected one of `http1`, `h2`, `h2c`"),
    (r#""proxy_protocol": "v1""#, "unknown variant `v1`, expected `v2`"),
    (r#""retry": {"attempts": 2}"#, "unknown field `attempts`, expected `tries` or `budget`"),
    (r#""limits": {"in_flight": 0}"#, "`0` is neither a number from 1 to 1000000 nor `auto`"),
    (r#""limits": {"in_flight": "Auto"}"#, "`Auto` is neither a number from 1 to 1000000 nor `auto`"),
    (r#""limits": {"queue": {"timeout": "1s"}}"#, "missing field `length`"),
    (r#""limits": {"rate_limit": {"rate": 100}}"#, "rate `100` needs a time: 100/s, 30/m or 1000/h"),
    (r#""limits": {"rate_limit": {"rate": "0/s"}}"#, "rate `0/s` does not begin with a number from 1 to 1000000"),
    (r#""limits": {"rate_limit": {"rate": "1.5/s"}}"#, "rate `1.5/s` does not begin with a number from 1 to 1000000"),
    (r#""limits": {"rate_limit": {"rate": "5/d"}}"#, "rate `5/d` has an unknown time `d`; use s, m or h"),
    (r#""limits": {"rate_limit": {"burst": 5}}"#, "missing field `rate`"),
    (
        r#""limits": {"rate_limit": {"rate": "5/s", "by": "cookie"}}"#,
        "unknown variant `cookie`, expected one of `client_ip`, `header`, `all`",
    ),
];

#[test]
fn what_cannot_be_read_is_named() {
    for (field, message) in UNREADABLE {
        let is_of_route = ["rate_limit", "mirror"].iter().any(|word| field.contains(word));
        let kind = if is_of_route { "routes" } else { "upstreams" };
        let spec = format!(r#"{{"{kind}": {{"x": {{{field}}}}}}}"#);
        let found = serde_json::from_str::<Spec>(&spec).unwrap_err().to_string();
        assert!(found.starts_with(&format!("{message} at line")), "{field}\n{found}\n{message}");
    }
}

#[test]
fn the_name_that_endpoints_must_have_is_never_one_that_an_answer_said() {
    let json = r#"{"upstreams": {"own": {"tls": {}}, "named": {"tls": {"server_name": "App.internal"}, "protocol": "h2"},
                                 "address": {"tls": {"server_name": "2001:DB8:0::1"}},
                                 "dns": {"tls": {}, "discovery": {"dns": {"name": "Shop.consul", "srv": true}}},
                                 "both": {"tls": {"server_name": "x.test"}, "discovery": {"dns": {"name": "shop.consul", "port": 1}}}}}"#;
    let (rules, problems) = RuleSet::from_spec(&serde_json::from_str(json).unwrap());
    assert_eq!(problems, []);
    let tls = |name: &str| rules.upstream(name).unwrap().tls().unwrap();
    let name = |name: &str| tls(name).server_name.as_deref();
    assert_eq!((name("own"), name("named"), name("address")), (None, Some("app.internal"), Some("2001:db8::1")));
    assert_eq!((name("dns"), name("both")), (Some("shop.consul"), Some("x.test")));
    assert_eq!((tls("own").protocol, tls("named").protocol), (Protocol::Http1, Protocol::Http2));
    let with = |tls: &str| {
        let json = json.replace(r#""own": {"tls": {}}"#, &format!(r#""own": {{"breaker": false, "tls": {tls}}}"#));
        RuleSet::from_spec(&serde_json::from_str(&json).unwrap()).0
    };
    assert!(rules.has_same_tls(&with("{}")) && !rules.has_same_tls(&with("null")));
    assert!(!rules.has_same_tls(&with(r#"{"ca_file": "ca.pem"}"#)));
}

#[test]
fn breakers_retries_and_limits_have_defaults() {
    let json = r#"{"upstreams": {"u": {}, "w": {"protocol": "h2c"}, "v": {"breaker": false, "proxy_protocol": "v2"}, "x": {"breaker": {"condition": "RequestThreshold() > 1 ", "open": "2m", "streak": 7}},
                                 "y": {"group_breaker": {"condition": "RequestThreshold() > 1", "fallback": "u"}, "limits": {"in_flight": 7, "queue": {"length": 3}}}},
                   "routes": {"r": {"upstream": "u", "limits": {"rate_limit": {"rate": " 300 / m "}}}, "s": {"upstream": "u", "limits": {"rate_limit": {"rate": "5/h"}}}}}"#;
    let spec: Spec = serde_json::from_str(json).unwrap();
    let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(again, spec, "what is kept on disk is read back");
    let (rules, problems) = RuleSet::from_spec(&spec);
    assert_eq!(problems, []);
    let upstream = |name: &str| rules.upstream(name).unwrap();
    let breaker = upstream("u").breaker().unwrap();
    assert_eq!((&breaker.condition, breaker.settings), (&None, Settings::endpoint()));
    assert_eq!(upstream("u").retry(), &Retry { tries: 2, budget: Percent::from_basis_points(2_000).unwrap() });
    assert_eq!(upstream("u").limits(), &UpstreamLimits::default());
    assert_eq!(upstream("u").connections(), &Connections::default());
    assert_eq!((upstream("u").protocol(), upstream("w").protocol()), (Protocol::Http1, Protocol::Http2));
    assert!(upstream("v").announces_clients() && !upstream("u").announces_clients());
    assert!(upstream("u").group_breaker().is_none() && upstream("v").breaker().is_none());
    let breaker = upstream("x").breaker().unwrap();
    assert_eq!(breaker.condition.as_ref().unwrap().to_string(), "RequestThreshold() > 1");
    let settings = Settings { open_ms: 120_000, max_open_ms: 120_000, streak: Streak::new(7), ..Settings::endpoint() };
    assert_eq!(breaker.settings, settings);
    assert_eq!(upstream("y").group_breaker().unwrap().settings, Settings::group());
    let queue = Some(Queue { length: 3, timeout: Duration::from_secs(1) });
    let limits = UpstreamLimits { in_flight: Some(InFlight::Fixed(7)), in_flight_per_endpoint: None, queue };
    assert_eq!(upstream("y").limits(), &limits);
    let rates: Vec<_> = rules.routes().map(|route| route.rate_limit().unwrap().clone()).collect();
    let rate = |count, seconds, burst| RateLimit {
        rate: Rate::new(count, Duration::from_secs(seconds), burst),
        by: LimitKey::ClientIp,
    };
    assert_eq!(rates, [rate(300, 60, 5), rate(5, 3_600, 1)]);
}

#[test]
fn health_checks_have_defaults() {
    let json = r#"{"upstreams": {"u": {}, "v": {"health": {"path": "/healthz"}}, "w": {"health": {"tcp": true, "interval": "1s"}},
                                 "x": {"health": {"path": "/", "status": [200, "301-302"]}}}}"#;
    let spec: Spec = serde_json::from_str(json).unwrap();
    let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(again, spec, "what is kept on disk is read back");
    let (rules, problems) = RuleSet::from_spec(&spec);
    assert_eq!(problems, []);
    let check = |name: &str| rules.upstream(name).unwrap().health().map(|check| (**check).clone());
    assert_eq!(check("u"), None);
    let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(2));
    let thresholds = Thresholds { rise: 2, fall: 3 };
    let http = HttpProbe { path: "/healthz".into(), host: None, statuses: [].into(), body: None };
    assert_eq!(
        check("v"),
        Some(HealthCheck {
            probe: Probe::Http(http.clone()),
            protocol: Protocol::Http1,
            interval,
            timeout,
            thresholds
        })
    );
    let second = Duration::from_secs(1);
    let tcp = HealthCheck { probe: Probe::Tcp, protocol: Protocol::Http1, interval: second, timeout, thresholds };
    assert_eq!(check("w"), Some(tcp));
    let takes = |http: &HttpProbe| [199, 200, 204, 301, 302, 303, 399, 400].map(|status| http.takes(status));
    assert_eq!(takes(&http), [false, true, true, true, true, true, true, false]);
    let Some(Probe::Http(http)) = check("x").map(|check| check.probe) else { panic!("a request") };
    assert_eq!(takes(&http), [false, true, false, true, true, false, false, false]);
}

#[test]
fn a_fallback_is_a_reference_like_others() {
    let json =
        r#"{"upstreams": {"u": {"group_breaker": {"condition": "RequestThreshold() > 1", "fallback": "v"}}, "v": {}}}"#;
    let (mut rules, problems) = RuleSet::from_spec(&serde_json::from_str(json).unwrap());
    assert_eq!(problems, []);
    let (u, v) = (Name::new("u").unwrap(), Name::new("v").unwrap());
    assert_eq!(rules.users(Kind::Upstream, &v).collect::<Vec<_>>(), [&(Kind::Upstream, u)]);
    rules.remove(Kind::Upstream, "v");
    let message = "upstreams.u.group_breaker.fallback: there is no upstream `v`";
    let dangling = rules.dangling_of(Kind::Upstream, "u");
    assert_eq!(dangling.iter().map(|dangling| dangling.error().to_string()).collect::<Vec<_>>(), [message]);
    assert_eq!(rules.dangling(), dangling);
    rules.remove(Kind::Upstream, "u");
    assert_eq!((rules.users(Kind::Upstream, &v).count(), rules.dangling()), (0, vec![]));
}

#[test]
fn mirrors_have_defaults_and_are_references_like_others() {
    let json = r#"{"routes": {"r": {"upstream": "u", "mirror": {"upstream": "v"}}, "s": {"upstream": "u", "mirror": {"upstream": "v", "percent": 12.34, "max_body": 0}}},
                   "upstreams": {"u": {}, "v": {}}}"#;
    let spec: Spec = serde_json::from_str(json).unwrap();
    let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(again, spec, "what is kept on disk is read back");
    let (mut rules, problems) = RuleSet::from_spec(&spec);
    assert_eq!(problems, []);
    let mirrors: Vec<Mirror> = rules.routes().filter_map(|route| route.mirror().cloned()).collect();
    let v = Name::new("v").unwrap();
    let mirror = |percent, max_body| Mirror { upstream: v.clone(), percent, max_body };
    assert_eq!(
        mirrors,
        [mirror(Percent::ALL, 64 << 10), mirror(Percent::from_basis_points(1_234).unwrap(), 0)],
        "of r and s"
    );
    assert_eq!(rules.users(Kind::Upstream, &v).count(), 2);
    rules.remove(Kind::Upstream, "v");
    let dangling = rules.dangling_of(Kind::Route, "r");
    assert_eq!(dangling[0].error().to_string(), "routes.r.mirror.upstream: there is no upstream `v`");
    assert_eq!(rules.dangling().len(), 2);
}

#[test]
fn services_that_are_asked_are_references_like_others() {
    let json = r#"{"routes": {"r": {"upstream": "u", "filters": [{"strip_prefix": "/a"}, {"forward_auth": {"upstream": "v", "timeout": "1s"}}]},
                              "s": {"filters": [{"forward_auth": {"upstream": "v", "path": "/in"}}, {"redirect": {"path": "/x"}}]},
                              "t": {"hosts": ["{branch}.a.test"], "upstream": "e", "filters": [{"forward_auth": {"upstream": "e"}}]}},
                   "upstreams": {"u": {}, "v": {}, "e": {"discovery": {"etcd": {"prefix": "/e_{branch}/"}}}}}"#;
    let spec: Spec = serde_json::from_str(json).unwrap();
    let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(again, spec, "what is kept on disk is read back");
    let (mut rules, problems) = RuleSet::from_spec(&spec);
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let of_template = "routes.t.filters[0].forward_auth.upstream: upstream `e` is a template: only a route whose hosts have its captures can name it";
    assert_eq!(problems, [of_template], "there is one service for all environments");
    assert_eq!(rules.users(Kind::Upstream, &Name::new("v").unwrap()).count(), 2);
    rules.remove(Kind::Upstream, "v");
    let problem = |route| rules.dangling_of(Kind::Route, route)[0].error().to_string();
    assert_eq!(problem("r"), "routes.r.filters[1].forward_auth.upstream: there is no upstream `v`");
    assert_eq!(problem("s"), "routes.s.filters[0].forward_auth.upstream: there is no upstream `v`");
}

#[test]
fn lengths_have_limits() {
    let mut spec = Spec::default();
    spec.upstreams.insert("u".repeat(253), UpstreamSpec::default());
    spec.upstreams.insert("u".repeat(254), UpstreamSpec::default());
    let route = |host: String| RouteSpec { hosts: vec![host], upstream: Some("u".repeat(253)), ..RouteSpec::default() };
    spec.routes.insert("label".into(), route("a".repeat(64)));
    spec.routes.insert("name".into(), route(vec!["a".repeat(63); 4].join(".")));
    let release = r#"{"stable": "s", "canary": "c", "audience": [{"name": "NAME", "percent": 1}]}"#
        .replace("NAME", &"é".repeat(51));
    spec.releases.insert("r".into(), serde_json::from_str(&release).unwrap());
    let (rules, problems) = RuleSet::from_spec(&spec);
    let reasons: Vec<&str> = problems.iter().map(|problem| problem.reason.as_str()).collect();
    let host = vec!["a".repeat(63); 4].join(".");
    assert_eq!(
        reasons,
        [
            format!("`{}` has a label longer than 63 characters", "a".repeat(64)),
            format!("`{host}` is longer than 253 characters"),
            "a name is at most 253 characters long, this one has 254".into(),
            "a rule's name is at most 100 bytes long".into(),
        ]
    );
    assert_eq!(rules.upstreams().len(), 1);
}

#[test]
fn an_object_with_a_problem_leaves_the_others_alone() {
    let spec = r#"{"routes": {"good": {"upstream": "u"}, "bad": {"upstream": "u", "methods": ["get"]}}, "upstreams": {"u": {}, "w": {"endpoints": ["x"]}}}"#;
    let (rules, problems) = RuleSet::from_spec(&serde_json::from_str(spec).unwrap());
    assert_eq!(problems.len(), 2);
    assert!(rules.object(Kind::Route, "good").is_some() && rules.object(Kind::Route, "bad").is_none());
    assert!(rules.object(Kind::Upstream, "u").is_some() && rules.object(Kind::Upstream, "w").is_none());
}

#[test]
fn ways_to_write_a_balance() {
    let dwrr = |dwrr: Dwrr| Ok(Balance::Dwrr(dwrr));
    let hash = |by, bound| Ok(Balance::ConsistentHash(ConsistentHash { by, bound }));
    let window = Duration::from_secs(10);
    let names = "expected one of `drr`, `dwrr`, `round_robin`, `least_request`, `consistent_hash`, `sticky`";
    let cases = [
        (r#""dwrr""#, dwrr(Dwrr::default())),
        (r#""drr""#, dwrr(Dwrr::default())),
        (r#"{"dwrr": {}}"#, dwrr(Dwrr::default())),
        (r#"{"drr": {"window": "10s"}}"#, dwrr(Dwrr { window, ..Dwrr::default() })),
        (r#"{"dwrr": {"by": "in_flight"}}"#, dwrr(Dwrr { by: Measure::InFlight, ..Dwrr::default() })),
        (r#""round_robin""#, Ok(Balance::RoundRobin)),
        (r#"{"least_request": {}}"#, Ok(Balance::LeastRequest)),
        (r#""consistent_hash""#, hash(HashKey::ClientIp, 1.25)),
        (r#"{"consistent_hash": {"by": {"cookie": "user"}, "bound": 2}}"#, hash(HashKey::Cookie("user".into()), 2.0)),
        (r#"{"consistent_hash": {"by": "client_ip"}}"#, hash(HashKey::ClientIp, 1.25)),
        (r#""sticky""#, Ok(Balance::Sticky { life: None })),
        (r#"{"sticky": {"life": "12h"}}"#, Ok(Balance::Sticky { life: Some(Duration::from_secs(43_200)) })),
        (r#"{"sticky": {"cookie": "x"}}"#, Err("unknown field `cookie`, expected `life`".into())),
        (r#""random""#, Err(format!("unknown variant `random`, {names}"))),
        (r#"{"random": {}}"#, Err(format!("unknown variant `random`, {names}"))),
        (r#"{}"#, Err("expected one name with its options".into())),
        (r#"{"dwrr": {}, "round_robin": {}}"#, Err("expected only one name with its options".into())),
        (r#"{"round_robin": {"window": "5s"}}"#, Err("unknown field `window`, there are no fields".into())),
        (r#"{"consistent_hash": {"key": "x"}}"#, Err("unknown field `key`, expected `by` or `bound`".into())),
        (r#"{"dwrr": {"by": "load"}}"#, Err("unknown variant `load`, expected `latency` or `in_flight`".into())),
        (
            "5",
            Err("invalid type: integer `5`, expected a name such as dwrr, or one name with its options such as \
                 {dwrr: {window: 10s}}"
                .into()),
        ),
    ];
    for (written, expected) in cases {
        let spec = serde_json::from_str::<Spec>(&format!(r#"{{"upstreams": {{"u": {{"balance": {written}}}}}}}"#));
        let found = spec.map(|spec| RuleSet::from_spec(&spec).0.upstream("u").unwrap().balance().clone());
        let found = found.map_err(|error| error.to_string().split(" at line").next().unwrap().to_owned());
        assert_eq!(found, expected, "{written}");
    }
    let spec: Spec = serde_json::from_str(r#"{"upstreams": {"u": {}}}"#).unwrap();
    assert_eq!(*RuleSet::from_spec(&spec).0.upstream("u").unwrap().balance(), Balance::default());
    let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(again, spec, "what is written out can be read");
}

#[test]
fn patterns_become_canonical() {
    let spec = r#"{"upstreams": {"u": {}}, "routes": {"r": {"upstream": "u", "hosts": ["A.Example.", "*.B.example", "[2001:DB8::0:1]"],
        "paths": [{"exact": "/%61//b/./c%2f"}, {"prefix": "/x/../y/"}, {"prefix": "/"}, {"regex": "^/A"}],
        "filters": [{"strip_prefix": "/%61pi/"}, {"replace_prefix": {"from": "/", "to": "/v[2]/"}}]}}}"#;
    let (rules, problems) = RuleSet::from_spec(&serde_json::from_str(spec).unwrap());
    assert_eq!(problems, []);
    let route = rules.routes().next().unwrap();
    let shown = |items: &[String]| items.join(" ");
    assert_eq!(
        shown(&route.hosts().iter().map(ToString::to_string).collect::<Vec<_>>()),
        "a.example *.b.example [2001:db8::1]"
    );
    assert_eq!(shown(&route.paths().iter().map(ToString::to_string).collect::<Vec<_>>()), "= /a/b/c%2F /y / ~ ^/A");
    let replace = |from: &str, to: &str| Filter::ReplacePrefix(ReplacePrefix { from: from.into(), to: to.into() });
    assert_eq!(route.filters(), [replace("/api", ""), replace("", "/v%5B2%5D")]);
}

/// The time limit is a hundred times what it takes, and a hundredth of what a list of networks would take.
#[test]
fn thousands_of_networks_stay_fast() {
    let mut spec = Spec::default();
    spec.upstreams.insert("u".into(), UpstreamSpec::default());
    let v4 = (0..20_000_u32).map(|index| format!("10.{}.{}.0/24", index / 256 % 256, index % 256));
    let v6 = (0..20_000).map(|index| format!("2001:db8:{index:x}::/48"));
    let client_ip = v4.chain(v6).collect();
    spec.routes.insert("r".into(), RouteSpec { upstream: Some("u".into()), client_ip, ..RouteSpec::default() });
    let (rules, problems) = RuleSet::from_spec(&spec);
    assert_eq!(problems, []);
    let table = RouteTable::compile(&rules, &ReleaseContext::default());
    let headers = HeaderMap::new();
    let found = |address: &str| {
        let request = RequestView::new(&Method::GET, "a", "/", &headers, address.parse().unwrap());
        table.find(&request).is_some()
    };
    #[expect(clippy::disallowed_types, reason = "the test is about real time")]
    let started = std::time::Instant::now();
    for _ in 0..5_000 {
        assert!(found("10.0.0.1") && found("10.78.31.255") && found("2001:db8:4e1f::1") && found("::ffff:10.1.2.3"));
        assert!(!found("10.78.32.1") && !found("192.0.2.1") && !found("2001:db8:4e20::1") && !found("::1"));
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?} for 40,000 lookups among 40,000 networks",
        started.elapsed()
    );
}
