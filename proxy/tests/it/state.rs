//! The last good rules on disk: for a start when the files are broken, and never in the way of traffic.

use std::fs;
use std::path::Path;

use serin_proxy::server::{Server, StartError, StartOptions};
use tempfile::TempDir;

use crate::support::control::{admin, replace};
use crate::support::{Origin, PATIENCE, eventually, get};

const SETTINGS: &str = "listeners: {web: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\nworkers: 1\nstate_dir: state\n\
     sources: {files: [\"rules.d/*.yaml\"]}\n";

fn rules(origin: &Origin) -> String {
    format!("routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n", origin.address())
}

fn folder(origin: &Origin) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("rules.d")).expect("a fresh folder");
    fs::write(folder.path().join("serin.yaml"), SETTINGS).expect("room");
    fs::write(folder.path().join("rules.d/app.yaml"), rules(origin)).expect("room");
    folder
}

fn start(folder: &Path) -> Result<Server, StartError> {
    let state_dir = Some(folder.join("state"));
    Server::start(StartOptions { config: folder.join("serin.yaml"), state_dir, ..StartOptions::default() })
}

fn answer(server: &Server) -> String {
    get(server.listeners()[0].1, "/").text().to_owned()
}

#[test]
fn a_start_with_broken_or_missing_files_serves_what_was_good() {
    let origin = Origin::named("app");
    let folder = folder(&origin);
    drop(start(folder.path()).expect("it starts"));
    let main = folder.path().join("serin.yaml");
    let breaks: [&dyn Fn(); 4] = [
        &|| fs::write(&main, "routes: [").expect("room"),
        &|| fs::remove_file(&main).expect("it is there"),
        &|| fs::write(&main, "rutes: {}").expect("room"),
        &|| fs::write(folder.path().join("rules.d/app.yaml"), "routes: {").expect("room"),
    ];
    for (number, break_it) in breaks.into_iter().enumerate() {
        break_it();
        let server = start(folder.path()).unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(answer(&server), "app", "{number}");
        assert!(!server.problems().is_empty(), "{number}");
        let shown = admin(server.admin().expect("admin"), "/readyz");
        assert_eq!(shown.status, 200, "{number}");
        let main_is_unreadable = number < 2;
        assert!(shown.text().contains(&format!("\"stale\":{main_is_unreadable}")), "{number}: {}", shown.text());
        drop(server);
        fs::write(&main, SETTINGS).expect("room");
    }
}

#[test]
fn stored_rules_give_way_as_soon_as_the_files_are_right() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let folder = folder(&one);
    drop(start(folder.path()).expect("it starts"));
    let main = folder.path().join("serin.yaml");
    fs::remove_file(&main).expect("it is there");
    let server = start(folder.path()).expect("it starts");
    assert_eq!(answer(&server), "one");
    replace(&folder.path().join("rules.d/app.yaml"), &rules(&two));
    replace(&main, SETTINGS);
    eventually(PATIENCE, "the files", || answer(&server) == "two" && server.problems().is_empty());
}

#[test]
fn without_stored_rules_a_broken_file_is_no_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("serin.yaml"), "routes: [").expect("room");
    assert!(matches!(start(folder.path()), Err(StartError::Rules(problems)) if problems.len() == 1));
}

#[test]
fn a_damaged_generation_falls_back_to_the_one_before() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let folder = folder(&one);
    drop(start(folder.path()).expect("it starts"));
    fs::write(folder.path().join("rules.d/app.yaml"), rules(&two)).expect("room");
    drop(start(folder.path()).expect("it starts"));
    fs::remove_file(folder.path().join("serin.yaml")).expect("it is there");
    fs::remove_file(folder.path().join("rules.d/app.yaml")).expect("it is there");
    fs::write(folder.path().join("state/rules.json"), "{}\n{}").expect("room");
    assert_eq!(answer(&start(folder.path()).expect("it starts")), "one");
}

#[test]
fn a_state_folder_that_takes_nothing_is_no_reason_not_to_serve() {
    let origin = Origin::named("app");
    let folder = folder(&origin);
    // A file in the place of the folder: also who may write everywhere cannot write below it.
    fs::write(folder.path().join("state"), "").expect("room");
    let server = start(folder.path()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(answer(&server), "app");
    replace(&folder.path().join("rules.d/app.yaml"), &rules(&Origin::named("two")));
    assert_eq!(get(server.listeners()[0].1, "/").status / 100, 2);
}

#[test]
fn a_state_folder_that_vanishes_is_made_again() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let folder = folder(&one);
    let server = start(folder.path()).expect("it starts");
    let stored = folder.path().join("state/rules.json");
    eventually(PATIENCE, "stored rules", || stored.exists());
    fs::remove_dir_all(folder.path().join("state")).expect("it is there");
    replace(&folder.path().join("rules.d/app.yaml"), &rules(&two));
    eventually(PATIENCE, "the new rules", || answer(&server) == "two");
    eventually(PATIENCE, "stored rules", || stored.exists());
}
