//! Notices that files of certificates have changed, as [`FileWatch`] does for files of rules: also when they are switched by
//! a link. Which files these are, the rules say, and so it changes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::control_path::source::Text;
use crate::control_path::source::file::{FileSet, FileWatch};

/// Watches the files of certificates.
pub struct CertificateWatch {
    swaps: watch::Receiver<()>,
    files: Files,
    known: Arc<BTreeSet<PathBuf>>,
    watch: FileWatch,
    told: Vec<Text>,
    told_at: Instant,
}

/// Says which files these are now.
type Files = Box<dyn Fn() -> Arc<BTreeSet<PathBuf>> + Send>;

impl CertificateWatch {
    /// Begins to watch, and asks with each swap what there is to watch.
    pub fn new(swaps: watch::Receiver<()>, files: Files) -> Self {
        let known = files();
        let watch = FileWatch::new(FileSet::named(&known));
        Self { swaps, files, known, watch, told: Vec::new(), told_at: Instant::now() }
    }

    /// Waits until a file says something else, and returns what all say. It also does so now and then when all is as it was:
    /// certificates come near their end while nobody touches them. Giving up the wait loses nothing.
    pub async fn changed(&mut self) -> Vec<Text> {
        loop {
            let Some(texts) = self.looked().await else {
                self.watch.turn_to(FileSet::named(&self.known));
                continue;
            };
            if texts != self.told || self.told_at.elapsed() >= TELL_ANYWAY {
                self.told.clone_from(&texts);
                self.told_at = Instant::now();
                return texts;
            }
        }
    }

    /// What the files say after a look; nothing once they are others. Looks take longer than it takes until the next swap when
    /// there are many of these, so one that has begun is not given up for a swap that leaves the files as they are.
    async fn looked(&mut self) -> Option<Vec<Text>> {
        let Self { swaps, files, known, watch, .. } = self;
        let mut look = pin!(watch.changed());
        loop {
            tokio::select! {
                texts = &mut look => return Some(texts),
                // When nobody tells any more, the files are those that they are.
                Ok(()) = swaps.changed() => {
                    let now = files();
                    if now != *known {
                        *known = now;
                        return None;
                    }
                }
            }
        }
    }

    /// All files are to be read again at once.
    pub fn reread(&mut self) {
        self.watch.reread();
    }
}

/// How often somebody looks at the same texts again. Certificates have days to be renewed when they are first warned of.
const TELL_ANYWAY: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[tokio::test]
    async fn a_stream_of_swaps_does_not_keep_files_from_being_looked_at() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.crt");
        std::fs::write(&path, "one").expect("room");
        let (swap, swaps) = watch::channel(());
        let files = Arc::new(BTreeSet::from([path.clone()]));
        let mut certificates = CertificateWatch::new(swaps, Box::new(move || Arc::clone(&files)));
        let is_over = Arc::new(AtomicBool::new(false));
        let swapping = std::thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                while !is_over.load(Relaxed) {
                    swap.send_replace(());
                    std::thread::yield_now();
                }
            }
        });
        for text in ["one", "two", "three"] {
            std::fs::write(&path, text).expect("room");
            let seen = async { while certificates.changed().await[0].content.as_deref() != Ok(text) {} };
            assert!(tokio::time::timeout(Duration::from_secs(20), seen).await.is_ok(), "{text}");
        }
        is_over.store(true, Relaxed);
        swapping.join().expect("it has nothing to panic about");
    }

    #[tokio::test]
    async fn what_is_known_is_told_again_now_and_then() {
        let (_swap, swaps) = watch::channel(());
        let mut certificates = CertificateWatch::new(swaps, Box::new(Arc::default));
        certificates.told_at = Instant::now().checked_sub(TELL_ANYWAY).expect("the clock began earlier");
        let told = tokio::time::timeout(Duration::from_secs(60), certificates.changed());
        assert_eq!(told.await.expect("it is told"), []);
        assert!(certificates.told_at.elapsed() < TELL_ANYWAY);
    }
}
