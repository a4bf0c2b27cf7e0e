//! From where clients may come, and with what.

use routing_rules::spec::FilterSpec;

use super::given::Given;
use super::values;
use crate::ingress::tuning::Tuning;

pub(super) fn read(given: &mut Given<'_>, tuning: &mut Tuning) {
    let allowed = given.either(["allowlist-source-range", "whitelist-source-range"], values::networks);
    tuning.filters.extend(allowed.map(FilterSpec::AllowIp));
    let denied = given.read("denylist-source-range", values::networks);
    tuning.filters.extend(denied.map(FilterSpec::DenyIp));
    satisfy(given);
    client_certificates(given);
}

/// All must hold in any case. That keeps out more than `any` does, and nobody less.
fn satisfy(given: &mut Given<'_>) {
    match given.text("satisfy") {
        Some("all") => given.needless("satisfy", "all must hold in any case"),
        Some("any") | None => {}
        Some(other) => given.wrong("satisfy", format_args!("`{other}` is neither all nor any")),
    }
}

fn client_certificates(given: &mut Given<'_>) {
    // Nobody is asked for one, so what says how they are looked at means nothing.
    if given.text("auth-tls-verify-client") == Some("off") {
        given.needless("auth-tls-verify-client", "it is off here in any case");
        for name in ["auth-tls-secret", "auth-tls-match-cn"] {
            if given.text(name).is_some() {
                given.needless(name, "auth-tls-verify-client is off");
            }
        }
    } else {
        given.same("auth-tls-verify-client");
    }
}
