//! `serin etcd`: a folder of rule files and the keys of etcd.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Subcommand;
use serin_proxy::control_path::etcd::{Cluster, Keys, Trouble};
use serin_proxy::control_path::transfer::{self, Note, Plan, Refusal};
use tokio::runtime::Runtime;

use super::etcd_args::EtcdArgs;
use super::{NO, UNREACHED, USAGE, complain, say};

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
    let PushArgs { folder, prune, dry_run, split, by, message, etcd } = args;
    let (runtime, cluster) = reach(etcd)?;
    let plan = runtime.block_on(planned(&cluster, &folder, prune))?;
    plan.changes.iter().for_each(say);
    if dry_run || plan.changes.is_empty() {
        say(format_args!("{} to write, {} the same", plan.changes.len(), plan.unchanged));
        return Ok(0);
    }
    let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let written = runtime.block_on(transfer::write(&cluster, &plan.changes, &Note { by, at, message }, split));
    let revision = written.map_err(|refusal| {
        let code = if matches!(refusal, Refusal::Trouble(_)) { UNREACHED } else { NO };
        End(code, refusal.to_string())
    })?;
    say(format_args!("{} written at revision {revision}, {} the same", plan.changes.len(), plan.unchanged));
    Ok(0)
}

fn diff(args: DiffArgs) -> Result<u8, End> {
    let (runtime, cluster) = reach(args.etcd)?;
    let plan = runtime.block_on(planned(&cluster, &args.folder, args.prune))?;
    plan.changes.iter().for_each(say);
    say(format_args!("{} to write, {} the same", plan.changes.len(), plan.unchanged));
    Ok(if plan.changes.is_empty() { 0 } else { NO })
}

fn pull(args: PullArgs) -> Result<u8, End> {
    let (runtime, cluster) = reach(args.etcd)?;
    let keys = runtime.block_on(keys(&cluster))?;
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
    let keys = keys(cluster).await?;
    transfer::plan(&texts, &keys, cluster.prefix(), prune).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        End(NO, lines.join("\n"))
    })
}

async fn keys(cluster: &Cluster) -> Result<Keys, Trouble> {
    let mut trouble = None;
    // Each member once.
    for _ in 0..cluster.members() {
        let listed = match cluster.connect().await {
            Ok(connection) => match connection.list(cluster.prefix()).await {
                Ok(keys) => return Ok(keys),
                Err(trouble) => {
                    cluster.turn_away(&connection).await;
                    trouble
                }
            },
            Err(trouble) => trouble,
        };
        trouble = Some(listed);
    }
    Err(trouble.unwrap_or_else(|| Trouble::new("there is no member to ask")))
}

fn reach(args: EtcdArgs) -> Result<(Runtime, Cluster), End> {
    let settings = args.settings().map_err(|reason| End(USAGE, reason))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| End(NO, format!("cannot start a runtime: {error}")))?;
    Ok((runtime, Cluster::new(settings)))
}
