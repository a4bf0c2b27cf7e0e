use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tempfile::TempDir;

use super::{FileSet, FileWatch};
use crate::control_path::source::{Text, TextKind};

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn files(folder: &Path, patterns: &[&str]) -> FileSet {
    FileSet::new(folder.join("serin.yaml"), &patterns.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// `serin.yaml=text rules.d/a.yaml=text`, names relative to the folder.
fn shown(folder: &Path, texts: &[Text]) -> String {
    let show = |text: &Text| {
        let name = text.name.strip_prefix(folder.to_str().unwrap()).unwrap().trim_start_matches('/').to_owned();
        match &text.content {
            Ok(content) => format!("{name}={content}"),
            Err(reason) => format!("{name}!{reason}"),
        }
    };
    texts.iter().map(show).collect::<Vec<_>>().join(" ")
}

async fn until(watch: &mut FileWatch, folder: &Path, wanted: &str) {
    let mut last = String::new();
    let look = async {
        while last != wanted {
            last = shown(folder, &watch.changed().await);
        }
    };
    if tokio::time::timeout(Duration::from_secs(4), look).await.is_err() {
        panic!("wanted {wanted}\nfound  {last}");
    }
}

#[test]
fn patterns_are_read_in_their_order_and_hidden_files_are_not() {
    let folder = folder(&[
        ("serin.yaml", "m"),
        ("b.d/2.yaml", "b2"),
        ("a.d/1.yaml", "a1"),
        ("a.d/0.yaml", "a0"),
        ("a.d/.swp.yaml", "no"),
        ("a.d/readme", "no"),
    ]);
    let texts = files(folder.path(), &["b.d/*.yaml", "a.d/*.yaml", "b.d/2.yaml"]).read();
    assert_eq!(shown(folder.path(), &texts), "serin.yaml=m b.d/2.yaml=b2 a.d/0.yaml=a0 a.d/1.yaml=a1");
    assert_eq!(texts.iter().map(|text| text.kind == TextKind::Main).collect::<Vec<_>>(), [true, false, false, false]);
}

#[test]
fn what_is_named_and_not_there_is_said() {
    let folder = folder(&[("serin.yaml", "m")]);
    let texts = files(folder.path(), &["rules.d/*.yaml", "more.yaml"]).read();
    let missing = "cannot be read: No such file or directory (os error 2)";
    assert_eq!(shown(folder.path(), &texts), format!("serin.yaml=m rules.d!{missing} more.yaml!{missing}"));
}

#[test]
fn only_regular_files_of_text_are_read() {
    let folder = folder(&[("serin.yaml", "m")]);
    fs::write(folder.path().join("bytes.yaml"), b"a: 1\nb: \xff\n").unwrap();
    let texts = files(folder.path(), &["bytes.yaml", "../"]).read();
    assert_eq!(texts[1].content, Err("is not UTF-8 text: see line 2".into()));
    assert_eq!(texts[2].content, Err("cannot be read: not a regular file".into()));
}

#[test]
fn a_bracket_in_the_folders_name_is_no_wildcard() {
    let outer = folder(&[("a[1]/serin.yaml", "m"), ("a[1]/rules.d/x.yaml", "x")]);
    let folder = outer.path().join("a[1]");
    let texts = files(&folder, &["rules.d/*.yaml"]).read();
    assert_eq!(shown(&folder, &texts), "serin.yaml=m rules.d/x.yaml=x");
}

#[tokio::test]
async fn a_rename_over_and_a_write_in_place_are_noticed() {
    let folder = folder(&[("serin.yaml", "one")]);
    let mut watch = FileWatch::new(files(folder.path(), &[]));
    fs::write(folder.path().join("new"), "two").unwrap();
    fs::rename(folder.path().join("new"), folder.path().join("serin.yaml")).unwrap();
    until(&mut watch, folder.path(), "serin.yaml=two").await;
    fs::write(folder.path().join("serin.yaml"), "six").unwrap();
    until(&mut watch, folder.path(), "serin.yaml=six").await;
}

async fn reread(watch: &mut FileWatch) -> Vec<Text> {
    watch.reread();
    watch.changed().await
}

#[tokio::test]
async fn a_file_open_for_writing_stays_what_it_was_until_it_is_closed() {
    let folder = folder(&[("serin.yaml", "whole"), ("rules.d/a.yaml", "a")]);
    let mut watch = FileWatch::new(files(folder.path(), &["rules.d/*.yaml"]));
    let mut half = fs::File::create(folder.path().join("serin.yaml")).unwrap();
    half.write_all(b"ha").unwrap();
    // The other file is not held up by it.
    fs::write(folder.path().join("rules.d/b.yaml"), "b").unwrap();
    until(&mut watch, folder.path(), "serin.yaml=whole rules.d/a.yaml=a rules.d/b.yaml=b").await;
    for text in [watch.changed().await, reread(&mut watch).await] {
        assert_eq!(shown(folder.path(), &text), "serin.yaml=whole rules.d/a.yaml=a rules.d/b.yaml=b");
    }
    half.write_all(b"lf").unwrap();
    drop(half);
    until(&mut watch, folder.path(), "serin.yaml=half rules.d/a.yaml=a rules.d/b.yaml=b").await;
}

#[tokio::test]
async fn a_new_file_is_not_there_until_it_is_closed() {
    let folder = folder(&[("serin.yaml", "m"), ("rules.d/a.yaml", "a")]);
    let mut watch = FileWatch::new(files(folder.path(), &["rules.d/*.yaml"]));
    let mut half = fs::File::create(folder.path().join("rules.d/b.yaml")).unwrap();
    half.write_all(b"b").unwrap();
    fs::write(folder.path().join("serin.yaml"), "n").unwrap();
    until(&mut watch, folder.path(), "serin.yaml=n rules.d/a.yaml=a").await;
    drop(half);
    until(&mut watch, folder.path(), "serin.yaml=n rules.d/a.yaml=a rules.d/b.yaml=b").await;
}

#[tokio::test]
async fn a_file_that_is_deleted_and_made_again_was_never_gone() {
    let folder = folder(&[("serin.yaml", "m"), ("rules.d/a.yaml", "a")]);
    let mut watch = FileWatch::new(files(folder.path(), &["rules.d/*.yaml"]));
    let path = folder.path().join("rules.d/a.yaml");
    let mut editor = tokio::task::JoinSet::new();
    editor.spawn({
        let path = path.clone();
        async move {
            fs::remove_file(&path).unwrap();
            tokio::time::sleep(Duration::from_millis(15)).await;
            fs::write(&path, "b").unwrap();
        }
    });
    loop {
        let now = shown(folder.path(), &watch.changed().await);
        assert_ne!(now, "serin.yaml=m");
        if now == "serin.yaml=m rules.d/a.yaml=b" {
            break;
        }
    }
    editor.join_next().await.unwrap().unwrap();
    fs::remove_file(&path).unwrap();
    until(&mut watch, folder.path(), "serin.yaml=m").await;
}

#[tokio::test]
async fn the_links_of_a_config_map_are_followed() {
    let folder =
        folder(&[("..1/serin.yaml", "one"), ("..1/a.yaml", "a"), ("..2/serin.yaml", "two"), ("..2/a.yaml", "b")]);
    let at = |name: &str| folder.path().join(name);
    symlink("..1", at("..data")).unwrap();
    symlink("..data/serin.yaml", at("serin.yaml")).unwrap();
    symlink("..data/a.yaml", at("a.yaml")).unwrap();
    let mut watch = FileWatch::new(files(folder.path(), &["a*.yaml"]));
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("..1")).unwrap();
    until(&mut watch, folder.path(), "serin.yaml=two a.yaml=b").await;
}

#[tokio::test]
async fn a_link_far_up_the_path_is_followed() {
    let folder = folder(&[("v1/conf/serin.yaml", "one"), ("v2/conf/serin.yaml", "two")]);
    symlink("v1", folder.path().join("current")).unwrap();
    let inside = folder.path().join("current/conf");
    let mut watch = FileWatch::new(files(&inside, &[]));
    symlink("v2", folder.path().join("next")).unwrap();
    fs::rename(folder.path().join("next"), folder.path().join("current")).unwrap();
    until(&mut watch, &inside, "serin.yaml=two").await;
}

/// A writer that replaces a file all the time must not keep the newest version from being seen.
#[tokio::test]
async fn a_stream_of_renames_is_followed() {
    let folder = folder(&[("serin.yaml", "0")]);
    let mut watch = FileWatch::new(files(folder.path(), &[]));
    let (path, seen_enough) = (folder.path().to_owned(), Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&seen_enough);
    let writer = std::thread::spawn(move || {
        let mut round = 0;
        while !over.load(Relaxed) {
            round += 1;
            fs::write(path.join("new"), round.to_string()).unwrap();
            fs::rename(path.join("new"), path.join("serin.yaml")).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        round
    });
    let mut distinct = std::collections::BTreeSet::new();
    let patience = Duration::from_secs(30);
    let some = async {
        while distinct.len() < 6 {
            distinct.insert(shown(folder.path(), &watch.changed().await));
        }
    };
    let seen = tokio::time::timeout(patience, some).await;
    seen_enough.store(true, Relaxed);
    let last = format!("serin.yaml={}", writer.join().unwrap());
    assert!(seen.is_ok(), "seen: {distinct:?}");
    if !distinct.contains(&last) {
        until(&mut watch, folder.path(), &last).await;
    }
}

#[tokio::test]
async fn unchanged_files_are_not_read_again() {
    let folder = folder(&[("serin.yaml", "m")]);
    let main = folder.path().join("serin.yaml");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(100);
    fs::File::options().write(true).open(&main).unwrap().set_modified(long_ago).unwrap();
    let mut watch = FileWatch::new(files(folder.path(), &[]));
    let first = reread(&mut watch).await;
    let second = reread(&mut watch).await;
    let (Ok(first), Ok(second)) = (&first[0].content, &second[0].content) else { panic!("readable") };
    assert!(std::sync::Arc::ptr_eq(first, second));
}
