//! `serin health`: whether the instance beside it is well, for supervisors that run a command and look at its exit code.
//!
//! An image without a shell or curl has this instead. It decides nothing: `/readyz` and `/healthz` do.

use std::process::ExitCode;

use http::StatusCode;
use serde_json::Value;

use super::api::{Api, Place, Trouble};
use super::{refuse, runtime, say, shown};

#[derive(clap::Args)]
pub(super) struct HealthArgs {
    /// Ask only whether it runs (`/healthz`), as it does also while it drains or waits for its first rules.
    #[arg(long)]
    alive: bool,
    /// The admin API of an instance.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9900", env = "SERIN_ADMIN")]
    admin: Place,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn health(args: &HealthArgs) -> ExitCode {
    let asked = Api::new(args.admin.clone(), None).and_then(|api| {
        let runtime = runtime().map_err(Trouble::Usage)?;
        runtime.block_on(ask(&api, args))
    });
    match asked {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => refuse(args.json, trouble.code(), trouble),
    }
}

async fn ask(api: &Api, args: &HealthArgs) -> Result<(), Trouble> {
    if args.alive {
        api.get_text("/healthz").await?;
        tell(args.json, &serde_json::json!({"alive": true}), "it runs");
        return Ok(());
    }
    let answer = api.get_whole("/readyz").await?;
    match answer.status {
        StatusCode::OK => tell(args.json, &answer.body, "ready"),
        StatusCode::SERVICE_UNAVAILABLE => return Err(Trouble::No(why_not(&answer.body))),
        _ => return Err(answer.trouble()),
    }
    Ok(())
}

fn tell(json: bool, whole: &Value, word: &str) {
    if json { say(whole) } else { say(word) }
}

fn why_not(body: &Value) -> String {
    let reasons = body["reasons"].as_array().into_iter().flatten();
    let reasons: Vec<String> = reasons.filter_map(Value::as_str).map(shown).collect();
    format!("not ready: {}", reasons.join("; "))
}
