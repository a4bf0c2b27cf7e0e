//! Giving an order.
//!
//! An order is about the release as whoever gives it knows it: it names the number that the release has, so that it undoes nothing that
//! somebody else does at the same moment. A rollback is right whatever happened, and names none.

use std::process::ExitCode;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::answer::{self, Outcome, Release};
use super::args::OrderArgs;
use super::{NO, path, text};
use crate::cli::api::{Answer, Api, Trouble};
use crate::cli::{complain, say};

/// Gives an order, and says what it came to.
pub(super) async fn order(
    api: &Api,
    word: &str,
    percent: Option<f64>,
    args: &OrderArgs,
    json: bool,
) -> Result<ExitCode, Trouble> {
    let number = match args.if_number {
        None if word != "rollback" => Some(number(api, &args.name).await?),
        given => given,
    };
    let by = args.by.clone().unwrap_or_else(whoever_this_is);
    let mut body = json!({"by": by, "reason": args.reason, "force": args.force});
    if let Some(percent) = percent {
        body["percent"] = percent.into();
    }
    let (query, longer) = match args.wait {
        true => (format!("?wait=applied&timeout={}ms", args.timeout.as_millis()), args.timeout),
        false => (String::new(), Duration::ZERO),
    };
    let answer = api.post(&path(&args.name, &format!("/{word}{query}")), number, &body, longer).await?;
    match json {
        true => Ok(in_json(&answer)),
        false => in_words(answer, args.wait),
    }
}

/// The newest number.
async fn number(api: &Api, name: &str) -> Result<u64, Trouble> {
    let release: Release = answer::read(api.get(&path(name, "")).await?)?;
    Ok(release.number)
}

fn in_json(answer: &Answer) -> ExitCode {
    say(super::json_text(&answer.body));
    match answer.status {
        StatusCode::OK => ExitCode::SUCCESS,
        _ => ExitCode::from(answer.trouble().code()),
    }
}

fn in_words(answer: Answer, waits: bool) -> Result<ExitCode, Trouble> {
    if !matches!(answer.status, StatusCode::OK | StatusCode::GATEWAY_TIMEOUT) {
        return Err(answer.trouble());
    }
    let outcome: Outcome = answer::read(answer.body)?;
    say(text::outcome(&outcome));
    let Some(applied) = outcome.applied.as_ref().filter(|_| waits) else { return Ok(ExitCode::SUCCESS) };
    say(text::applied(applied.len(), &outcome.waiting));
    if answer.status == StatusCode::OK {
        return Ok(ExitCode::SUCCESS);
    }
    complain(text::waiting(&outcome.waiting));
    Ok(ExitCode::from(NO))
}

/// Who gives orders here.
fn whoever_this_is() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut name = format!("{user}@{host}").replace(char::is_control, "");
    // The API takes no longer ones.
    name.truncate(name.floor_char_boundary(MOST_BYTES));
    name
}

const MOST_BYTES: usize = 100;
