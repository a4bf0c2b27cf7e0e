//! What a route does at the edge: whom it lets in, what browsers are told, what is compressed.
//!
//! It does not matter in which order these filters are written: each stands for itself, and the order in which they are asked is
//! fixed (addresses, TLS, preflights, passwords, a service), so that nobody can be let in by a line in the wrong place.

use std::net::IpAddr;

use super::{BasicAuth, Compress, Cors, ForwardAuth, Hsts, HttpsRedirect, SecurityHeaders};
use crate::error::Problems;
use crate::rules::AddressSet;
use crate::rules::address::parse_network;
use crate::spec::FilterSpec;

/// The filters of a route that let requests in, or change answers as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edge {
    allowed: Option<AddressSet>,
    denied: AddressSet,
    /// Where requests in clear text are sent.
    pub https_redirect: Option<HttpsRedirect>,
    /// What browsers are told of TLS.
    pub hsts: Option<Hsts>,
    /// What else they are told.
    pub security_headers: Option<SecurityHeaders>,
    /// Whether clients are told the request's id.
    pub expose_request_id: bool,
    /// Which pages of other origins may read answers.
    pub cors: Option<Cors>,
    /// Who is let in by password.
    pub basic_auth: Option<BasicAuth>,
    /// Which service says who is let in.
    pub forward_auth: Option<ForwardAuth>,
    /// What is compressed.
    pub compress: Option<Compress>,
}

impl Edge {
    /// Whether a client is let in by its address.
    pub fn lets_in(&self, client: IpAddr) -> bool {
        !self.denied.contains(client) && self.allowed.as_ref().is_none_or(|allowed| allowed.contains(client))
    }

    /// Whether addresses are looked at.
    pub fn asks_for_address(&self) -> bool {
        self.allowed.is_some() || !self.denied.is_empty()
    }

    /// Takes one filter of a route, at its place in the list, if it is one of these. Each may be there once.
    pub(super) fn take(&mut self, route: &str, place: usize, spec: &FilterSpec, problems: &mut Problems<'_>) {
        match spec {
            FilterSpec::AllowIp(texts) => {
                let mut problems = problems.at("allow_ip");
                if texts.is_empty() {
                    problems.report("without a network nobody would be let in");
                }
                once(&mut self.allowed, networks(texts, &mut problems), &mut problems);
            }
            FilterSpec::DenyIp(texts) => {
                let mut problems = problems.at("deny_ip");
                let mut denied = Some(std::mem::take(&mut self.denied)).filter(|denied| !denied.is_empty());
                once(&mut denied, networks(texts, &mut problems), &mut problems);
                self.denied = denied.unwrap_or_default();
            }
            FilterSpec::HttpsRedirect(spec) => {
                let mut problems = problems.at("https_redirect");
                let redirect = HttpsRedirect::new(spec, &mut problems);
                once(&mut self.https_redirect, redirect, &mut problems);
            }
            FilterSpec::Hsts(spec) => {
                let mut problems = problems.at("hsts");
                let hsts = Hsts::new(spec, &mut problems);
                once(&mut self.hsts, hsts, &mut problems);
            }
            FilterSpec::SecurityHeaders(spec) => {
                let mut problems = problems.at("security_headers");
                let headers = SecurityHeaders::new(spec, &mut problems);
                once(&mut self.security_headers, headers, &mut problems);
            }
            FilterSpec::ExposeRequestId(expose) => self.expose_request_id = *expose,
            FilterSpec::BasicAuth(spec) => {
                let mut problems = problems.at("basic_auth");
                let auth = BasicAuth::new(route, spec, &mut problems);
                once(&mut self.basic_auth, auth, &mut problems);
            }
            FilterSpec::ForwardAuth(spec) => {
                let mut problems = problems.at("forward_auth");
                let auth = ForwardAuth::new(place, spec, &mut problems);
                once(&mut self.forward_auth, auth, &mut problems);
            }
            FilterSpec::Cors(spec) => {
                let mut problems = problems.at("cors");
                let cors = Cors::new(spec, &mut problems);
                once(&mut self.cors, cors, &mut problems);
            }
            FilterSpec::Compress(spec) => {
                let mut problems = problems.at("compress");
                let compress = Compress::new(spec, &mut problems);
                once(&mut self.compress, compress, &mut problems);
            }
            FilterSpec::StripPrefix(_)
            | FilterSpec::ReplacePrefix(_)
            | FilterSpec::ReplacePath(_)
            | FilterSpec::ReplaceHost(_)
            | FilterSpec::SetRequestHeader(_)
            | FilterSpec::AddRequestHeader(_)
            | FilterSpec::RemoveRequestHeader(_)
            | FilterSpec::SetResponseHeader(_)
            | FilterSpec::AddResponseHeader(_)
            | FilterSpec::RemoveResponseHeader(_)
            | FilterSpec::Redirect(_) => {}
        }
    }
}

fn networks(texts: &[String], problems: &mut Problems<'_>) -> Option<AddressSet> {
    Some(problems.each(texts, |text| parse_network(text))?.into_iter().collect())
}

/// Puts a filter in its place, if the place is free.
fn once<T>(place: &mut Option<T>, filter: Option<T>, problems: &mut Problems<'_>) {
    match place {
        Some(_) => problems.report("a route has at most one of these"),
        None => *place = filter,
    }
}
