//! Which requests, where they are sent, and what is changed on the way.

use super::Known;
use super::access::SNIPPET;

pub(super) const TABLE: &[Known] = &[
    Known::differently(
        "rewrite-target",
        "of targets with captures only those are understood that keep the rest of the path, as /$2 of /app(/|$)(.*), and an Event names \
         the others; /App is not /app",
    ),
    Known::differently(
        "use-regex",
        "only of paths with expressions, and not of all paths of the host; a plain path is a prefix of whole segments; \
         expressions go before prefixes, whatever their length, and have no look-around and no back-references",
    ),
    Known::same("app-root"),
    Known::same("ssl-redirect"),
    Known::same("force-ssl-redirect"),
    Known::needless("preserve-trailing-slash", "a redirect keeps the path as it is"),
    Known::not("use-port-in-redirects", "a redirect to https has the port 443, or none"),
    Known::differently("permanent-redirect", REDIRECT),
    Known::differently("permanent-redirect-code", "301, 302, 303, 307 and 308"),
    Known::differently("temporal-redirect", REDIRECT),
    Known::differently("temporal-redirect-code", "301, 302, 303, 307 and 308"),
    Known::same("from-to-www-redirect"),
    Known::differently("server-alias", "names, also as *.example.com, and no expressions"),
    Known::same("proxy-body-size"),
    Known::same("proxy-connect-timeout"),
    Known::differently(
        "proxy-read-timeout",
        "it is the time until the head of an answer, all tries included, then that without a byte; of upgraded connections, too",
    ),
    Known::differently(
        "proxy-send-timeout",
        "the larger of it and proxy-read-timeout is the time without a byte, in both directions",
    ),
    Known::differently(
        "enable-cors",
        "origins that are not allowed are told nothing; what endpoints say of CORS is replaced",
    ),
    Known::differently("cors-allow-origin", "`*` is without credentials, as browsers have it"),
    Known::same("cors-allow-methods"),
    Known::differently("cors-allow-headers", "no `*` with credentials, as browsers have it"),
    Known::differently("cors-expose-headers", "no `*` with credentials, as browsers have it"),
    Known::same("cors-allow-credentials"),
    Known::differently("cors-max-age", "at most a day, which is what browsers keep it for at most"),
    Known::differently(
        "custom-headers",
        "only of a ConfigMap that is followed for its rules; else set them by the application",
    ),
    Known::same("x-forwarded-prefix"),
    Known::same("upstream-vhost"),
    Known::needless("connection-proxy-header", "connections to endpoints are kept, and upgraded where the client asks"),
    Known::differently(
        "mirror-target",
        "a Service or another host, and no path; copies have the path and the host of their request; requests with a \
         body above 1 MiB are not copied",
    ),
    Known::differently("mirror-request-body", "`off`: requests with a body are not copied"),
    Known::not("mirror-host", "copies have the host that the client named"),
    Known::not("default-backend", "an upstream without endpoints answers 503"),
    Known::not("custom-http-errors", "answers of endpoints are passed on as they are"),
    Known::needless("disable-proxy-intercept-errors", "answers of endpoints are passed on as they are"),
    Known::not("configuration-snippet", SNIPPET),
    Known::not("server-snippet", SNIPPET),
    Known::not("stream-snippet", SNIPPET),
    Known::not("proxy-cookie-domain", "cookies of endpoints are passed on as they are"),
    Known::not("proxy-cookie-path", "cookies of endpoints are passed on as they are"),
    Known::not("proxy-redirect-from", "`location` of endpoints is passed on as it is"),
    Known::not("proxy-redirect-to", "`location` of endpoints is passed on as it is"),
    Known::not(
        "ssl-passthrough",
        "TLS ends at Serin; give the endpoints `backend-protocol: HTTPS`, or a load balancer of their own",
    ),
    Known::not("ssl-ciphers", "ciphers are chosen for a listener (`tls`, docs/tls.md)"),
    Known::needless(
        "ssl-prefer-server-ciphers",
        "whoever is slower at a cipher chooses; all that are allowed are good",
    ),
    Known::needless("websocket-services", "every route takes WebSockets"),
    Known::needless("http2-push-preload", "browsers have given up push"),
];

const REDIRECT: &str =
    "the query of the request stays; of variables only $scheme, $host and a whole $request_uri are understood";
