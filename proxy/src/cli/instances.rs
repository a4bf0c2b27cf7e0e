//! `serin instances`: who follows etcd, and how far they are.

use std::process::ExitCode;

use serin_proxy::control_path::fleet::{Instance, Members, Rejected};

use super::etcd_args::EtcdArgs;
use super::{NO, UNREACHED, complain, refuse, say};

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
        Err(reason) => return refuse(args.json, reason),
    };
    let keys = match runtime.block_on(cluster.list(cluster.prefix())) {
        Ok(keys) => keys,
        Err(trouble) => {
            complain(trouble);
            return ExitCode::from(UNREACHED);
        }
    };
    let members = Members::of(cluster.prefix(), &keys);
    match args.json {
        true => say(json(&members)),
        false => table(&members),
    }
    let is_well = |it: &Option<Instance>| it.as_ref().is_some_and(|it| it.ready && it.rejected == 0);
    let are_well = !members.instances.is_empty() && members.instances.values().all(is_well);
    if are_well && members.disagreements().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) }
}

fn json(members: &Members) -> serde_json::Value {
    let leader = members.leader.as_deref().unwrap_or_default();
    let listed = members.instances.iter().map(|(id, says)| {
        let mut object = serde_json::to_value(says).unwrap_or_default();
        if !object.is_object() {
            object = serde_json::json!({});
        }
        object["id"] = id.as_str().into();
        object["leader"] = (leader == id).into();
        object
    });
    serde_json::json!({"instances": listed.collect::<Vec<_>>(), "disagreements": members.disagreements()})
}

fn table(members: &Members) {
    let Members { instances, leader } = members;
    if instances.is_empty() {
        return say("no instance is there");
    }
    let width = instances.keys().map(|id| shown(id).chars().count()).max().unwrap_or(0);
    say(format_args!(
        "{:width$}  {:8}  {:>10}  {:5}  {:>8}  {:6}",
        "INSTANCE", "VERSION", "APPLIED", "READY", "REJECTED", "LEADER"
    ));
    for (id, says) in instances.iter() {
        let leads = if leader.as_deref() == Some(&**id) { "yes" } else { "" };
        let id = shown(id);
        let Some(Instance { version, applied, ready, rejected, .. }) = says else {
            say(format_args!("{id:width$}  what it says cannot be read; it may be newer than this command"));
            continue;
        };
        let ready = if *ready { "yes" } else { "no" };
        say(format_args!("{id:width$}  {version:8}  {applied:>10}  {ready:5}  {rejected:>8}  {leads:6}")
            .to_string()
            .trim_end());
    }
    for (id, says) in instances.iter() {
        for Rejected { source, reason, .. } in says.iter().flat_map(|says| &says.problems) {
            say(format_args!("{} rejects {}: {}", shown(id), shown(source), shown(reason)));
        }
    }
    members.disagreements().into_iter().for_each(say);
}

/// Whoever may write to etcd must not write to terminals.
fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}
