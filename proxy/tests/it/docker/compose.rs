//! `docker/compose.yaml`, and the rules beside it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use serin_proxy::control_path::check::check;

use super::objects::list;
use crate::reference::workspace;
use crate::support::control::{Program, serin, serin_asking};
use crate::support::etcd::Etcd;
use crate::support::{PATIENCE, eventually, skip};

fn folder() -> PathBuf {
    workspace().join("docker/compose")
}

#[test]
fn compose_takes_it() {
    let file = workspace().join("docker/compose.yaml");
    let Ok(output) = Command::new("docker-compose").arg("--file").arg(file).args(["config", "--quiet"]).output() else {
        return skip("docker-compose is not installed");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What it starts does what it is for, but for the names of its network: the rules come to etcd, and Serin has a release under way.
#[test]
fn its_rules_become_a_release() {
    let Some(etcd) = Etcd::start() else { return };
    let urls = etcd.urls().join(",").replace('"', "");
    let text = fs::read_to_string(workspace().join("docker/compose.yaml")).expect("it is there");
    let compose: Value = serde_saphyr::from_str(&text).expect("YAML");
    let command: Vec<&str> = list(&compose["services"]["rules"]["command"]).iter().filter_map(Value::as_str).collect();
    let rules = folder().join("rules");
    let to_real = |word: &&str| match *word {
        "/rules" => rules.to_string_lossy().into_owned(),
        "http://etcd:2379" => urls.clone(),
        word => word.to_owned(),
    };
    let command: Vec<String> = command.iter().map(to_real).collect();
    let pushed = serin(&command.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(pushed.status.code(), Some(0), "{pushed:?}");

    let settings = folder().join("serin.yaml");
    let problems = check(&settings).problems;
    assert!(problems.is_empty(), "{problems:?}");
    let here = tempfile::tempdir().expect("a temporary folder");
    let path = here.path().join("serin.yaml");
    let text = fs::read_to_string(&settings).expect("it is there");
    let text = text.replace("0.0.0.0:8080", "127.0.0.1:0").replace("0.0.0.0:9900", "127.0.0.1:0");
    fs::write(&path, text.replace("http://etcd:2379", &urls)).expect("room");
    let program = Program::start_with(&path, &["--state-dir", here.path().join("state").to_str().expect("text")]);
    eventually(PATIENCE, "a release", || {
        let releases: Value = serde_json::from_str(program.admin("/api/v1/releases").text()).expect("JSON");
        releases[0]["name"] == "shop-v2" && releases[0]["status"] == "running" && releases[0]["percent"] == 20.0
    });
    let rejected: Value = serde_json::from_str(program.admin("/api/v1/rejected").text()).expect("JSON");
    assert_eq!(rejected["count"], 0, "{rejected}");

    // As docs/operate.md tells it.
    let admin = format!("http://{}", program.address("admin"));
    let ask = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let output = serin_asking(&admin, &words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let group = || ask(&["explain", "--admin", &admin, "-H", "cookie: uid=eve", "http://127.0.0.1:8080/"]);
    assert!(group().contains("\"everyone\": 20 %, bucket 2879 is outside)"), "{}", group());
    ask(&["release", "promote", "shop-v2", "--by", "ann"]);
    // Nobody answers for the names of its network here, so that stable would serve her all the same.
    eventually(PATIENCE, "she is in the canary", || group().contains("\"everyone\": 50 %, bucket 2879; "));
}
