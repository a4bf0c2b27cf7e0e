//! Asking whether a release may go on, and waiting until that is decided.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::answer::{self, Verdict};
use super::args::VerdictArgs;
use super::watch::{BETWEEN, Patience};
use super::{NO, json_text, path, text};
use crate::cli::api::{Api, Trouble};
use crate::cli::{complain, say};

/// Asks. The API waits for no longer than a minute, and an instance that is replaced is away for a moment.
pub(super) async fn verdict(api: &Api, args: &VerdictArgs, json: bool) -> Result<ExitCode, Trouble> {
    let deadline = Instant::now().checked_add(args.wait);
    let mut patience = Patience::default();
    let mut is_silent = false;
    loop {
        let left = deadline.map_or(LONGEST, |deadline| deadline.saturating_duration_since(Instant::now())).min(LONGEST);
        let asked = api.get_within(&path(&args.name, &format!("/verdict?wait={}ms", left.as_millis())), left).await;
        match patience.judge(asked)? {
            Ok(whole) => {
                is_silent = false;
                let verdict: Verdict = answer::read(whole.clone())?;
                if verdict.decided || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    say(if json { json_text(&whole) } else { text::verdict(&verdict) });
                    return Ok(match &*verdict.verdict {
                        _ if !verdict.decided => ExitCode::from(UNDECIDED),
                        "promote" => ExitCode::SUCCESS,
                        _ => ExitCode::from(NO),
                    });
                }
            }
            Err(trouble) => {
                if !std::mem::replace(&mut is_silent, true) {
                    complain(format_args!("{trouble}; trying again"));
                }
                sleep(BETWEEN).await;
            }
        }
    }
}

/// A pipeline may wait on; after a no it must not.
const UNDECIDED: u8 = 4;

/// Less than a minute: what is in between may have a limit of its own.
const LONGEST: Duration = Duration::from_secs(50);
