//! Lists: of the objects there are, or were at a version, page by page.

use std::sync::Arc;

use serde_json::{Value, json};

use super::page::Page;
use super::{check_options, version};
use crate::query::Query;
use crate::selector::Selector;
use crate::state::State;
use crate::status::Failure;
use crate::store::{Extent, Key};

/// A page of a list, and what the list says of itself.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) items: Vec<Arc<Value>>,
    pub(crate) metadata: Value,
}

/// Which state a list shows.
enum Of {
    Now,
    Then(u64),
}

pub(crate) fn list(state: &State, extent: &Extent, selector: &Selector, query: &Query) -> Result<List, Failure> {
    check_options(query, false)?;
    // What comes from a cache comes whole, whatever the limit says.
    let whole = query.text("resourceVersion") == "0";
    let limit = query.number("limit").filter(|limit| *limit > 0 && !whole);
    let page = (!query.text("continue").is_empty()).then(|| Page::read(query.text("continue"))).transpose()?;
    let (of, revision) = which(state, query, page.as_ref(), limit)?;
    let objects = match of {
        Of::Now => state.store.list(extent),
        Of::Then(revision) => state.store.list_at(extent, revision),
    };
    let last = page.map(|page| page.last(extent));
    let rest = objects.into_iter().filter(|(key, _)| last.as_ref().is_none_or(|last| key > last));
    let rest: Vec<(Key, Arc<Value>)> = rest.filter(|(_, object)| selector.wants(object)).collect();
    Ok(cut(rest, limit, revision, selector))
}

/// The state that is asked for, and its version.
fn which(state: &State, query: &Query, page: Option<&Page>, limit: Option<u64>) -> Result<(Of, u64), Failure> {
    let current = state.store.revision();
    let asked = version(query)?;
    let expired = |revision: u64| revision < state.store.compacted();
    match (page, asked) {
        (Some(_), Some(version)) if version > 0 => {
            Err(Failure::bad_request("specifying resource version is not allowed when using continue"))
        }
        (Some(Page { revision: None, .. }), _) => Ok((Of::Now, current)),
        (Some(page @ Page { revision: Some(revision), .. }), _) if expired(*revision) => {
            Err(Failure::expired(PAGE_EXPIRED).with_continue(&page.regardless().token()))
        }
        (Some(Page { revision: Some(revision), .. }), _) => Ok((Of::Then(*revision), *revision)),
        (None, Some(version)) if version > current => Err(Failure::too_large(version, current)),
        // With a limit, a version alone means that one and no other, for reasons of history.
        (None, Some(version)) if version > 0 && is_exact(query, limit) => match expired(version) {
            true => Err(Failure::expired(EXPIRED)),
            false => Ok((Of::Then(version), version)),
        },
        (None, _) => Ok((Of::Now, current)),
    }
}

fn is_exact(query: &Query, limit: Option<u64>) -> bool {
    match query.text("resourceVersionMatch") {
        "Exact" => true,
        "" => limit.is_some(),
        _ => false,
    }
}

fn cut(mut rest: Vec<(Key, Arc<Value>)>, limit: Option<u64>, revision: u64, selector: &Selector) -> List {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    if rest.len() > limit {
        let more = rest.len() - limit;
        rest.truncate(limit);
        let (last, _) = rest.last().expect("a limit is at least one");
        metadata["continue"] = Page::behind(revision, last).token().into();
        // How many of the rest are selected, a server would have to read them to know.
        if selector.is_empty() {
            metadata["remainingItemCount"] = more.into();
        }
    }
    List { items: rest.into_iter().map(|(_, object)| object).collect(), metadata }
}

const EXPIRED: &str = "The resourceVersion for the provided list is too old.";

const PAGE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can \
                            start a new list without the continue parameter, or use the continue token in this \
                            response to retrieve the remainder of the results. Continuing with the provided token \
                            results in an inconsistent list - objects that were created, modified, or deleted between \
                            the time the first chunk was returned and now may show up in the list.";
