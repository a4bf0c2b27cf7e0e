use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use routing_rules::rules::{Endpoint, RuleSet, Weight};
use routing_rules::spec::{Spec, UpstreamSpec};
use tempfile::TempDir;

use super::{ENDPOINTS, RULES, RestoreError, SECRET, StateDir, StoredEndpoints};
use crate::control_path::release::StoredRecords;
use crate::settings::Settings;
use crate::snapshot::Discovered;

fn rules(upstream: &str) -> Spec {
    let mut spec = Spec::default();
    spec.upstreams.insert(upstream.into(), UpstreamSpec::default());
    spec
}

fn open() -> (TempDir, StateDir) {
    let folder = tempfile::tempdir().unwrap();
    let state_dir = StateDir::open(&folder.path().join("a/state")).unwrap();
    (folder, state_dir)
}

fn stored(state_dir: &StateDir) -> String {
    state_dir.restore().unwrap().rules.upstreams.into_keys().collect()
}

#[test]
fn what_is_saved_comes_back_and_is_for_nobody_else() {
    let (_folder, state_dir) = open();
    assert!(matches!(state_dir.restore(), Err(RestoreError::Io(..))));
    let mut settings = Settings::default();
    settings.workers = Some(3);
    state_dir.save(&settings, rules("one"), StoredRecords::default()).unwrap();
    state_dir.save(&settings, rules("two"), StoredRecords::default()).unwrap();
    assert_eq!(state_dir.restore().unwrap().settings, settings);
    assert_eq!(stored(&state_dir), "two");
    state_dir.secret().unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(&state_dir.folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, [RULES.current, RULES.previous, SECRET]);
}

#[test]
fn any_damage_is_noticed_and_the_previous_generation_is_used() {
    let (_folder, state_dir) = open();
    state_dir.save(&Settings::default(), rules("one"), StoredRecords::default()).unwrap();
    state_dir.save(&Settings::default(), rules("two"), StoredRecords::default()).unwrap();
    let path = state_dir.folder.join(RULES.current);
    let whole = fs::read(&path).unwrap();
    for damage in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[damage] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(stored(&state_dir), "one", "byte {damage}");
        fs::write(&path, &whole[..damage]).unwrap();
        assert_eq!(stored(&state_dir), "one", "cut at {damage}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(stored(&state_dir), "one");
}

#[test]
fn a_damaged_file_does_not_push_out_the_good_one_before_it() {
    let (_folder, state_dir) = open();
    state_dir.save(&Settings::default(), rules("one"), StoredRecords::default()).unwrap();
    state_dir.save(&Settings::default(), rules("two"), StoredRecords::default()).unwrap();
    fs::write(state_dir.folder.join(RULES.current), "junk").unwrap();
    state_dir.set_damaged_aside();
    assert_eq!(fs::read(state_dir.folder.join(RULES.damaged)).unwrap(), b"junk");
    state_dir.save(&Settings::default(), rules("three"), StoredRecords::default()).unwrap();
    assert_eq!(stored(&state_dir), "three");
    fs::write(state_dir.folder.join(RULES.current), "junk").unwrap();
    assert_eq!(stored(&state_dir), "one");
}

#[test]
fn a_newer_format_is_left_alone_and_not_misread() {
    let (_folder, state_dir) = open();
    state_dir.save(&Settings::default(), rules("one"), StoredRecords::default()).unwrap();
    let path = state_dir.folder.join(RULES.current);
    let text = fs::read_to_string(&path).unwrap().replacen("\"format\":1", "\"format\":2", 1);
    fs::write(&path, text).unwrap();
    let error = state_dir.restore().unwrap_err().to_string();
    assert!(error.contains("format 2 is not 1"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_fails_the_save_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let state_dir = StateDir::open(&folder.path().join("file/state")).unwrap();
    assert!(state_dir.save(&Settings::default(), rules("one"), StoredRecords::default()).is_err());
    assert_ne!(state_dir.secret().unwrap(), [0; 32]);
    // As soon as it can be made, it is.
    fs::remove_file(folder.path().join("file")).unwrap();
    state_dir.save(&Settings::default(), rules("one"), StoredRecords::default()).unwrap();
    assert_eq!(stored(&state_dir), "one");
}

#[test]
fn what_cannot_be_written_changes_nothing() {
    let (_folder, state_dir) = open();
    state_dir.save(&Settings::default(), rules("one"), StoredRecords::default()).unwrap();
    // A folder in the place of the temporary file: it cannot be written, whoever tries.
    fs::create_dir_all(state_dir.folder.join("rules.json.tmp/x")).unwrap();
    assert!(state_dir.save(&Settings::default(), rules("two"), StoredRecords::default()).is_err());
    assert_eq!(stored(&state_dir), "one");
    assert!(!state_dir.folder.join(RULES.previous).exists());
}

#[test]
fn the_secret_stays_and_a_damaged_one_is_replaced() {
    let (_folder, state_dir) = open();
    let secret = state_dir.secret().unwrap();
    assert_eq!(state_dir.secret().unwrap(), secret);
    fs::write(state_dir.folder.join(SECRET), "short").unwrap();
    let replaced = state_dir.secret().unwrap();
    assert_ne!(replaced, secret);
    assert_eq!(state_dir.secret().unwrap(), replaced);
}

#[test]
fn endpoints_answer_only_the_question_they_were_found_for_and_damaged_ones_are_none() {
    let (_folder, state_dir) = open();
    assert_eq!(state_dir.restore_endpoints(), StoredEndpoints::default());
    let discovery = |name: &str| {
        let text =
            format!(r#"{{"upstreams": {{"app": {{"discovery": {{"dns": {{"name": "{name}", "port": 80}}}}}}}}}}"#);
        let (rules, problems) = RuleSet::from_spec(&serde_json::from_str(&text).unwrap());
        assert_eq!(problems, []);
        rules.upstream("app").unwrap().discovery().unwrap().clone()
    };
    let asks = discovery("app.test").to_string();
    let stored = format!(r#"{{"app":{{"asks":"{asks}","endpoints":[["127.0.0.1:80",3],["127.0.0.2:80",9999]]}}}}"#);
    state_dir.save_endpoints(&serde_json::from_str(&stored).unwrap()).unwrap();
    let found = state_dir.restore_endpoints();
    let addresses = |name: &str, asks: &str| -> Option<Vec<String>> {
        let (endpoints, _) = found.for_upstream(name, &discovery(asks))?;
        Some(endpoints.iter().map(|endpoint| format!("{} {}", endpoint.address, endpoint.weight.get())).collect())
    };
    // What no endpoint can have is nobody's.
    assert_eq!(addresses("app", "app.test"), Some(vec!["127.0.0.1:80 3".to_owned()]));
    assert_eq!(addresses("app", "other.test"), None);
    assert_eq!(addresses("other", "app.test"), None);
    // Nobody knows how old they are, and no clock makes anything panic.
    let answered_at = |stored: &str| {
        let stored: StoredEndpoints = serde_json::from_str(stored).unwrap();
        stored.for_upstream("app", &discovery("app.test")).unwrap().1
    };
    assert_eq!(answered_at(&stored), None);
    let at = |seconds: u64| stored.replace(",\"endpoints\"", &format!(",\"answered_at\":{seconds},\"endpoints\""));
    assert_eq!(answered_at(&at(7)), Some(UNIX_EPOCH + Duration::from_secs(7)));
    assert_eq!(answered_at(&at(u64::MAX)), None);
    let age = |answered_at| {
        let endpoint = "127.0.0.1:80".parse().unwrap();
        let endpoint = Endpoint { address: endpoint, weight: Weight::new(1).unwrap() };
        Discovered::restored(discovery("app.test"), &[endpoint], Some(answered_at)).state().age().unwrap()
    };
    assert!(age(UNIX_EPOCH) > Duration::from_secs(1_000_000_000));
    assert!(age(SystemTime::now() + Duration::from_secs(3_600)) < Duration::from_secs(60));
    fs::write(state_dir.folder.join(ENDPOINTS.current), "junk").unwrap();
    assert_eq!(state_dir.restore_endpoints(), StoredEndpoints::default());
}
