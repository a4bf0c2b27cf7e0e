//! GatewayClasses: which are ours, and what they are told.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Work;
use crate::conditions::{Condition, Refusal, written};

impl<'o> Work<'o> {
    /// The classes that are ours and can be served.
    pub(super) fn classes(&mut self) -> BTreeSet<&'o str> {
        let mut accepted = BTreeSet::new();
        for (name, class) in &self.objects.gateway_classes {
            if class.spec.controller_name != self.options.gateway_controller {
                continue;
            }
            let refusal = class.spec.parameters_ref.as_ref().map(|_| {
                Refusal::new("InvalidParameters", "spec.parametersRef: there is nothing to be chosen by parameters")
            });
            if refusal.is_none() {
                accepted.insert(&*name.name);
            }
            let accepts = Condition::unless("Accepted", refusal.as_ref(), "Gateways of this class are served");
            let conditions = written(&[accepts], class.generation(), &class.status["conditions"], self.now);
            let features: Value = FEATURES.iter().map(|name| json!({"name": name})).collect();
            self.tell(name, class, json!({"conditions": conditions, "supportedFeatures": features}));
        }
        accepted
    }
}

/// What there is beyond what there must be, and that, in the order of the alphabet, as the API wants it.
const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "GRPCRoute",
    "Gateway",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendTimeout",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
];
