//! Notices that files of certificates have changed, as [`FileWatch`] does for files of rules: also when they are switched by
//! a link. Which files these are, the rules say, and so it changes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::control_path::source::Text;
use crate::control_path::source::file::{FileSet, FileWatch};

/// Watches the files of certificates.
pub struct CertificateWatch {
    swaps: watch::Receiver<()>,
    files: Files,
    known: Arc<BTreeSet<PathBuf>>,
    watch: FileWatch,
    told: Vec<Text>,
}

/// Says which files these are now.
type Files = Box<dyn Fn() -> Arc<BTreeSet<PathBuf>> + Send>;

impl CertificateWatch {
    /// Begins to watch, and asks with each swap what there is to watch.
    pub fn new(swaps: watch::Receiver<()>, files: Files) -> Self {
        let known = files();
        let watch = FileWatch::new(FileSet::named(&known));
        Self { swaps, files, known, watch, told: Vec::new() }
    }

    /// Waits until a file says something else, and returns what all say. Giving up the wait loses nothing.
    pub async fn changed(&mut self) -> Vec<Text> {
        loop {
            tokio::select! {
                // When nobody tells any more, the files are those that they are.
                Ok(()) = self.swaps.changed() => self.follow(),
                texts = self.watch.changed() => {
                    if texts != self.told {
                        self.told.clone_from(&texts);
                        return texts;
                    }
                }
            }
        }
    }

    /// All files are to be read again at once.
    pub fn reread(&mut self) {
        self.watch.reread();
    }

    fn follow(&mut self) {
        let files = (self.files)();
        if files != self.known {
            self.watch.turn_to(FileSet::named(&files));
            self.known = files;
        }
    }
}
