//! What happens to the members of a cluster.

use super::stage::{Setting, Stage};
use super::{fault, length};
use crate::support::link::Weather;
use crate::support::{PATIENCE, eventually};

#[test]
fn members_are_killed_one_after_the_other() {
    let setting = Setting { members: 3, ..Setting::default() };
    fault("members", "each of 3 members killed and started again, twice", setting, |stage| {
        for member in [0, 1, 2, 0, 1, 2] {
            stage.etcd.kill(member);
            stage.etcd.is_ready();
            stage.is_over();
            stage.change();
            stage.is_right();
            stage.etcd.restart(member);
            stage.etcd.is_ready();
        }
        stage.is_over();
        stage.change();
    });
}

#[test]
fn the_leader_is_stopped() {
    let setting = Setting { members: 3, is_linked: true, most_seconds: 16, ..Setting::default() };
    fault("leader", "the leader stopped by SIGSTOP, then the member that is asked", setting, |stage| {
        let leader = stage.etcd.leader();
        stop(stage, leader);
        // Rules and registrations may be asked of two.
        for asked in stage.links_used() {
            stop(stage, asked);
        }
        stage.is_over();
        stage.change();
    });
}

/// A member that is stopped keeps its connections; it is missed when it has said nothing for ten seconds.
fn stop(stage: &mut Stage, member: usize) {
    stage.etcd.signal(member, "STOP");
    stage.etcd.is_ready();
    stage.follows_a_change();
    stage.etcd.signal(member, "CONT");
    stage.etcd.is_ready();
}

#[test]
fn the_cluster_loses_its_quorum() {
    let setting = Setting { members: 3, ..Setting::default() };
    fault("quorum", "2 of 3 members killed, and started again", setting, |stage| {
        stage.change();
        stage.etcd.kill(0);
        stage.etcd.kill(2);
        stage.is_noticed();
        stage.steady.goes_on_for(length(2, 60));
        stage.etcd.restart(0);
        stage.etcd.is_ready();
        stage.is_over();
        stage.change();
        stage.is_right();
        stage.etcd.restart(2);
        stage.etcd.is_ready();
        stage.is_over();
        stage.change();
    });
}

#[test]
fn all_members_are_away_for_long() {
    let setting = Setting { members: 3, ..Setting::default() };
    let away = length(5, outage_seconds());
    let what = format!("all members killed, and started again after {} s", away.as_secs());
    fault("outage", &what, setting, |stage| {
        (0..3).for_each(|member| stage.etcd.kill(member));
        stage.is_noticed();
        stage.steady.goes_on_for(away);
        (0..3).for_each(|member| stage.etcd.restart(member));
        stage.etcd.is_ready();
        stage.is_over();
        stage.change();
    });
}

/// Ten minutes, unless somebody has less time.
fn outage_seconds() -> u64 {
    std::env::var("SERIN_FAULTS_OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(600)
}

#[test]
fn the_data_are_lost() {
    fault("wiped", "the only member starts without data; then all is written again", Setting::default(), |stage| {
        stage.change();
        stage.etcd.wipe(0);
        stage.etcd.is_ready();
        held(stage);
        stage.steady.goes_on_for(length(1, 30));
        stage.write_all();
        stage.is_over();
        stage.change();
    });
}

/// Whatever went, goes on serving.
fn held(stage: &Stage) {
    let is_held = || stage.serin.metric("serin_etcd_held_objects") > 300;
    eventually(2 * PATIENCE, "what went is held", is_held);
    let registrations =
        || stage.serin.admin("/api/v1/upstreams").text().contains("endpoints stay though they have gone");
    eventually(2 * PATIENCE, "registrations stay", registrations);
}

#[test]
fn an_older_backup_is_restored() {
    let what = "a member set back to an older copy of its data, then written until its revision is a later one";
    fault("restored", what, Setting { is_linked: true, ..Setting::default() }, |stage| {
        for is_overtaken in [false, true] {
            stage.links[0].set(Weather::Silent);
            stage.etcd.kill(0);
            let stored = stage.etcd.stored(0);
            stage.etcd.restart(0);
            stage.etcd.is_ready();
            stage.links[0].set(Weather::Fair);
            stage.links[0].reset();
            for _ in 0..20 {
                stage.change();
            }
            stage.is_over();
            stage.is_right();
            stage.links[0].set(Weather::Silent);
            stage.etcd.kill(0);
            stage.etcd.set_back(0, &stored);
            stage.etcd.restart(0);
            stage.etcd.is_ready();
            // As many writes as were lost, or more: then nothing but the keys shows that they are others.
            for _ in 0..if is_overtaken { 40 } else { 3 } {
                stage.change();
            }
            stage.links[0].set(Weather::Fair);
            stage.links[0].reset();
            stage.is_over();
            stage.is_right();
        }
    });
}

#[test]
fn members_are_defragmented() {
    let setting = Setting { members: 3, ..Setting::default() };
    fault("defrag", "each member defragmented while it is asked", setting, |stage| {
        for member in 0..stage.etcd.members() {
            for _ in 0..20 {
                stage.change();
            }
            let defragment = stage.etcd.call_at(member, async |client| client.defragment().await);
            defragment.expect("it is defragmented");
            stage.is_over();
            stage.change();
            stage.is_right();
        }
    });
}
