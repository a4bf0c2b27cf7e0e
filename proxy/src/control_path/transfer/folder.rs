//! The files of a folder, read for a push and written by a pull.

use std::fmt::Write;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use routing_rules::rules::Kind;

use crate::control_path::catalog::Catalog;
use crate::control_path::etcd::Keys;
use crate::control_path::source::etcd::texts_of;
use crate::control_path::source::file::FileSet;
use crate::control_path::source::{Text, TextKind, Texts};

/// What a pull wrote.
#[derive(Debug, Default)]
pub struct Pulled {
    /// Files, and how many objects are in each.
    pub files: Vec<(PathBuf, usize)>,
    /// Keys that could not be put into a file, and why.
    pub left_out: Vec<(String, String)>,
}

/// The rule files of a folder, by name: `*.yaml`, `*.yml` and `*.json`.
///
/// # Errors
/// There is no such folder, or no such file in it.
pub fn read(folder: &Path) -> io::Result<Vec<Text>> {
    let is_rules =
        |path: &PathBuf| path.extension().is_some_and(|kind| ["yaml", "yml", "json"].iter().any(|own| kind == *own));
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.retain(is_rules);
    paths.sort();
    if paths.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there are no files *.yaml, *.yml or *.json"));
    }
    // Whoever reads files for the proxy reads them here, too: sizes, pipes and all.
    let read =
        |path: PathBuf| FileSet::new(path, &[]).read().into_iter().map(|text| Text { kind: TextKind::Rules, ..text });
    Ok(paths.into_iter().flat_map(read).collect())
}

/// Writes what keys say into files of a folder, one for each kind, in the words they were written in.
///
/// # Errors
/// A file is there already, unless `force`; or it cannot be written.
pub fn pull(folder: &Path, keys: &Keys, prefix: &str, force: bool) -> io::Result<Pulled> {
    let texts = texts_of(prefix, keys);
    let mut pulled = Pulled::default();
    let mut files = Vec::new();
    for kind in Kind::ALL {
        let (content, count) = file(&texts, kind, &mut pulled.left_out);
        let path = folder.join(format!("{}.yaml", kind.map_name()));
        if count > 0 && !force && path.exists() {
            let reason = format!("{} is there already; --force replaces it", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        files.push((path, kind, content, count));
    }
    fs::create_dir_all(folder)?;
    for (path, kind, content, count) in files.into_iter().filter(|(.., count)| *count > 0) {
        match kind {
            Kind::Certificate | Kind::AcmeAccount => write_privately(&path, &content)?,
            // Some show endpoints a certificate of their own.
            _ if content.contains("PRIVATE KEY") => write_privately(&path, &content)?,
            _ => fs::write(&path, content)?,
        }
        pulled.files.push((path, count));
    }
    Ok(pulled)
}

/// Writes what nobody else is to read: there are keys in it.
fn write_privately(path: &Path, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    // One that was there already has the mode that it had.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(content.as_bytes())
}

/// What a file of all objects of a kind says, and how many there are.
fn file(texts: &Texts, kind: Kind, left_out: &mut Vec<(String, String)>) -> (String, usize) {
    let (mut content, mut count) = (format!("{}:\n", kind.map_name()), 0);
    for text in texts.iter() {
        let TextKind::Object { kind: own, name, .. } = &text.kind else { continue };
        if *own != kind {
            continue;
        }
        match entry(text, kind, name) {
            Ok(entry) => {
                content += &entry;
                count += 1;
            }
            Err(reason) => left_out.push((text.name.to_string(), reason)),
        }
    }
    (content, count)
}

/// An object as an entry of its map: as it was written, if that means the same there; else as JSON.
fn entry(text: &Text, kind: Kind, name: &str) -> Result<String, String> {
    let content = text.content.as_ref().map_err(Clone::clone)?;
    let quoted = serde_json::to_string(name).map_err(|error| error.to_string())?;
    let mut written = format!("  {quoted}:\n");
    content.lines().for_each(|line| {
        // A `String` takes all that is written to it.
        let _ = writeln!(written, "    {line}");
    });
    let of = |text: &Text| {
        let mut catalog = Catalog::default();
        catalog.update_texts(&vec![text.clone()].into(), None);
        catalog.readable().next()
    };
    let Some(object) = of(text) else { return Err("it is wrong as it stands there".to_owned()) };
    let in_file =
        Text { content: Ok(format!("{}:\n{written}", kind.map_name()).into()), kind: TextKind::Rules, ..text.clone() };
    match of(&in_file).is_some_and(|same| same.key() == object.key() && same.says_the_same(&object)) {
        true => Ok(written),
        false => Ok(format!("  {quoted}: {}\n", object.json())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_for_nobody_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("certificates.yaml");
        let mode = || fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
        write_privately(&path, "first").expect("room");
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is ours");
        write_privately(&path, "2").expect("room");
        assert_eq!((mode(), fs::read_to_string(&path).expect("text")), (0o600, "2".to_owned()));
    }
}
