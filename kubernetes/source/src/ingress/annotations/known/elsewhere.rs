//! How nginx works inside, and what is set for all of Serin.

use super::Known;

pub(super) const TABLE: &[Known] = &[
    Known::needless("client-body-buffer-size", STREAMED),
    Known::needless("proxy-buffering", STREAMED),
    Known::needless("proxy-request-buffering", STREAMED),
    Known::needless("proxy-buffer-size", STREAMED),
    Known::needless("proxy-buffers-number", STREAMED),
    Known::needless("proxy-busy-buffers-size", STREAMED),
    Known::needless("proxy-max-temp-file-size", STREAMED),
    Known::not("enable-access-log", "the access log is one for all routes (`access_log`, docs/reference/settings.md)"),
    Known::needless("enable-rewrite-log", "`serin explain` says what becomes of a request"),
    Known::not("enable-opentelemetry", TRACING),
    Known::not("opentelemetry-operation-name", TRACING),
    Known::not("opentelemetry-trust-incoming-span", TRACING),
    Known::not("enable-opentracing", TRACING),
    Known::not("opentracing-trust-incoming-span", TRACING),
    Known::not("enable-influxdb", INFLUXDB),
    Known::not("influxdb-measurement", INFLUXDB),
    Known::not("influxdb-port", INFLUXDB),
    Known::not("influxdb-host", INFLUXDB),
    Known::not("influxdb-server-name", INFLUXDB),
    Known::not("secure-backends", "ingress-nginx has given it up as well: use `backend-protocol: HTTPS`"),
];

const STREAMED: &str = "bodies are passed on while they come, in both directions, and never written to a disk";

const TRACING: &str = "`traceparent` is passed on as it came, and spans are not made";

const INFLUXDB: &str = "ingress-nginx has given it up as well: metrics are at /metrics";
