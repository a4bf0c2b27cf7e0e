//! `serin check`.

use std::process::ExitCode;

use serin_proxy::control_path::check;

use super::{ConfigArg, NO, say};

#[derive(clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) fn check(args: &CheckArgs) -> ExitCode {
    let checked = check::check(&args.config.config);
    for problem in &checked.problems {
        say(problem);
    }
    let rules = &checked.rules;
    match checked.problems.len() {
        0 => {
            say(format_args!(
                "{} is right: {} listeners, {} routes, {} upstreams, {} releases",
                args.config.config.display(),
                rules.listeners().len(),
                rules.routes().len(),
                rules.upstreams().len(),
                rules.releases().len(),
            ));
            ExitCode::SUCCESS
        }
        1 => {
            say("1 problem");
            ExitCode::from(NO)
        }
        many => {
            say(format_args!("{many} problems"));
            ExitCode::from(NO)
        }
    }
}
