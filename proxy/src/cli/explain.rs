//! `serin explain`.

use std::net::IpAddr;
use std::process::ExitCode;

use serin_proxy::control_path::check;
use serin_proxy::explain::{Question, explain as answer};

use super::{ConfigArg, NO, USAGE, complain, refuse, say};

#[derive(clap::Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArg,
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
    let checked = check::check(&args.config.config);
    if !checked.has_main {
        let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
        return refuse(args.json, USAGE, problems.join("\n"));
    }
    checked.problems.iter().for_each(complain);
    let question = Question {
        url: args.url.clone(),
        method: args.method.clone(),
        headers: args.header.clone(),
        ip: args.ip,
        listener: args.listener.clone(),
        at: None,
    };
    match answer(&checked.snapshot, &question) {
        Ok(explanation) => {
            match args.json {
                true => say(serde_json::to_string_pretty(&explanation).unwrap_or_default()),
                false => say(explanation.to_string().trim_end()),
            }
            if explanation.route.is_some() { ExitCode::SUCCESS } else { ExitCode::from(NO) }
        }
        Err(error) => refuse(args.json, USAGE, error),
    }
}
