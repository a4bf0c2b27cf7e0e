//! Revisions that are compacted when it hurts.

use super::fault;
use super::stage::{Setting, Stage};
use crate::support::etcd::Etcd;
use crate::support::link::Weather;
use crate::support::{PATIENCE, eventually};

const LINKED: fn() -> Setting = || Setting { is_linked: true, ..Setting::default() };

#[test]
fn what_was_not_heard_is_compacted() {
    fault("compaction, unheard", "compacted while the way is cut, five times", LINKED(), |stage| {
        for _ in 0..5 {
            stage.links[0].set(Weather::Silent);
            stage.change();
            compact(stage);
            stage.links[0].set(Weather::Fair);
            // The old connection must not bring it after all.
            stage.links[0].reset();
            stage.is_over();
            stage.is_right();
        }
    });
}

/// Some pages have been read, the rest is gone with its revision.
#[test]
fn revisions_are_compacted_during_a_listing() {
    let many = |etcd: &Etcd| {
        for hundred in 0..35 {
            let keys: Vec<String> = (0..100).map(|key| format!("/serin/history/push/{hundred}-{key}")).collect();
            let value = "x".repeat(100);
            etcd.write(&keys.iter().map(|key| (key.as_str(), Some(&*value))).collect::<Vec<_>>());
        }
    };
    let setting = Setting { more: many, ..LINKED() };
    fault("compaction, listing", "compacted between two pages of a listing, three times", setting, |stage| {
        for _ in 0..3 {
            stage.links[0].set(Weather::Silent);
            stage.change();
            compact(stage);
            // The listing is about 700 KB in four pages.
            let held = stage.links[0].held();
            stage.links[0].set(Weather::Choked(250 << 10));
            stage.links[0].reset();
            eventually(PATIENCE, "some pages are read", || stage.links[0].held() > held);
            stage.change();
            compact(stage);
            stage.links[0].set(Weather::Fair);
            stage.is_over();
            stage.is_right();
        }
    });
}

#[test]
fn revisions_are_compacted_while_nobody_listens() {
    fault("compaction, off", "compacted while Serin is off, which has a state folder", Setting::default(), |stage| {
        stage.restart(|stage| {
            stage.change();
            compact(stage);
            stage.change();
        });
        stage.is_over();
        stage.is_right();
        stage.change();
    });
}

/// All but the newest revision, which is not of a key that is followed.
fn compact(stage: &Stage) {
    stage.etcd.put("ready", "");
    stage.etcd.compact();
}
