//! `serin diff`.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use serin_proxy::diff::replay::replay;
use serin_proxy::diff::{Version, compare};

use super::{NO, USAGE, complain, say};

#[derive(clap::Args)]
pub(super) struct DiffArgs {
    /// The main file of before.
    old: PathBuf,
    /// The main file of now.
    new: PathBuf,
    /// A JSON access log of Serin; its requests are decided by both.
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn diff(args: &DiffArgs) -> ExitCode {
    let [old, new] = [&args.old, &args.new].map(|main| Version::read(main));
    let problems = old.problems().iter().chain(new.problems());
    if problems.inspect(|problem| complain(problem)).count() > 0 {
        return ExitCode::from(USAGE);
    }
    let mut diff = compare(&old, &new);
    if let Some(path) = &args.sample {
        let replayed = File::open(path).and_then(|file| replay(&old, &new, &mut BufReader::new(file)));
        match replayed {
            Err(error) => {
                complain(format_args!("{}: cannot be read: {error}", path.display()));
                return ExitCode::from(USAGE);
            }
            Ok(sample) if sample.requests == 0 && sample.unreadable > 0 => {
                complain(format_args!("{}: not a JSON access log of Serin", path.display()));
                return ExitCode::from(USAGE);
            }
            Ok(sample) => diff = diff.with_sample(sample),
        }
    }
    match args.json {
        true => say(serde_json::to_string_pretty(&diff).unwrap_or_default()),
        false => say(&diff),
    }
    if diff.moves { ExitCode::from(NO) } else { ExitCode::SUCCESS }
}
