//! Following a release until it ends: drawn anew on a terminal, a line for each change elsewhere.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::answer::{self, Entry, Release};
use super::{NO, fleet, path, text};
use crate::cli::api::{Api, Trouble};
use crate::cli::terminal::Screen;
use crate::cli::{complain, say};

/// Follows a release. Ctrl-C is no failure.
pub(super) async fn watch(api: &Api, name: &str, json: bool) -> Result<ExitCode, Trouble> {
    let mut interrupts = signal(SignalKind::interrupt()).map_err(|error| Trouble::Usage(error.to_string()))?;
    let screen = (!json && std::io::stdout().is_terminal()).then(|| Screen::open(LEAST_ROWS)).flatten();
    let follow = async {
        match screen {
            Some(screen) => draw(api, name, screen).await,
            None => tell(api, name, json).await,
        }
    };
    tokio::select! {
        end = follow => end,
        _ = interrupts.recv() => Ok(ExitCode::SUCCESS),
    }
}

async fn draw(api: &Api, name: &str, mut screen: Screen) -> Result<ExitCode, Trouble> {
    let mut patience = Patience::default();
    let mut lines = Vec::new();
    loop {
        let asked = async {
            let release: Release = answer::read(api.get(&path(name, "")).await?)?;
            Ok((release, fleet(api).await?))
        };
        let asked = patience.judge(asked.await)?;
        let trouble = match asked {
            Ok((release, fleet)) => {
                lines = text::status(&release, &fleet, SystemTime::now(), screen.style());
                screen.draw(&lines);
                if let Some(code) = end(&release.status) {
                    return Ok(code);
                }
                None
            }
            Err(trouble) => Some(trouble),
        };
        if let Some(trouble) = trouble {
            let more = [String::new(), format!("as it was; {trouble}; trying again")];
            screen.draw(&[lines.as_slice(), &more].concat());
        }
        sleep(BETWEEN).await;
    }
}

/// A line for each entry of history, beginning with the newest.
async fn tell(api: &Api, name: &str, json: bool) -> Result<ExitCode, Trouble> {
    let mut patience = Patience::default();
    let mut told = None;
    let mut is_silent = false;
    loop {
        match patience.judge(news(api, name, told).await)? {
            Ok((release, news)) => {
                for (entry, whole) in &news {
                    say(if json { super::json_text(whole) } else { text::entry(entry) });
                }
                told = news.last().map(|(entry, _)| entry.number).or(told);
                is_silent = false;
                if let Some(code) = end(&release.status) {
                    return Ok(code);
                }
            }
            Err(trouble) if !is_silent => {
                is_silent = true;
                complain(format_args!("{trouble}; trying again"));
            }
            Err(_) => {}
        }
        sleep(BETWEEN).await;
    }
}

/// What has happened since the entry with this number, the earliest first.
async fn news(api: &Api, name: &str, told: Option<u64>) -> Result<(Release, Vec<(Entry, serde_json::Value)>), Trouble> {
    let release: Release = answer::read(api.get(&path(name, "")).await?)?;
    let most = match told {
        None => 1,
        Some(told) if release.number <= told => return Ok((release, Vec::new())),
        // More may come before the answer. No more than 500 are kept.
        Some(told) => (release.number - told + SPARE).min(500),
    };
    let history = api.get(&path(name, &format!("/history?most={most}"))).await;
    let whole: Vec<serde_json::Value> = match history {
        Ok(history) => answer::read(history)?,
        // How it ends is known all the same.
        Err(_) if end(&release.status).is_some() => Vec::new(),
        Err(trouble) => return Err(trouble),
    };
    let mut news: Vec<(Entry, serde_json::Value)> = Vec::new();
    for value in whole.into_iter().rev() {
        let entry: Entry = answer::read(value.clone())?;
        if told.is_none_or(|told| entry.number > told) {
            news.push((entry, value));
        }
    }
    Ok((release, news))
}

/// The exit code, if nothing follows by itself.
fn end(status: &str) -> Option<ExitCode> {
    match status {
        "completed" => Some(ExitCode::SUCCESS),
        "rolled_back" => Some(ExitCode::from(NO)),
        _ => None,
    }
}

/// An instance that is replaced is away for a moment.
#[derive(Default)]
pub(super) struct Patience {
    was_heard: bool,
    silent_since: Option<Instant>,
}

impl Patience {
    /// The outer one is what to end with.
    pub(super) fn judge<T>(&mut self, asked: Result<T, Trouble>) -> Result<Result<T, Trouble>, Trouble> {
        match asked {
            Err(Trouble::Unreached(reason)) if self.was_heard => {
                let since = *self.silent_since.get_or_insert_with(Instant::now);
                let trouble = Trouble::Unreached(reason);
                if since.elapsed() > LONGEST { Err(trouble) } else { Ok(Err(trouble)) }
            }
            Err(trouble) => Err(trouble),
            Ok(answer) => {
                (self.was_heard, self.silent_since) = (true, None);
                Ok(Ok(answer))
            }
        }
    }
}

/// Changes that may come while history is asked for.
const SPARE: u64 = 10;

/// Between two looks.
pub(super) const BETWEEN: Duration = Duration::from_secs(1);

/// How long an instance may be away.
const LONGEST: Duration = Duration::from_secs(30);

/// Of a terminal that shows a release with a short audience.
const LEAST_ROWS: usize = 16;
