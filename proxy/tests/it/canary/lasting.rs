//! The same user gets the same version from every instance, after every reload and after every restart.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::support::control::{Program, replace};
use crate::support::{PATIENCE, eventually};

#[test]
fn instances_with_the_same_secret_agree() {
    let versions = Versions::start();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, [7; 32]).unwrap();
    let rules = format!("secret_file: \"{}\"\n{}", secret.display(), versions.rules(BY_USER));
    let (one, other) = (Serin::serving(&rules), Serin::serving(&rules));
    let groups = groups_of_both(&one, &other);
    // A pin of one is good at the other, without the key that led to it.
    let pinned = pin(&user(&mut one.client(), &one_in(&groups, "canary"))).expect("canary users get a pin");
    let reply = other.client().request("GET", "/", &[("Cookie", &pinned)], b"");
    assert_eq!(reply.text(), "canary");
}

fn groups_of_both(one: &Serin, other: &Serin) -> BTreeMap<String, String> {
    let groups = self::groups(one);
    assert_eq!(self::groups(other), groups);
    groups
}

/// A main file with a state folder beside it.
struct Stage {
    folder: tempfile::TempDir,
    versions: Versions,
}

impl Stage {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), versions: Versions::start() }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("serin.yaml")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The release at this percent, and something else that changes.
    fn rules(&self, percent: u8, other: u32) -> String {
        let release =
            format!("audience: [{{name: everyone, percent: {percent}}}], sticky: {{key: [{{header: x-user}}]}}");
        let rules = self.versions.rules(&release);
        format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n{}",
            rules.replace("routes: {", &format!("routes: {{other: {{hosts: [h{other}.test], upstream: stable}}, "))
        )
    }

    fn start(&self) -> Program {
        Program::start_with(&self.config(), &["--state-dir", self.state().to_str().unwrap()])
    }
}

fn client(program: &Program) -> Client {
    Client::connect(program.address("web"))
}

/// Puts rules in force in a running program, and waits until their `other` route is there.
fn reload(stage: &Stage, program: &Program, percent: u8, other: u32) {
    replace(&stage.config(), &stage.rules(percent, other));
    let host = format!("h{other}.test");
    eventually(PATIENCE, "the new rules", || program.admin("/api/v1/routes").text().contains(&host));
}

/// The group of somebody who has nothing but a pin.
fn group_by_pin(program: &Program, pin: &str) -> String {
    client(program).request("GET", "/", &[("Cookie", pin)], b"").text().to_owned()
}

#[test]
fn reloads_and_restarts_keep_groups_and_pins() {
    let stage = Stage::new();
    fs::write(stage.config(), stage.rules(30, 0)).unwrap();
    let mut program = stage.start();
    let groups = groups_seen_by(client(&program));
    let pinned = pin(&user(&mut client(&program), &one_in(&groups, "canary"))).expect("canary users get a pin");
    let is_as_before = |program: &Program, when: &str| {
        assert_eq!(groups_seen_by(client(program)), groups, "{when}");
        assert_eq!(group_by_pin(program, &pinned), "canary", "{when}");
    };
    for round in 1..4 {
        reload(&stage, &program, 30, round);
        is_as_before(&program, "after a reload");
        drop(program);
        program = stage.start();
        is_as_before(&program, "after a restart");
    }
    drop(program);
    fs::write(stage.config(), "routes: [").unwrap();
    is_as_before(&stage.start(), "after a start with stored rules");
}

#[test]
fn a_higher_percent_takes_nobody_out_also_after_a_restart() {
    let stage = Stage::new();
    fs::write(stage.config(), stage.rules(20, 0)).unwrap();
    let program = stage.start();
    let few = groups_seen_by(client(&program));
    reload(&stage, &program, 60, 1);
    let many = groups_seen_by(client(&program));
    let count = |groups: &BTreeMap<String, String>| groups.values().filter(|group| *group == "canary").count();
    assert!(count(&many) > count(&few), "{} of {}", count(&many), count(&few));
    let left: Vec<_> = few.iter().filter(|(user, group)| *group == "canary" && many[*user] != "canary").collect();
    assert!(left.is_empty(), "{left:?}");
    drop(program);
    assert_eq!(groups_seen_by(client(&stage.start())), many);
}

/// What makes the pins last is the secret in the state folder: without it they are somebody else's, and users have
/// their keys.
#[test]
fn without_the_state_folder_a_restart_keeps_groups_and_no_pins() {
    let stage = Stage::new();
    fs::write(stage.config(), stage.rules(30, 0)).unwrap();
    let program = stage.start();
    let groups = groups_seen_by(client(&program));
    let pinned = pin(&user(&mut client(&program), &one_in(&groups, "canary"))).expect("canary users get a pin");
    drop(program);
    fs::remove_dir_all(stage.state()).unwrap();
    let program = stage.start();
    assert_eq!(groups_seen_by(client(&program)), groups);
    assert_eq!(group_by_pin(&program, &pinned), "stable");
}
