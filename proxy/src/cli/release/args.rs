//! The flags of `serin release`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use crate::cli::api::Place;

#[derive(clap::Args)]
pub(in crate::cli) struct ReleaseCommand {
    #[command(subcommand)]
    pub(super) what: What,
    #[command(flatten)]
    pub(super) api: ApiArgs,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Subcommand)]
pub(super) enum What {
    /// List all releases.
    List,
    /// Say how far a release is. With `--watch`: exit code 0 if it is completed, 1 if it is rolled back.
    Status(StatusArgs),
    /// Say whom another percent, or an edit of the rules, would move of the users who came lately. It changes nothing.
    Preview(PreviewArgs),
    /// Begin again in the first phase, after a rollback or the end.
    Start(OrderArgs),
    /// Go on to the next phase; after one of 100 % the release is complete.
    Promote(OrderArgs),
    /// Give the canary to any percent of the users who follow the phases.
    Set(SetArgs),
    /// Let no phase end by itself.
    Pause(OrderArgs),
    /// Let phases end by themselves again; after a rollback, go on where it was.
    Resume(OrderArgs),
    /// Give the canary to everybody.
    Complete(OrderArgs),
    /// Take everybody back to stable, at once, whatever somebody else did meanwhile.
    Rollback(OrderArgs),
    /// Say whether a release may go on. Exit code 0 if it may, 1 if it may not, 4 if that is not decided.
    Verdict(VerdictArgs),
    /// Say what was done to a release, by whom and why, the newest first.
    History(HistoryArgs),
}

/// Who is asked.
#[derive(clap::Args)]
pub(super) struct ApiArgs {
    /// The admin API of an instance.
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:9900", env = "SERIN_ADMIN")]
    pub(super) admin: Place,
    /// A file with the token that orders have to show there (`admin.token_file`).
    #[arg(long, global = true, value_name = "FILE", env = "SERIN_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct StatusArgs {
    /// The release.
    pub(super) name: String,
    /// Follow it until it ends, or Ctrl-C. Where that is no terminal, each change is a line.
    #[arg(long)]
    pub(super) watch: bool,
}

#[derive(clap::Args)]
pub(super) struct PreviewArgs {
    /// The release.
    pub(super) name: String,
    /// The share of the users who follow the phases: 0 to 100. Default: the one of now.
    #[arg(long, value_name = "PERCENT", value_parser = percent, required_unless_present = "file")]
    pub(super) percent: Option<f64>,
    /// An edited file of rules with the release among them, or one that is the release. Default: the rules in force.
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct VerdictArgs {
    /// The release.
    pub(super) name: String,
    /// Wait until it is decided, but no longer than that.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(super) wait: Duration,
}

#[derive(clap::Args)]
pub(super) struct HistoryArgs {
    /// The release.
    pub(super) name: String,
    /// No more entries than this.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(super) most: u16,
}

#[derive(clap::Args)]
pub(super) struct OrderArgs {
    /// The release.
    pub(super) name: String,
    /// Who gives the order, as history will say. Default: USER@HOST.
    #[arg(long, value_name = "NAME")]
    pub(super) by: Option<String>,
    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,
    /// Also if it takes users of the canary back to stable, or if the canary's endpoints would get more than any has carried.
    #[arg(long)]
    pub(super) force: bool,
    /// Wait until all instances have applied it. Exit code 1 if not all have in time.
    #[arg(long)]
    pub(super) wait: bool,
    /// How long to wait for them: at most 60s.
    #[arg(long, value_name = "TIME", default_value = "15s", requires = "wait", value_parser = span)]
    pub(super) timeout: Duration,
    /// Only if the release still has this number. Default: the one it has now; a rollback does not ask.
    #[arg(long, value_name = "N")]
    pub(super) if_number: Option<u64>,
}

#[derive(clap::Args)]
pub(super) struct SetArgs {
    #[command(flatten)]
    pub(super) order: OrderArgs,
    /// The share of the users who follow the phases: 0 to 100.
    #[arg(value_parser = percent)]
    pub(super) percent: f64,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim_end_matches('%').trim_end().parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("a percent is from 0 to 100".to_owned()) }
}

fn span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if span <= LONGEST { Ok(span) } else { Err("it is at most 60s".to_owned()) }
}

/// As the API has it.
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::{percent, span};

    #[test]
    fn percents_are_from_0_to_100() {
        assert_eq!((percent("20"), percent("12.5%"), percent("0 %")), (Ok(20.0), Ok(12.5), Ok(0.0)));
        for bad in ["101", "-1", "nan", "many", ""] {
            assert!(percent(bad).is_err(), "{bad}");
        }
        assert!(span("60s").is_ok() && span("61s").is_err() && span("soon").is_err());
    }
}
