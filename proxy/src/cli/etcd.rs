//! `serin etcd`: a folder of rule files and the keys of etcd.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use serin_proxy::control_path::etcd::{Cluster, Trouble};
use serin_proxy::control_path::fleet::{self, Progress, Rejected};
use serin_proxy::control_path::transfer::{self, Note, Plan, Refusal};

use super::etcd_args::EtcdArgs;
use super::{NO, UNREACHED, USAGE, complain, say, shown};

#[derive(clap::Args)]
pub(super) struct EtcdCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Write the objects of a folder into etcd: all of them or none, and only where nobody has written meanwhile.
    Push(PushArgs),
    /// Write what etcd has into files of a folder, one for each kind of object.
    Pull(PullArgs),
    /// Say what a push would write. Exit code 0: nothing, 1: something.
    Diff(DiffArgs),
}

#[derive(clap::Args)]
struct PushArgs {
    /// Its files `*.yaml`, `*.yml` and `*.json` are read.
    folder: PathBuf,
    /// Delete what etcd has and the folder has not.
    #[arg(long)]
    prune: bool,
    /// Say what would be written, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write in several transactions what is too much for one.
    #[arg(long)]
    split: bool,
    /// Wait until all instances have applied it, but no longer than this. Exit code 1: they have not, or one refuses a part.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, num_args = 0..=1, require_equals = true, default_missing_value = "15s")]
    wait: Option<Duration>,
    /// Who writes, for the history.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "somebody")]
    by: String,
    /// Why, for the history.
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    etcd: EtcdArgs,
}

#[derive(clap::Args)]
struct PullArgs {
    /// Where the files are written; made if it is not there.
    folder: PathBuf,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    etcd: EtcdArgs,
}

#[derive(clap::Args)]
struct DiffArgs {
    /// Its files `*.yaml`, `*.yml` and `*.json` are read.
    folder: PathBuf,
    /// What a push with `--prune` would do.
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    etcd: EtcdArgs,
}

fn usage(reason: String) -> End {
    End(USAGE, reason)
}

/// Why a command ends early: the exit code, and what is said.
struct End(u8, String);

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self(UNREACHED, trouble.to_string())
    }
}

pub(super) fn etcd(command: EtcdCommand) -> ExitCode {
    let done = match command.what {
        What::Push(args) => push(args),
        What::Pull(args) => pull(args),
        What::Diff(args) => diff(args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(End(code, reason)) => {
            complain(reason);
            ExitCode::from(code)
        }
    }
}

fn push(args: PushArgs) -> Result<u8, End> {
    let PushArgs { folder, prune, dry_run, split, wait, by, message, etcd } = args;
    let (runtime, cluster) = etcd.reach().map_err(usage)?;
    let plan = runtime.block_on(planned(&cluster, &folder, prune))?;
    plan.changes.iter().for_each(say);
    if dry_run || plan.changes.is_empty() {
        say(format_args!("{} to write, {} the same", plan.changes.len(), plan.unchanged));
        return match wait {
            // Whoever asks again wants to know it, too.
            Some(patience) if !dry_run => runtime.block_on(waited(cluster, plan.newest - 1, plan.newest, patience)),
            _ => Ok(0),
        };
    }
    let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let written = runtime.block_on(transfer::write(&cluster, &plan.changes, &Note { by, at, message }, split));
    let revision = written.map_err(|refusal| {
        let code = if matches!(refusal, Refusal::Trouble(_)) { UNREACHED } else { NO };
        End(code, refusal.to_string())
    })?;
    say(format_args!("{} written at revision {revision}, {} the same", plan.changes.len(), plan.unchanged));
    match wait {
        Some(patience) => runtime.block_on(waited(cluster, plan.newest, revision, patience)),
        None => Ok(0),
    }
}

fn diff(args: DiffArgs) -> Result<u8, End> {
    let (runtime, cluster) = args.etcd.reach().map_err(usage)?;
    let plan = runtime.block_on(planned(&cluster, &args.folder, args.prune))?;
    plan.changes.iter().for_each(say);
    say(format_args!("{} to write, {} the same", plan.changes.len(), plan.unchanged));
    Ok(if plan.changes.is_empty() { 0 } else { NO })
}

fn pull(args: PullArgs) -> Result<u8, End> {
    let (runtime, cluster) = args.etcd.reach().map_err(usage)?;
    let keys = runtime.block_on(cluster.list(cluster.prefix()))?;
    let pulled = transfer::pull(&args.folder, &keys, cluster.prefix(), args.force);
    let pulled = pulled.map_err(|error| End(USAGE, format!("{}: {error}", args.folder.display())))?;
    for (file, count) in &pulled.files {
        say(format_args!("{} {count}", file.display()));
    }
    for (key, reason) in &pulled.left_out {
        complain(format_args!("{}: {reason}", key.escape_debug()));
    }
    Ok(if pulled.left_out.is_empty() { 0 } else { NO })
}

async fn planned(cluster: &Cluster, folder: &Path, prune: bool) -> Result<Plan, End> {
    let texts = transfer::read(folder).map_err(|error| End(USAGE, format!("{}: {error}", folder.display())))?;
    let keys = cluster.list(cluster.prefix()).await?;
    transfer::plan(&texts, &keys, cluster.prefix(), prune).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        End(NO, lines.join("\n"))
    })
}

/// Says how far the instances are with what was written, which is newer than what was read.
async fn waited(cluster: Cluster, read: i64, written: i64, patience: Duration) -> Result<u8, End> {
    let Some(instances) = fleet::wait_for(cluster, written, patience).await else {
        return Err(End(UNREACHED, "it is written, but etcd does not say what the instances do".to_owned()));
    };
    let Progress { applied, waiting } = instances.progress(written);
    let refusals = instances.refusals(read);
    for (id, Rejected { source, reason, .. }) in &refusals {
        complain(format_args!("{} refuses {}: {}", shown(id), shown(source), shown(reason)));
    }
    say(format_args!("applied by {} of {} instances", applied.len(), applied.len() + waiting.len()));
    match (applied.is_empty(), waiting.is_empty()) {
        (true, true) => Err(End(NO, "no instance is there that could apply it".to_owned())),
        (_, true) => Ok(if refusals.is_empty() { 0 } else { NO }),
        (_, false) => Err(End(NO, format!("not yet applied by {}", shown(&waiting.join(", "))))),
    }
}
