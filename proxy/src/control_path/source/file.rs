//! Rules from files: the main file and the patterns it names.
//!
//! Files change in many ways: written in place, renamed over, or switched by a symlink as Kubernetes does with
//! ConfigMaps. The folders are watched, links followed, and everything is read again when something moved; what the
//! bytes say decides whether anything changed. A file that is being written is left alone until its writer closes it.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Text;

/// The main file and rule files.
#[derive(Clone, Debug)]
pub struct FileSet {
    main: PathBuf,
    patterns: Vec<String>,
}

impl FileSet {
    /// The main file, and patterns relative to its folder.
    pub fn new(main: impl Into<PathBuf>, patterns: &[String]) -> Self {
        Self { main: main.into(), patterns: patterns.to_vec() }
    }

    /// Reads all files, the main one first and the others by name.
    pub fn read(&self) -> Vec<Text> {
        let mut documents = vec![read(&self.main, true)];
        documents.extend(self.rule_files().iter().map(|path| read(path, false)));
        documents
    }

    fn folder(&self) -> &Path {
        match self.main.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    fn rule_files(&self) -> BTreeSet<PathBuf> {
        let pattern = |pattern: &String| self.folder().join(pattern).to_string_lossy().into_owned();
        let found = self.patterns.iter().flat_map(|text| glob::glob(&pattern(text)).into_iter().flatten());
        let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        found.flatten().filter(|path| path.is_file() && !is_hidden(path)).collect()
    }

    /// Folders in which something may move: those of the files, and of what links in their paths lead to.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let mut folders = BTreeSet::from([self.folder().to_owned()]);
        for pattern in &self.patterns {
            let path = self.folder().join(pattern);
            let fixed = path.ancestors().find(|part| !part.to_string_lossy().contains(['*', '?', '[']));
            folders.extend(fixed.filter(|part| part.is_dir()).map(Path::to_owned));
        }
        for file in self.rule_files().iter().chain([&self.main]) {
            folders.extend(file.parent().filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_owned));
            let target = file.canonicalize().ok();
            folders.extend(target.and_then(|target| target.parent().map(Path::to_owned)));
        }
        folders
    }
}

fn read(path: &Path, is_main: bool) -> Text {
    let name: Arc<str> = path.to_string_lossy().as_ref().into();
    Text { name, content: read_text(path), is_main }
}

fn read_text(path: &Path) -> Result<Arc<str>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    let size = file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    match size as u64 > MAX_FILE {
        true => Err(format!("is larger than {} MiB", MAX_FILE >> 20)),
        false => Ok(text.into()),
    }
}

/// Watches a set of files.
pub struct FileWatch {
    files: FileSet,
    events: mpsc::UnboundedReceiver<notify::Event>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl FileWatch {
    /// Begins to watch. Where the operating system cannot notify, files are looked at every few seconds instead.
    pub fn new(files: FileSet) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading our own files is an event too, and must not lead to reading them again.
            if let Ok(event) = event
                && !matches!(
                    event.kind,
                    EventKind::Access(AccessKind::Open(_) | AccessKind::Read | AccessKind::Close(AccessMode::Read))
                )
            {
                let _ = sender.send(event);
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "cannot watch files; looking at them every {} seconds", LOOK_ANYWAY.as_secs());
        }
        let mut watch = Self { files, events, watcher: watcher.ok(), watched: BTreeSet::new() };
        watch.follow();
        watch
    }

    /// Waits until something may have changed and nobody is in the middle of writing, then reads everything.
    pub async fn changed(&mut self) -> Vec<Text> {
        let first = tokio::time::timeout(LOOK_ANYWAY, self.events.recv()).await;
        if let Ok(Some(event)) = first {
            self.settle(event).await;
        }
        self.follow();
        self.files.read()
    }

    /// Collects the events that belong together. Ends shortly after the last one, or at the latest some time after
    /// the first, so that a stream of changes is not a reason never to act.
    async fn settle(&mut self, first: notify::Event) {
        let mut being_written = BTreeSet::new();
        note(&first, &mut being_written);
        let began = Instant::now();
        loop {
            let quiet = Instant::now() + QUIET;
            let latest = began + if being_written.is_empty() { LATEST } else { LATEST_UNFINISHED };
            let deadline = if being_written.is_empty() { quiet.min(latest) } else { latest };
            match timeout_at(deadline, self.events.recv()).await {
                Ok(Some(event)) => note(&event, &mut being_written),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let folders = self.files.folders();
        for gone in self.watched.difference(&folders) {
            let _ = watcher.unwatch(gone);
        }
        // A folder that was removed and made again has lost its watch: watching twice is harmless.
        for folder in &folders {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!(folder = %folder.display(), %error, "cannot watch");
            }
        }
        self.watched = folders;
    }
}

fn note(event: &notify::Event, being_written: &mut BTreeSet<PathBuf>) {
    match event.kind {
        EventKind::Modify(notify::event::ModifyKind::Data(_)) => being_written.extend(event.paths.iter().cloned()),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => {
            for path in &event.paths {
                being_written.remove(path);
            }
        }
        EventKind::Modify(notify::event::ModifyKind::Name(_)) => {
            for path in &event.paths {
                being_written.remove(path);
            }
        }
        _ => {}
    }
}

/// Largest rule file in bytes.
const MAX_FILE: u64 = 64 << 20;

/// After this time without an event, a burst of changes is over.
const QUIET: Duration = Duration::from_millis(5);

/// A burst is acted on this long after it began, even if it goes on.
const LATEST: Duration = Duration::from_millis(25);

/// The same while a file is open for writing: it may hold half of its rules.
const LATEST_UNFINISHED: Duration = Duration::from_secs(1);

/// How often files are read without any event, for file systems that send none.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
