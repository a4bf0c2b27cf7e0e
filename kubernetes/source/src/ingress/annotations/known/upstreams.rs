//! How endpoints are spoken to and chosen, and which users are in a canary.

use super::Known;

pub(super) const TABLE: &[Known] = &[
    Known::differently(
        "backend-protocol",
        "HTTP, HTTPS, GRPC and GRPCS; certificates of endpoints are verified in any case: by the authorities of \
         proxy-ssl-secret, or those that the system trusts, for proxy-ssl-name, or else SERVICE.NAMESPACE.svc",
    ),
    Known::differently(
        "proxy-ssl-secret",
        "of the Ingress's own namespace; of ca.crt, tls.crt and tls.key what is there",
    ),
    Known::same("proxy-ssl-name"),
    Known::differently("proxy-ssl-verify", "`on` is all there is: `off` is not followed"),
    Known::needless("proxy-ssl-verify-depth", "chains are as long as they must be"),
    Known::needless("proxy-ssl-server-name", "endpoints are told the name that their certificate must have"),
    Known::needless("proxy-ssl-protocols", "TLS 1.2 and 1.3, whichever the endpoint has"),
    Known::needless("proxy-ssl-ciphers", "all ciphers that are there are good"),
    Known::needless("proxy-http-version", "endpoints are spoken to in HTTP/1.1, or HTTP/2 for gRPC"),
    Known::not("fastcgi-index", FASTCGI),
    Known::not("fastcgi-params-configmap", FASTCGI),
    Known::differently("affinity", "the cookie is Serin's own, and signed"),
    Known::differently("affinity-mode", "always `persistent`: a session moves only when its endpoint goes"),
    Known::differently("affinity-canary-behavior", "users of a canary always stay in it"),
    Known::needless("session-cookie-name", "the cookie has a name of its own"),
    Known::needless("session-cookie-path", COOKIE),
    Known::needless("session-cookie-domain", COOKIE),
    Known::needless("session-cookie-samesite", COOKIE),
    Known::needless("session-cookie-secure", COOKIE),
    Known::needless("session-cookie-partitioned", COOKIE),
    Known::needless("session-cookie-conditional-samesite-none", COOKIE),
    Known::needless(
        "session-cookie-change-on-failure",
        "a session whose endpoint is gone gets another one, and stays there",
    ),
    Known::differently("session-cookie-max-age", "from a minute to a year"),
    Known::differently("session-cookie-expires", "from a minute to a year; session-cookie-max-age goes first"),
    Known::differently(
        "upstream-hash-by",
        "$remote_addr, $binary_remote_addr, one $http_… or one $cookie_…; who is without it goes anywhere, and an \
         endpoint that is overrun is passed over",
    ),
    Known::not("upstream-hash-by-subset", "a key finds one endpoint"),
    Known::not("upstream-hash-by-subset-size", "a key finds one endpoint"),
    Known::differently(
        "load-balance",
        "`round_robin`, and for `ewma` the balancing that learns (docs/balancing.md), which is usual here",
    ),
    Known::differently(
        "proxy-next-upstream",
        "`off` means one try; else what may be tried again is what cannot have had an effect (docs/balancing.md), whatever is listed",
    ),
    Known::differently("proxy-next-upstream-tries", "5 at most, also for 0; 2 without it"),
    Known::needless("proxy-next-upstream-timeout", "proxy-read-timeout is for all tries together"),
    Known::needless("service-upstream", "requests always go to the pods, which are let go of before they end"),
    Known::same("canary"),
    Known::same("canary-by-header"),
    Known::same("canary-by-header-value"),
    Known::differently("canary-by-header-pattern", "expressions have no look-around and no back-references"),
    Known::same("canary-by-cookie"),
    Known::differently(
        "canary-weight",
        "it is a share of users, who stay where they are, and not of requests; `serin.dev/sticky: \"false\"` makes it one of requests",
    ),
    Known::differently("canary-weight-total", "to a hundredth of a percent"),
    Known::same("serin.dev/sticky"),
];

const FASTCGI: &str = "FastCGI is not spoken; put a server that does before the endpoints";

const COOKIE: &str =
    "the cookie is for the whole host, HttpOnly and SameSite=Lax, and Secure where the client came by TLS";
