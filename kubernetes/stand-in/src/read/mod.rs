//! Showing objects: one, a list page by page, or what happens to them as it happens, in the form a client asks for.

pub(crate) mod form;
pub(crate) mod list;
pub(crate) mod watch;

mod page;

use serde_json::{Value, json};

use crate::query::Query;
use crate::status::{Cause, Failure};

/// A version asked for; nothing where none was.
fn version(query: &Query) -> Result<Option<u64>, Failure> {
    let asked = query.text("resourceVersion");
    if asked.is_empty() {
        return Ok(None);
    }
    // It is the client's fault, and the server says it is its own.
    let why = format!("strconv.ParseUint: parsing {asked:?}: invalid syntax");
    let message = format!("resourceVersion: Invalid value: {asked:?}: {why}");
    asked.parse().map(Some).map_err(|_| Failure::new(500, "", message))
}

/// What fits a list or a watch as options, and what does not.
fn check_options(query: &Query, watch: bool) -> Result<(), Failure> {
    let matching = query.text("resourceVersionMatch");
    let forbid = |why: &str| Err(Failure::options("ListOptions", Cause::forbidden("resourceVersionMatch", why)));
    let initial = query.is_given("sendInitialEvents");
    if initial && !watch {
        let cause = Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
        return Err(Failure::options("ListOptions", cause));
    }
    if initial && matching != "NotOlderThan" {
        return forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    match matching {
        "" => Ok(()),
        _ if watch && !initial => {
            forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        }
        _ if watch => Ok(()),
        _ if query.text("resourceVersion").is_empty() => {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided")
        }
        _ if !query.text("continue").is_empty() => {
            forbid("resourceVersionMatch is forbidden when continue is provided")
        }
        "Exact" if query.text("resourceVersion") == "0" => {
            forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        "Exact" | "NotOlderThan" => Ok(()),
        other => {
            let supported: Vec<Value> = vec![json!("Exact"), json!("NotOlderThan"), json!("")];
            let cause = Cause::not_supported("resourceVersionMatch", &json!(other), &supported);
            Err(Failure::options("ListOptions", cause))
        }
    }
}
