//! Pages of other origins.

use std::time::Duration;

use routing_rules::spec::{CorsSpec, FilterSpec, Span, TextMatchSpec};

use super::given::Given;
use super::{trial, values};
use crate::ingress::tuning::Tuning;

pub(super) fn read(given: &mut Given<'_>, tuning: &mut Tuning) {
    if !given.is_on("enable-cors") {
        return;
    }
    let origins = origins(given);
    let is_any = origins.iter().any(|origin| origin == "*");
    // With `*` browsers never send them, whatever they are told; rules do not let it be told.
    let credentials = given.flag("cors-allow-credentials").unwrap_or(true) && !is_any;
    let mut names = |name, usual: &str| {
        let text = given.text(name).unwrap_or(usual);
        let has_all = values::list(text).any(|entry| entry == "*");
        if !(has_all && credentials) {
            given.same(name);
        }
        values::list(text).filter(|entry| !(credentials && *entry == "*")).map(str::to_owned).collect::<Vec<_>>()
    };
    let headers = names("cors-allow-headers", HEADERS);
    let expose = names("cors-expose-headers", "");
    let methods = Some(names("cors-allow-methods", METHODS).iter().map(|method| method.to_ascii_uppercase()).collect());
    let max_age = given.number("cors-max-age", 0..=u32::MAX);
    if max_age.is_some_and(|seconds| seconds <= A_DAY) {
        given.same("cors-max-age");
    }
    let max_age = Some(Span::from(Duration::from_secs(max_age.unwrap_or(A_DAY).min(A_DAY).into())));
    let origins = origins.into_iter().map(TextMatchSpec::Exact).collect();
    let spec = FilterSpec::Cors(CorsSpec { origins, methods, headers, expose, max_age, credentials });
    match trial::filter(spec) {
        Ok(filter) => tuning.filters.push(filter),
        Err(reason) => given.wrong("enable-cors", reason),
    }
}

/// Those that are right. Without one that is, pages of no other origin may read anything, which is what there was before.
fn origins(given: &mut Given<'_>) -> Vec<String> {
    let Some(text) = given.text("cors-allow-origin") else { return vec!["*".into()] };
    if values::list(text).any(|origin| origin == "*") {
        return vec!["*".into()];
    }
    given.same("cors-allow-origin");
    let (mut right, mut wrong) = (Vec::new(), None);
    for origin in values::list(text) {
        let spec = CorsSpec {
            origins: vec![TextMatchSpec::Exact(origin.into())],
            methods: None,
            headers: Vec::new(),
            expose: Vec::new(),
            max_age: None,
            credentials: false,
        };
        match trial::filter(FilterSpec::Cors(spec)) {
            Ok(_) => right.push(origin.to_owned()),
            Err(reason) => wrong = Some(reason),
        }
    }
    if let Some(reason) = wrong {
        given.wrong("cors-allow-origin", reason);
    }
    right
}

/// What ingress-nginx allows where nothing is said.
const METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";

const HEADERS: &str =
    "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization";

const A_DAY: u32 = 86_400;
