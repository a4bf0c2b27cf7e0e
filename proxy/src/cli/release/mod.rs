//! `serin release`: orders to releases, and how far they are.
//!
//! It asks the admin API of one instance, which knows what all of them know. Nothing is decided here.

mod answer;
mod args;
mod order;
mod preview;
mod text;
mod verdict;
mod watch;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::SystemTime;

use super::api::{Api, Trouble};
use super::terminal::Style;
use super::{NO, refuse, runtime, say, shown};
use answer::{Entry, Fleet, Release};
pub(super) use args::ReleaseCommand;
use args::{HistoryArgs, StatusArgs, What};

pub(super) fn release(command: ReleaseCommand) -> ExitCode {
    let ReleaseCommand { what, api: args, json } = command;
    let done = Api::new(args.admin, args.token_file.as_deref()).and_then(|api| {
        let runtime = runtime().map_err(Trouble::Usage)?;
        runtime.block_on(carry_out(&api, what, json))
    });
    done.unwrap_or_else(|trouble| refuse(json, trouble.code(), trouble))
}

async fn carry_out(api: &Api, what: What, json: bool) -> Result<ExitCode, Trouble> {
    match what {
        What::List => list(api, json).await,
        What::Status(StatusArgs { name, watch: false }) => status(api, &name, json).await,
        What::Status(StatusArgs { name, watch: true }) => watch::watch(api, &name, json).await,
        What::Verdict(args) => verdict::verdict(api, &args, json).await,
        What::History(args) => history(api, &args, json).await,
        What::Preview(args) => preview::preview(api, &args, json).await,
        What::Start(args) => order::order(api, "start", None, &args, json).await,
        What::Promote(args) => order::order(api, "promote", None, &args, json).await,
        What::Set(args) => order::order(api, "set", Some(args.percent), &args.order, json).await,
        What::Pause(args) => order::order(api, "pause", None, &args, json).await,
        What::Resume(args) => order::order(api, "resume", None, &args, json).await,
        What::Complete(args) => order::order(api, "complete", None, &args, json).await,
        What::Rollback(args) => order::order(api, "rollback", None, &args, json).await,
    }
}

async fn list(api: &Api, json: bool) -> Result<ExitCode, Trouble> {
    let answer = api.get("/releases").await?;
    if json {
        say(json_text(&answer));
        return Ok(ExitCode::SUCCESS);
    }
    let releases: Vec<Release> = answer::read(answer)?;
    text::list(&releases, &style()).into_iter().for_each(say);
    Ok(ExitCode::SUCCESS)
}

async fn status(api: &Api, name: &str, json: bool) -> Result<ExitCode, Trouble> {
    let answer = api.get(&path(name, "")).await?;
    if json {
        say(json_text(&answer));
        return Ok(ExitCode::SUCCESS);
    }
    let release: Release = answer::read(answer)?;
    let fleet = fleet(api).await?;
    text::status(&release, &fleet, SystemTime::now(), &style()).into_iter().for_each(say);
    Ok(ExitCode::SUCCESS)
}

async fn history(api: &Api, args: &HistoryArgs, json: bool) -> Result<ExitCode, Trouble> {
    let answer = api.get(&path(&args.name, &format!("/history?most={}", args.most))).await?;
    if json {
        say(json_text(&answer));
        return Ok(ExitCode::SUCCESS);
    }
    let entries: Vec<Entry> = answer::read(answer)?;
    entries.iter().map(text::entry).for_each(say);
    Ok(ExitCode::SUCCESS)
}

async fn fleet(api: &Api) -> Result<Fleet, Trouble> {
    answer::read(api.get("/instances").await?)
}

/// Behind `/api/v1`. Whatever somebody types is one segment.
fn path(name: &str, rest: &str) -> String {
    let mut path = String::from("/releases/");
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => path.push(char::from(byte)),
            other => path.push_str(&format!("%{other:02X}")),
        }
    }
    path + rest
}

/// As the terminal has it; for scripts and files without colours, in ASCII.
fn style() -> Style {
    if std::io::stdout().is_terminal() { Style::of_this_terminal() } else { Style::plain() }
}

/// JSON that changes nothing about a terminal: names and reasons are other people's.
fn json_text(answer: &serde_json::Value) -> String {
    let is_control = |letter: char| ('\u{7f}'..='\u{9f}').contains(&letter);
    let text = answer.to_string();
    if !text.contains(is_control) {
        return text;
    }
    let written = |letter: char| match is_control(letter) {
        true => format!("\\u{:04x}", u32::from(letter)),
        false => letter.to_string(),
    };
    text.chars().map(written).collect()
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_name_is_one_segment_whatever_is_in_it() {
        assert_eq!(path("shop-v2", "/history"), "/releases/shop-v2/history");
        assert_eq!(path("a/../b?x=1#é", ""), "/releases/a%2F..%2Fb%3Fx%3D1%23%C3%A9");
    }
}
