//! Filters of routes, as filters of rules.

use std::collections::{BTreeMap, BTreeSet};

use routing_rules::spec::{self, FilterSpec as Filter, Percent, ReplacePrefixSpec};

use super::kinds::{
    BackendRef, FilterSpec, HeaderChanges, HeaderSpec, MirrorSpec, PathChange, RedirectSpec, RewriteSpec,
};
use crate::conditions::Refusal;

/// What the filters of a rule amount to.
#[derive(Default)]
pub(super) struct Filters<'o> {
    pub(super) changes: Vec<Filter>,
    /// Whose copies are whose, and how many.
    pub(super) mirror: Option<(&'o BackendRef, Percent)>,
}

impl<'o> Filters<'o> {
    /// Those of a rule, for requests whose path begins so, if that is what they are matched by.
    ///
    /// # Errors
    /// There is no rule for one of them.
    pub(super) fn new(specs: &'o [FilterSpec], prefix: Option<&str>) -> Result<Self, Refusal> {
        let mut filters = Self::default();
        for (index, spec) in specs.iter().enumerate() {
            filters.take(spec, prefix).map_err(|refusal| refusal.at(&format!("filters[{index}]")))?;
        }
        Ok(filters)
    }

    fn take(&mut self, spec: &'o FilterSpec, prefix: Option<&str>) -> Result<(), Refusal> {
        match spec.r#type.as_str() {
            "RequestHeaderModifier" => self.changes.extend(request_headers(&spec.request_header_modifier)),
            "ResponseHeaderModifier" => self.changes.extend(response_headers(&spec.response_header_modifier)),
            "RequestRedirect" => self.changes.push(redirect(&spec.request_redirect, prefix)?),
            "URLRewrite" => self.changes.extend(rewrites(&spec.url_rewrite, prefix)?),
            "RequestMirror" if self.mirror.is_some() => {
                return Err(Refusal::unsupported("a rule has at most one RequestMirror"));
            }
            "RequestMirror" => {
                let mirror = spec.request_mirror.as_ref();
                self.mirror = mirror.map(|mirror| (&mirror.backend_ref, percent(mirror)));
            }
            other => return Err(Refusal::unsupported(format!("{other} is not supported"))),
        }
        Ok(())
    }
}

fn request_headers(changes: &HeaderChanges) -> impl Iterator<Item = Filter> {
    let set = map(&changes.set).map(Filter::SetRequestHeader);
    let add = map(&changes.add).map(Filter::AddRequestHeader);
    set.into_iter().chain(add).chain(list(&changes.remove).map(Filter::RemoveRequestHeader))
}

fn response_headers(changes: &HeaderChanges) -> impl Iterator<Item = Filter> {
    let set = map(&changes.set).map(Filter::SetResponseHeader);
    let add = map(&changes.add).map(Filter::AddResponseHeader);
    set.into_iter().chain(add).chain(list(&changes.remove).map(Filter::RemoveResponseHeader))
}

/// Of several that have one name the first counts.
fn map(headers: &[HeaderSpec]) -> Option<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    for header in headers {
        fields.entry(header.name.to_ascii_lowercase()).or_insert_with(|| header.value.clone());
    }
    Some(fields).filter(|fields| !fields.is_empty())
}

fn list(names: &[String]) -> Option<Vec<String>> {
    let names: BTreeSet<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    Some(names.into_iter().collect()).filter(|names: &Vec<_>| !names.is_empty())
}

fn redirect(redirect: &RedirectSpec, prefix: Option<&str>) -> Result<Filter, Refusal> {
    let change = redirect.path.as_ref().map(|change| Change::new(change, prefix)).transpose()?;
    let (path, replace_prefix) = match change {
        None => (None, None),
        Some(Change::Whole(path)) => (Some(path), None),
        Some(Change::Prefix(replace)) => (None, Some(replace)),
    };
    Ok(Filter::Redirect(spec::RedirectSpec {
        status: redirect.status_code,
        scheme: redirect.scheme.clone(),
        host: redirect.hostname.clone(),
        port: redirect.port,
        path,
        replace_prefix,
    }))
}

fn rewrites(rewrite: &RewriteSpec, prefix: Option<&str>) -> Result<impl Iterator<Item = Filter>, Refusal> {
    let change = rewrite.path.as_ref().map(|change| Change::new(change, prefix)).transpose()?;
    let path = change.map(|change| match change {
        Change::Whole(path) => Filter::ReplacePath(path),
        Change::Prefix(replace) => Filter::ReplacePrefix(replace),
    });
    Ok(rewrite.hostname.clone().map(Filter::ReplaceHost).into_iter().chain(path))
}

/// A change of a path.
enum Change {
    Whole(String),
    Prefix(ReplacePrefixSpec),
}

impl Change {
    fn new(change: &PathChange, prefix: Option<&str>) -> Result<Self, Refusal> {
        // Nothing in place of something is the root.
        let path = |text: &Option<String>| text.clone().filter(|text| !text.is_empty()).unwrap_or("/".into());
        match (change.r#type.as_str(), prefix) {
            ("ReplaceFullPath", _) => Ok(Self::Whole(path(&change.replace_full_path))),
            ("ReplacePrefixMatch", Some(from)) => {
                Ok(Self::Prefix(ReplacePrefixSpec { from: from.into(), to: path(&change.replace_prefix_match) }))
            }
            ("ReplacePrefixMatch", None) => {
                Err(Refusal::unsupported("ReplacePrefixMatch needs matches whose path is a PathPrefix"))
            }
            (other, _) => Err(Refusal::unsupported(format!("path.type: {other} is not supported"))),
        }
    }
}

/// How many are copied: what is nearest in hundredths of a percent.
fn percent(mirror: &MirrorSpec) -> Percent {
    let points = match (&mirror.fraction, mirror.percent) {
        (Some(fraction), _) => {
            let denominator = u64::from(fraction.denominator.max(1));
            (u64::from(fraction.numerator) * 10_000 + denominator / 2) / denominator
        }
        (None, Some(percent)) => u64::from(percent) * 100,
        (None, None) => 10_000,
    };
    u16::try_from(points).ok().and_then(Percent::from_basis_points).unwrap_or(Percent::ALL)
}
