//! Notices that files have changed.
//!
//! Files change in many ways: written in place, renamed over, deleted and made again, or switched by a link as
//! Kubernetes does with ConfigMaps. What is believed is what two looks shortly after another agree on, so a file
//! caught in the middle of its change is still what it was before. A file that is open for writing stays what it was
//! until its writer closes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::time::Instant;

use super::activity::Activity;
use super::{Content, FileSet, Listed, Stamp};
use crate::control_path::source::Text;
use crate::moment;

/// Watches a set of files.
pub struct FileWatch {
    files: FileSet,
    activity: Arc<Activity>,
    folders: Arc<Mutex<Folders>>,
    /// What is believed.
    seen: Sightings,
    /// When to look without having been told to: something was in motion at the last look.
    again_at: Option<Instant>,
    /// Somebody has asked for a look.
    reread: bool,
    /// Since when looks have not agreed.
    unsettled_since: Option<Instant>,
}

/// The folders that are watched. Locked only while somebody looks.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

type Sightings = BTreeMap<PathBuf, Sighting>;

/// A file as it was at one moment.
#[derive(Clone, Debug)]
struct Sighting {
    is_main: bool,
    stamp: Option<Stamp>,
    content: Content,
    /// Whether an equal stamp means equal content. Clocks of file systems tick every few milliseconds, so two
    /// versions of a file that is younger than that may have the same stamp.
    stamp_is_proof: bool,
}

/// What a look at all files found.
struct Look {
    /// In the order of precedence.
    listed: Vec<Listed>,
    sightings: Sightings,
}

impl FileWatch {
    /// Begins to watch. Where the operating system cannot notify, files are looked at every few seconds instead.
    pub fn new(files: FileSet) -> Self {
        let activity = Arc::new(Activity::default());
        let heard = Arc::clone(&activity);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event {
                heard.note(&event);
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "cannot watch files; looking at them every {} seconds", LOOK_ANYWAY.as_secs());
        }
        let mut folders = Folders { watcher: watcher.ok(), watched: BTreeSet::new() };
        folders.follow(&files);
        let seen = look(&files, &Sightings::new()).sightings;
        let folders = Arc::new(Mutex::new(folders));
        Self { files, activity, folders, seen, again_at: None, reread: false, unsettled_since: None }
    }

    /// Waits until something may have changed, or for some seconds, and returns what all files say.
    ///
    /// Giving up the wait loses nothing: the next one finds what this one would have found.
    pub async fn changed(&mut self) -> Vec<Text> {
        let look_anyway = Instant::now() + LOOK_ANYWAY;
        let at = self.again_at.map_or(look_anyway, |again| again.min(look_anyway));
        let told = self.reread || tokio::time::timeout_at(at, self.activity.settled()).await.is_ok();
        let texts = self.look(told).await;
        self.reread = false;
        texts
    }

    /// All files are to be read again at once, whether or not they seem to have changed: [`FileWatch::changed`] does it.
    pub fn reread(&mut self) {
        self.seen.values_mut().for_each(|sighting| sighting.stamp_is_proof = false);
        self.reread = true;
    }

    /// Watches other files from now on, and looks at them soon.
    pub fn turn_to(&mut self, files: FileSet) {
        self.files = files;
        self.reread = true;
    }

    async fn look(&mut self, told: bool) -> Vec<Text> {
        self.again_at = Some(Instant::now());
        let told = self.activity.acted_on() || told || self.unsettled_since.is_some();
        self.follow().await;
        let first = self.look_in_background(self.seen.clone()).await;
        let second = match self.pause_after(&first, told) {
            None => None,
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Some(self.look_in_background(first.sightings.clone()).await)
            }
        };
        let (listed, in_motion) = match second {
            None => (self.believe(first), false),
            Some(second) => self.agree(&first, second),
        };
        self.unsettled_since = in_motion.then(|| self.unsettled_since.unwrap_or_else(Instant::now));
        // A folder that has just become interesting may have changed before it was watched.
        let again = in_motion || self.follow().await;
        self.again_at = again.then(|| Instant::now() + AGAIN);
        listed.iter().filter_map(|file| Some(file.text(self.seen.get(&file.path)?.content.clone()))).collect()
    }

    /// Finding and watching folders asks the disk too.
    async fn follow(&self) -> bool {
        let (files, folders) = (self.files.clone(), Arc::clone(&self.folders));
        let follow = move || folders.lock().unwrap_or_else(PoisonError::into_inner).follow(&files);
        tokio::task::spawn_blocking(follow).await.unwrap_or(false)
    }

    /// Disks can be slow and files large, so the reading is done elsewhere.
    async fn look_in_background(&self, known: Sightings) -> Look {
        let files = self.files.clone();
        let found = tokio::task::spawn_blocking(move || look(&files, &known)).await;
        // The task cannot be cancelled and has nothing to panic about; if it did, nothing would have changed.
        found.unwrap_or_else(|_| Look { listed: self.listed_before(), sightings: self.seen.clone() })
    }

    fn listed_before(&self) -> Vec<Listed> {
        let listed = |(path, sighting): (&PathBuf, &Sighting)| Listed { path: path.clone(), is_main: sighting.is_main };
        self.seen.iter().map(listed).collect()
    }

    /// How long to wait before a second look; nothing if the first one found everything as it was.
    fn pause_after(&self, first: &Look, told: bool) -> Option<Duration> {
        let before = |path: &Path| self.seen.get(path);
        let is_gone = |path: &PathBuf, before: &Sighting| {
            before.content.is_ok() && first.sightings.get(path).is_none_or(|now| now.content.is_err())
        };
        if self.seen.iter().any(|(path, sighting)| is_gone(path, sighting)) {
            return Some(GONE);
        }
        let is_new =
            |(path, now): (&PathBuf, &Sighting)| before(path).is_none_or(|before| before.content != now.content);
        let changed = first.sightings.iter().any(is_new) || first.sightings.len() != self.seen.len();
        changed.then_some(if told { CONFIRM } else { CONFIRM_UNTOLD })
    }

    fn believe(&mut self, look: Look) -> Vec<Listed> {
        self.seen = look.sightings;
        look.listed
    }

    /// Believes what two looks agree on; whatever they do not agree on stays as it was. Returns the files in the order
    /// of precedence, and whether any is in motion.
    fn agree(&mut self, first: &Look, second: Look) -> (Vec<Listed>, bool) {
        let patience = self.unsettled_since.is_none_or(|since| since.elapsed() < PATIENCE);
        let mut in_motion = false;
        let mut seen = Sightings::new();
        let Look { mut listed, mut sightings } = second;
        for (path, before) in &self.seen {
            let came_and_went = first.sightings.contains_key(path) && !sightings.contains_key(path);
            if came_and_went {
                in_motion = true;
                listed.push(Listed { path: path.clone(), is_main: before.is_main });
                seen.insert(path.clone(), before.clone());
            }
        }
        for (path, now) in std::mem::take(&mut sightings) {
            let whole = match first.sightings.get(&path) {
                _ if self.activity.is_being_written(&path) => None,
                Some(earlier) if earlier.is_same(&now) => Some(now),
                // Renamed over between the looks: what was there first was whole, and what is there now is next.
                Some(earlier) if earlier.content.is_ok() && !earlier.is_same_file(&now) => {
                    in_motion = true;
                    Some(earlier.clone())
                }
                _ if patience => {
                    in_motion = true;
                    None
                }
                _ => Some(now),
            };
            let believed = whole.or_else(|| self.seen.get(&path).cloned());
            seen.extend(believed.map(|sighting| (path, sighting)));
        }
        self.seen = seen;
        (listed, in_motion)
    }
}

impl Folders {
    /// Watches the folders that matter now. Returns whether there are new ones.
    fn follow(&mut self, files: &FileSet) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let folders = files.folders();
        for gone in self.watched.difference(&folders) {
            let _ = watcher.unwatch(gone);
        }
        // A folder that was removed and made again has lost its watch: watching twice is harmless.
        for folder in &folders {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!(folder = %folder.display(), %error, "cannot watch");
            }
        }
        let is_new = !folders.is_subset(&self.watched);
        self.watched = folders;
        is_new
    }
}

impl Sighting {
    fn is_same(&self, other: &Self) -> bool {
        self.stamp == other.stamp && self.content == other.content
    }

    fn is_same_file(&self, other: &Self) -> bool {
        self.stamp.map(|stamp| stamp.identity) == other.stamp.map(|stamp| stamp.identity)
    }
}

fn look(files: &FileSet, known: &Sightings) -> Look {
    let listed = files.list();
    let sighting = |file: &Listed| (file.path.clone(), look_at(files, file, known.get(&file.path)));
    let sightings = listed.iter().map(sighting).collect();
    Look { listed, sightings }
}

fn look_at(files: &FileSet, file: &Listed, known: Option<&Sighting>) -> Sighting {
    if let Some(known) = known.filter(|known| known.stamp_is_proof && known.stamp == Stamp::of(&file.path)) {
        return known.clone();
    }
    let (stamp, content) = files.look_into(&file.path);
    // The very text of before, if it is equal: comparing it with itself later costs nothing.
    let content = match known {
        Some(known) if known.content == content => known.content.clone(),
        _ => content,
    };
    Sighting { is_main: file.is_main, stamp, content, stamp_is_proof: stamp.is_some_and(is_old) }
}

fn is_old(stamp: Stamp) -> bool {
    let now = moment::unix_ms() / 1_000;
    let newest = stamp.modified.0.max(stamp.changed.0);
    i64::try_from(now).is_ok_and(|now| now - newest >= 2)
}

/// How often files are looked at without any event, for file systems that send none.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);

/// Time between two looks that must agree: long enough for the news that somebody has begun to write.
const CONFIRM: Duration = Duration::from_millis(5);

/// The same where no news come.
const CONFIRM_UNTOLD: Duration = Duration::from_millis(300);

/// A file is gone when it has been gone for this long: editors and copying tools delete before they write.
const GONE: Duration = Duration::from_millis(40);

/// The next look after one that found something in motion.
const AGAIN: Duration = Duration::from_millis(20);

/// After this time, what does not stop to change is read as it is.
const PATIENCE: Duration = Duration::from_secs(1);
