//! `serin check`.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serin_proxy::control_path::check::{self, Checked};

use super::{ConfigArg, NO, complain, say};

#[derive(clap::Args)]
pub(super) struct CheckArgs {
    /// The main file; the same as --config.
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) fn check(args: &CheckArgs) -> ExitCode {
    let main = args.file.as_ref().unwrap_or(&args.config.config);
    let mut checked = check::check(main);
    if !checked.problems.is_empty() {
        checked.problems.iter().for_each(say);
        say(counted(checked.problems.len(), "problem"));
        return ExitCode::from(NO);
    }
    let warnings = checked.warnings();
    warnings.iter().for_each(|warning| complain(format_args!("warning: {warning}")));
    let suffix = match warnings.len() {
        0 => String::new(),
        count => format!("; {}", counted(count, "warning")),
    };
    say(format_args!("{} is right: {}{suffix}", main.display(), sizes(&checked)));
    ExitCode::SUCCESS
}

fn sizes(checked: &Checked) -> impl fmt::Display {
    let rules = &checked.rules;
    format!(
        "{} listeners, {} routes, {} upstreams, {} releases",
        rules.listeners().len(),
        rules.routes().len() + rules.route_templates().len(),
        rules.upstreams().len() + rules.upstream_templates().len(),
        rules.releases().len(),
    )
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
