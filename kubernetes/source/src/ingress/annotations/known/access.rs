//! Who is let in, how often, and who is asked.

use super::Known;

pub(super) const TABLE: &[Known] = &[
    Known::same("allowlist-source-range").guarding(),
    Known::same("whitelist-source-range").guarding(),
    Known::same("denylist-source-range").guarding(),
    Known::differently("limit-rps", LIMIT).guarding(),
    Known::differently("limit-rpm", LIMIT).guarding(),
    Known::differently("limit-burst-multiplier", "it is the burst of the limit, which is counted by path"),
    Known::differently(
        "limit-connections",
        "requests under way are counted, not connections, for each path by itself; further ones get 429 and not 503",
    )
    .guarding(),
    Known::same("limit-allowlist"),
    Known::same("limit-whitelist"),
    Known::not("limit-rate", "bytes per second are not limited"),
    Known::not("limit-rate-after", "bytes per second are not limited"),
    Known::not("global-rate-limit", GLOBAL).guarding(),
    Known::not("global-rate-limit-window", GLOBAL),
    Known::not("global-rate-limit-key", GLOBAL),
    Known::not("global-rate-limit-ignored-cidrs", GLOBAL),
    Known::differently(
        "auth-type",
        "`basic` only; the endpoint gets the name as x-serin-user and not the password, and guesses are limited",
    )
    .guarding(),
    Known::differently(
        "auth-secret",
        "of the Ingress's own namespace; users whose hash is neither bcrypt nor argon2 are not let in",
    )
    .guarding(),
    Known::same("auth-secret-type").guarding(),
    Known::same("auth-realm"),
    Known::differently(
        "auth-url",
        "by GET, within 2s; the service sees cookie, authorization and the x-forwarded- fields (docs/filters.md), but no other field \
         and no x-original-url; whatever it answers besides 2xx goes to the client; a certificate of it is verified",
    )
    .guarding(),
    Known::same("auth-response-headers").guarding(),
    Known::differently("auth-method", "the service is always asked by GET").guarding(),
    Known::not(
        "auth-signin",
        "who is not let in gets the service's own answer: let it send browsers to its sign-in page itself (oauth2-proxy: auth-url with the \
         path / and its option --upstream=static://202)",
    ),
    Known::not("auth-signin-redirect-param", "there is no redirect to a sign-in page; see auth-signin"),
    Known::not("auth-request-redirect", "x-auth-request-redirect is not sent; the service knows the address by x-forwarded-uri"),
    Known::not("auth-proxy-set-headers", "the service sees no further fields; give it what it needs by its own settings").guarding(),
    Known::not("auth-snippet", SNIPPET).guarding(),
    Known::needless("auth-cache-key", "the service is asked about every request"),
    Known::needless("auth-cache-duration", "the service is asked about every request"),
    Known::needless("auth-keepalive", KEPT),
    Known::needless("auth-keepalive-requests", KEPT),
    Known::needless("auth-keepalive-timeout", KEPT),
    Known::needless("auth-keepalive-share-vars", KEPT),
    Known::needless("auth-always-set-cookie", "cookies that the service sets always reach the client"),
    Known::needless("enable-global-auth", "there is no service that all Ingresses ask; give each its auth-url"),
    Known::differently("satisfy", "`any`, too, asks for all: addresses, passwords and the service").guarding(),
    Known::not("auth-tls-secret", CLIENT_CERTIFICATES).guarding(),
    Known::not("auth-tls-match-cn", CLIENT_CERTIFICATES).guarding(),
    Known::differently("auth-tls-verify-client", "only `off`, which it is without it").guarding(),
    Known::not("auth-tls-verify-depth", CLIENT_CERTIFICATES),
    Known::not("auth-tls-error-page", CLIENT_CERTIFICATES),
    Known::not("auth-tls-pass-certificate-to-upstream", CLIENT_CERTIFICATES),
    Known::not("enable-modsecurity", FIREWALL),
    Known::not("enable-owasp-core-rules", FIREWALL),
    Known::not("modsecurity-snippet", FIREWALL),
    Known::not("modsecurity-transaction-id", FIREWALL),
];

const LIMIT: &str =
    "each path counts for itself; further requests get 429 and not 503; of several limits the stricter parts hold";

const GLOBAL: &str = "limits are counted by each replica, as also in ingress-nginx since 1.12: use limit-rpm";

const KEPT: &str = "connections to the service are kept as those to all endpoints";

const CLIENT_CERTIFICATES: &str =
    "certificates of clients are asked for by a listener, for all its hosts (`client_certificates`, docs/tls.md)";

const FIREWALL: &str = "there is no web application firewall; put one in front, or before the endpoints";

pub(super) const SNIPPET: &str = "what is written for the configuration of nginx means nothing here, and whoever may write an Ingress is not to write \
     settings of the proxy; look for what it does in docs/filters.md";
