//! `serin instances`: who follows etcd, and how far they are.

use std::process::ExitCode;

use serin_proxy::control_path::etcd::{Cluster, Keys, Trouble};
use serin_proxy::control_path::fleet::{INSTANCES, Instance, Instances, LEADER, Rejected};

use super::etcd_args::EtcdArgs;
use super::{NO, UNREACHED, USAGE, refuse, say, shown};

#[derive(clap::Args)]
pub(super) struct InstancesArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    etcd: EtcdArgs,
}

pub(super) fn instances(args: InstancesArgs) -> ExitCode {
    let (runtime, cluster) = match args.etcd.reach() {
        Ok(reached) => reached,
        Err(reason) => return refuse(args.json, USAGE, reason),
    };
    let keys = match runtime.block_on(read(&cluster)) {
        Ok(keys) => keys,
        Err(trouble) => return refuse(args.json, UNREACHED, trouble),
    };
    let instances = Instances::of(cluster.prefix(), &keys);
    match args.json {
        true => say(json(&instances)),
        false => table(&instances),
    }
    let is_well = |it: &Option<Instance>| it.as_ref().is_some_and(|it| it.ready && !it.stale && it.rejected == 0);
    let are_well = !instances.all.is_empty() && instances.all.values().all(is_well);
    if are_well { ExitCode::SUCCESS } else { ExitCode::from(NO) }
}

/// What instances say; the rules are not asked for.
async fn read(cluster: &Cluster) -> Result<Keys, Trouble> {
    let mut keys = cluster.list(&format!("{}{INSTANCES}", cluster.prefix())).await?;
    keys.entries.extend(cluster.list(&format!("{}{LEADER}", cluster.prefix())).await?.entries);
    Ok(keys)
}

fn json(instances: &Instances) -> serde_json::Value {
    let listed: Vec<_> = instances.list().collect();
    serde_json::json!({"instances": listed, "disagreements": instances.disagreements()})
}

fn table(instances: &Instances) {
    let Instances { all, leader } = instances;
    if all.is_empty() {
        return say("no instance is there");
    }
    let width = all.keys().map(|id| shown(id).chars().count()).max().unwrap_or(0);
    say(format_args!(
        "{:width$}  {:8}  {:>10}  {:5}  {:>8}  {:6}",
        "INSTANCE", "VERSION", "APPLIED", "READY", "REJECTED", "LEADER"
    ));
    for (id, says) in all.iter() {
        let leads = if leader.as_deref() == Some(&**id) { "yes" } else { "" };
        let id = shown(id);
        let Some(Instance { version, applied, ready, rejected, .. }) = says else {
            say(format_args!("{id:width$}  what it says cannot be read; it may be newer than this command"));
            continue;
        };
        let (ready, version) = (if *ready { "yes" } else { "no" }, shown(version));
        say(format_args!("{id:width$}  {version:8}  {applied:>10}  {ready:5}  {rejected:>8}  {leads:6}")
            .to_string()
            .trim_end());
    }
    for (id, says) in all.iter() {
        for Rejected { source, reason, .. } in says.iter().flat_map(|says| &says.problems) {
            say(format_args!("{} rejects {}: {}", shown(id), shown(source), shown(reason)));
        }
    }
    instances.disagreements().into_iter().for_each(say);
}
