//! Which folders a path leads through, links included.
//!
//! A file can be switched at any link of its path: `/srv/current/serin.yaml` by pointing `current` elsewhere, a file of
//! a ConfigMap by pointing `..data` elsewhere. Whoever wants to notice must watch the folders that hold these links.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Adds the folder of `path` and of every link that leads there.
pub(super) fn folders_on_the_way(path: &Path, folders: &mut BTreeSet<PathBuf>) {
    let Ok(absolute) = std::path::absolute(path) else { return };
    let mut left: VecDeque<OsString> = parts(&absolute);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&part);
        if left.is_empty() {
            folders.insert(here.clone());
        }
        match std::fs::read_link(&next) {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                folders.insert(here.clone());
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                let mut target = parts(&target);
                target.append(&mut left);
                left = target;
            }
            _ => here = next,
        }
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(named).collect()
}

/// As many as Linux follows; links in a circle end here.
const MOST_LINKS: usize = 40;
