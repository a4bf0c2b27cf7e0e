//! `serin import`: what would become of what another proxy serves.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kubernetes_source::import::{Report, Wanted, report_of};

use super::{NO, USAGE, refuse, say};

#[derive(clap::Args)]
pub(super) struct ImportCommand {
    #[command(subcommand)]
    from: From,
}

#[derive(clap::Subcommand)]
enum From {
    /// Say what Serin would make of the Ingresses of ingress-nginx: what would be the same, what different, what missing. Exit code 0: nothing
    /// is missing, 1: something is.
    IngressNginx(IngressNginxArgs),
}

#[derive(clap::Args)]
struct IngressNginxArgs {
    /// What `kubectl get ingress,ingressclass,service,secret,configmap -A -o yaml` prints (or json); `-` for standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    dump: PathBuf,
    /// Ingresses of this class, besides those of classes that belong to ingress-nginx. May be given several times.
    #[arg(long, value_name = "NAME", default_value = "nginx")]
    class: Vec<String>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn import(command: ImportCommand) -> ExitCode {
    let From::IngressNginx(args) = command.from;
    let report = read(&args.dump).and_then(|dump| {
        let wanted = Wanted { classes: args.class.clone(), ..Wanted::default() };
        report_of(&dump, &wanted)
    });
    match report {
        Ok(report) => tell(&report, args.json),
        Err(reason) => refuse(args.json, USAGE, reason),
    }
}

fn read(dump: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = match dump.as_os_str() == "-" {
        true => std::io::stdin().read_to_string(&mut text).map(|_| text),
        false => std::fs::read_to_string(dump),
    };
    read.map_err(|error| format!("{}: {error}", dump.display()))
}

fn tell(report: &Report, json: bool) -> ExitCode {
    match json {
        true => say(serde_json::to_value(report).unwrap_or_default()),
        false => say(report),
    }
    let is_all = report.summary.not == 0 && report.summary.closed == 0;
    if is_all { ExitCode::SUCCESS } else { ExitCode::from(NO) }
}
