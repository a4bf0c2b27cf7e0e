//! Rules from files: the main file and the patterns it names.
//!
//! [`FileSet`] knows which files these are and reads them; [`FileWatch`] notices that they have changed. Neither
//! knows what they say. Only regular files are read: opening a pipe could wait for ever.

mod activity;
mod links;
mod watch;

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use glob::{MatchOptions, Pattern};

use super::{Text, TextKind};

pub use watch::FileWatch;

/// The main file and rule files; or any files at all.
#[derive(Clone, Debug)]
pub struct FileSet {
    main: PathBuf,
    patterns: Vec<String>,
    /// These instead.
    named: Option<BTreeSet<PathBuf>>,
}

/// One file that should be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    path: PathBuf,
    is_main: bool,
}

/// What tells one version of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    /// Device and inode: another file under the same name.
    identity: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a file says, or why it could not be read.
type Content = Result<Arc<str>, String>;

impl FileSet {
    /// The main file, and patterns relative to its folder.
    pub fn new(main: impl Into<PathBuf>, patterns: &[String]) -> Self {
        Self { main: main.into(), patterns: patterns.to_vec(), named: None }
    }

    /// These files, whatever is in them: see [`read_named`].
    pub fn named(files: &BTreeSet<PathBuf>) -> Self {
        Self { named: Some(files.clone()), ..Self::new("", &[]) }
    }

    /// Reads all files, the main one first, the others in the order of the patterns and then by name.
    pub fn read(&self) -> Vec<Text> {
        self.list().iter().map(|file| file.text(self.look_into(&file.path).1)).collect()
    }

    fn look_into(&self, path: &Path) -> (Option<Stamp>, Content) {
        match self.named {
            Some(_) => read(path, MAX_NAMED, armoured),
            None => read(path, MAX_FILE, text),
        }
    }

    fn folder(&self) -> &Path {
        match self.main.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// The files there should be. One that is named without a wildcard belongs to them even if it is missing, and so
    /// does a missing folder of a pattern: what is not there cannot be read, which is not the same as saying nothing.
    fn list(&self) -> Vec<Listed> {
        if let Some(named) = &self.named {
            return named.iter().map(|path| Listed { path: path.clone(), is_main: false }).collect();
        }
        let mut files = vec![Listed { path: self.main.clone(), is_main: true }];
        let mut known = BTreeSet::from([self.main.clone()]);
        let found = self.patterns.iter().flat_map(|pattern| self.matches(pattern));
        files.extend(found.filter(|path| known.insert(path.clone())).map(|path| Listed { path, is_main: false }));
        files
    }

    fn matches(&self, pattern: &str) -> Vec<PathBuf> {
        if !has_wildcard(pattern) {
            return vec![self.folder().join(pattern)];
        }
        let fixed = self.fixed_folder(pattern);
        if !fixed.is_dir() {
            return vec![fixed];
        }
        // Hidden files are editors' leftovers, hidden folders are where Kubernetes keeps what its links lead to.
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
        let found = glob::glob_with(&self.absolute_pattern(pattern), options).into_iter().flatten();
        let path = |result: glob::GlobResult| match result {
            Ok(path) => path.is_file().then_some(path),
            Err(error) => Some(error.path().to_owned()),
        };
        found.filter_map(path).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The pattern as [`glob`] wants it; a bracket in the name of the main file's folder is only a bracket.
    fn absolute_pattern(&self, pattern: &str) -> String {
        if Path::new(pattern).is_absolute() {
            return pattern.to_owned();
        }
        let folder = Pattern::escape(&self.folder().to_string_lossy());
        format!("{}/{pattern}", folder.trim_end_matches('/'))
    }

    /// The folder below which a pattern may match.
    fn fixed_folder(&self, pattern: &str) -> PathBuf {
        let named =
            Path::new(pattern).components().take_while(|part| !has_wildcard(&part.as_os_str().to_string_lossy()));
        self.folder().join(named.collect::<PathBuf>())
    }

    /// Folders in which something may move: those of the files and patterns, and those of all links on the way.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let mut folders = BTreeSet::new();
        for pattern in self.patterns.iter().filter(|pattern| has_wildcard(pattern)) {
            let fixed = self.fixed_folder(pattern);
            folders.extend(fixed.ancestors().find(|folder| folder.is_dir()).map(Path::to_owned));
        }
        for file in self.list() {
            links::folders_on_the_way(&file.path, &mut folders);
        }
        folders.retain(|folder| folder.is_dir());
        folders
    }
}

impl Listed {
    fn text(&self, content: Content) -> Text {
        let kind = if self.is_main { TextKind::Main } else { TextKind::Rules };
        Text { name: self.path.to_string_lossy().as_ref().into(), content, kind }
    }
}

impl Stamp {
    fn new(metadata: &Metadata) -> Self {
        Self {
            identity: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::new(&metadata))
    }
}

/// The stamp is taken before the first byte, so that what is written meanwhile shows as another stamp later.
fn read(path: &Path, most: u64, content: fn(Vec<u8>) -> Content) -> (Option<Stamp>, Content) {
    match try_read(path, most, content) {
        Ok((stamp, content)) => (Some(stamp), content),
        Err(error) => (None, Err(format!("cannot be read: {error}"))),
    }
}

fn try_read(path: &Path, most: u64, content: fn(Vec<u8>) -> Content) -> io::Result<(Stamp, Content)> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = File::open(path)?;
    let stamp = Stamp::new(&file.metadata()?);
    let mut bytes = Vec::with_capacity(usize::try_from(stamp.size.min(most)).unwrap_or_default() + 1);
    let size = file.take(most + 1).read_to_end(&mut bytes)?;
    if size as u64 > most {
        return Ok((stamp, Err(format!("is larger than {} MiB", most >> 20))));
    }
    Ok((stamp, content(bytes)))
}

fn text(bytes: Vec<u8>) -> Content {
    String::from_utf8(bytes).map(Arc::from).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("is not UTF-8 text: see line {line}")
    })
}

/// What a file holds that need not be text: if it is none, in base64 behind a mark.
pub fn read_named(path: &Path) -> Result<Arc<str>, String> {
    read(path, MAX_NAMED, armoured).1
}

fn armoured(bytes: Vec<u8>) -> Content {
    let armour = |error: FromUtf8Error| format!("{BINARY}{}", STANDARD.encode(error.as_bytes()));
    Ok(String::from_utf8(bytes).unwrap_or_else(armour).into())
}

/// The bytes of such a file.
pub fn bytes_of(content: &str) -> Vec<u8> {
    let decoded = content.strip_prefix(BINARY).and_then(|base64| STANDARD.decode(base64).ok());
    decoded.unwrap_or_else(|| content.as_bytes().to_vec())
}

const BINARY: &str = "(binary) ";

fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// Largest rule file in bytes.
const MAX_FILE: u64 = 64 << 20;

/// Largest other file in bytes: far more than a certificate needs.
const MAX_NAMED: u64 = 1 << 20;

#[cfg(test)]
mod tests;
