//! `serin explain`: by files, or by what an instance has in force, now or at some time before.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use http::StatusCode;
use serin_proxy::control_path::check;
use serin_proxy::explain::{Explanation, Question, explain as answer};

use super::api::{Api, Place, Trouble};
use super::{ConfigArg, NO, USAGE, complain, refuse, runtime, say};

#[derive(clap::Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Ask this instance's admin API instead: what its rules in force say, with what it has found out of endpoints.
    #[arg(long, value_name = "URL")]
    admin: Option<Place>,
    /// For which time, as `2026-11-28T10:00:00Z` or `-2h`: who was where then. An instance knows, files do not.
    #[arg(long, value_name = "TIME", requires = "admin", allow_hyphen_values = true)]
    at: Option<String>,
    /// A file with the token of that instance (`admin.token_file`).
    #[arg(long, value_name = "FILE", requires = "admin")]
    token_file: Option<PathBuf>,
    /// The address the connection comes from.
    #[arg(long, default_value = "127.0.0.1")]
    ip: IpAddr,
    /// The method.
    #[arg(long, short = 'X', default_value = "GET")]
    method: String,
    /// A header field, `name: value`; may be given several times.
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The listener the request comes through. Default: the first by name; the answer says so where it matters.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    listener: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The URL, for example `http://shop.example.com/cart`
    url: String,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header field is written `name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub(super) fn explain(args: &ExplainArgs) -> ExitCode {
    let question = Question {
        url: args.url.clone(),
        method: args.method.clone(),
        headers: args.header.clone(),
        ip: args.ip,
        listener: args.listener.clone(),
        at: args.at.clone(),
    };
    match &args.admin {
        None => by_files(args, &question),
        Some(place) => match ask(place.clone(), args, &question) {
            Ok(explanation) => show(args, &explanation),
            Err(trouble) => refuse(args.json, trouble.code(), trouble),
        },
    }
}

fn by_files(args: &ExplainArgs, question: &Question) -> ExitCode {
    let checked = check::check(&args.config.config);
    if !checked.has_main {
        let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
        return refuse(args.json, USAGE, problems.join("\n"));
    }
    checked.problems.iter().for_each(complain);
    match answer(&checked.snapshot, question) {
        Ok(explanation) => show(args, &explanation),
        Err(error) => refuse(args.json, USAGE, error),
    }
}

/// Asks an instance, which runs the same code with what it knows.
fn ask(place: Place, args: &ExplainArgs, question: &Question) -> Result<Explanation, Trouble> {
    let api = Api::new(place, args.token_file.as_deref())?;
    let question = serde_json::to_value(question).map_err(|error| Trouble::Usage(error.to_string()))?;
    let asked = async { api.post("/explain", None, &question, std::time::Duration::ZERO).await };
    let answer = runtime().map_err(Trouble::Usage)?.block_on(asked)?;
    match answer.status {
        StatusCode::OK => serde_json::from_value(answer.body)
            .map_err(|error| Trouble::Unreached(format!("the answer is of another version: {error}"))),
        _ => Err(answer.trouble()),
    }
}

fn show(args: &ExplainArgs, explanation: &Explanation) -> ExitCode {
    match args.json {
        true => say(serde_json::to_string_pretty(explanation).unwrap_or_default()),
        false => say(explanation.to_string().trim_end()),
    }
    if explanation.route.is_some() { ExitCode::SUCCESS } else { ExitCode::from(NO) }
}
