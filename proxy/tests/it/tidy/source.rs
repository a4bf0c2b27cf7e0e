//! Source files as tidy sees them: code without comments and texts, and the paths it names.

use std::path::{Path, PathBuf};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").to_owned()
}

/// A Rust file of one crate.
pub(crate) struct SourceFile {
    /// From the workspace's folder.
    pub(crate) name: String,
    /// `serin_proxy::data_path::decide`.
    pub(crate) module: String,
    /// As it is.
    pub(crate) text: String,
    /// The same with comments, texts and unit tests blanked; lines stay where they are.
    pub(crate) code: String,
}

/// One path named in a file.
pub(crate) struct Reference {
    pub(crate) from: String,
    pub(crate) to: String,
    /// `proxy/src/server/mod.rs:12`.
    pub(crate) at: String,
}

impl SourceFile {
    /// All files under `folder` (from the workspace's), which is the root of the crate or crates named.
    pub(crate) fn crate_files(folder: &str) -> Vec<Self> {
        let base = root().join(folder);
        let rust = files(&base).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        rust.map(|path| Self::read(&path, path.strip_prefix(&base).expect("it was found there"))).collect()
    }

    fn read(path: &Path, inside: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let code = without_tests(&blank(&text));
        Self { module: module(&name, inside), name, text, code }
    }

    /// Whether the file is unit tests and nothing else.
    pub(crate) fn is_tests(&self) -> bool {
        self.name.ends_with("/tests.rs") || self.name.contains("/tests/")
    }

    /// Every path of two parts or more, resolved to its crate.
    pub(crate) fn references(&self) -> Vec<Reference> {
        let mut found = Vec::new();
        let mut rest = self.code.as_str();
        while let Some(start) = rest.find(is_word) {
            let offset = self.code.len() - rest.len() + start;
            let is_first = !self.code[..offset].ends_with("::") && !self.code[..offset].ends_with('.');
            let mut paths = Vec::new();
            rest = read_path(&rest[start..], "", &mut paths);
            let line = self.code[..offset].matches('\n').count() + 1;
            let at = format!("{}:{line}", self.name);
            let paths = paths.into_iter().filter(|path| is_first && path.contains("::"));
            found.extend(paths.map(|path| Reference {
                from: self.module.clone(),
                to: self.resolve(&path),
                at: at.clone(),
            }));
        }
        found
    }

    /// `crate::`, `self::` and `super::` as a path from the crate; other paths as they are.
    fn resolve(&self, path: &str) -> String {
        let mut base: Vec<&str> = self.module.split("::").collect();
        let mut parts = path.split("::").peekable();
        match parts.peek() {
            Some(&"crate") => base.truncate(1),
            Some(&("self" | "super")) => {}
            _ => return path.to_owned(),
        }
        for part in parts {
            match part {
                "crate" | "self" => {}
                "super" => drop(base.pop()),
                name => base.push(name),
            }
        }
        base.join("::")
    }
}

/// The files under a folder, in order, without what builds and version control put there.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // In a worktree `.git` is a file, and says where on this machine the rest is.
        if ["target", ".git", "corpus", "artifacts"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn module(name: &str, inside: &Path) -> String {
    let is_program = name == "proxy/src/main.rs" || name.starts_with("proxy/src/cli");
    let first = match name.split('/').next() {
        Some("proxy") if is_program => "serin",
        Some("proxy") => "serin_proxy",
        Some("kubernetes") if name.starts_with("kubernetes/source/") => "kubernetes_source",
        Some("kubernetes") => "kubernetes_stand_in",
        Some(other) => &other.replace('-', "_"),
        None => "",
    };
    let inside = inside.with_extension("").to_string_lossy().replace('/', "::");
    let inside = inside.strip_suffix("mod").map_or(&*inside, |parent| parent.trim_end_matches("::"));
    match inside {
        "" | "lib" => first.to_owned(),
        inside => format!("{first}::{inside}"),
    }
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Reads the path or the tree of paths at the beginning of `text`, and returns what follows.
fn read_path<'t>(text: &'t str, before: &str, found: &mut Vec<String>) -> &'t str {
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|char: char| char.is_whitespace() || char == ',');
            match rest.chars().next() {
                Some(char) if is_word(char) || char == '{' || char == '*' => rest = read_path(rest, before, found),
                Some('}') => return &rest[1..],
                // Not a tree of paths after all.
                _ => return rest,
            }
        }
    }
    let end = if text.starts_with('*') { 1 } else { text.find(|char| !is_word(char)).unwrap_or(text.len()) };
    let (word, mut rest) = text.split_at(end);
    let path = if before.is_empty() { word.to_owned() } else { format!("{before}::{word}") };
    match rest.strip_prefix("::") {
        Some(next) if next.starts_with(|char| is_word(char) || char == '{' || char == '*') => {
            return read_path(next, &path, found);
        }
        _ => {}
    }
    let alias = rest.trim_start().strip_prefix("as ");
    if let Some(alias) = alias.filter(|_| !before.is_empty()) {
        rest = alias.trim_start().trim_start_matches(is_word);
    }
    found.push(path);
    rest
}

/// Puts spaces where comments and texts are.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let is_new_word = !code.ends_with(is_word);
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if is_new_word && let Some(length) = raw_text(rest) {
            length
        } else if char == '"' {
            quoted(rest, '"')
        } else if char == '\'' && is_char(rest) {
            quoted(rest, '\'')
        } else {
            code.push(char);
            rest = &rest[char.len_utf8()..];
            continue;
        };
        code.extend(rest[..length].chars().map(|char| if char == '\n' { '\n' } else { ' ' }));
        rest = &rest[length..];
    }
    code
}

/// The length of `r"…"`, `br#"…"#` at the beginning of a text, if there is one.
fn raw_text(text: &str) -> Option<usize> {
    let after = ["br", "cr", "r"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(text.len() - inside.len() + length)
}

/// The length of a quoted text, the quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            char if char == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether `'` begins a character and not a lifetime.
fn is_char(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    chars.next() == Some('\\') || chars.next() == Some('\'')
}

/// Cuts off unit tests, which stand last in a file.
fn without_tests(code: &str) -> String {
    let begin = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub(crate) mod tests {"];
    begin.iter().find_map(|begin| code.find(begin)).map_or(code, |at| &code[..at]).to_owned()
}

#[test]
fn reads_code() {
    let code = blank("a::b(\"x::y\\\"\", 'c', '\\'', r#\"q::r\"#); // z::z\n/* w::w */ fn f<'a>(x: &'a str) {}");
    assert_eq!(code.split_whitespace().collect::<String>(), "a::b(,,,);fnf<'a>(x:&'astr){}");
    let file = SourceFile {
        name: "proxy/src/a/b.rs".into(),
        module: module("proxy/src/a/b.rs", Path::new("a/b.rs")),
        text: String::new(),
        code: "use crate::{c::D as E, f::{self, G}};\nuse super::h;\nfn f(x: std::fmt::Result) { x.y(); Vec::<u8>::new() }"
            .into(),
    };
    let found: Vec<String> = file
        .references()
        .iter()
        .map(|found| format!("{} {}", found.at.rsplit(':').next().unwrap(), found.to))
        .collect();
    let expected =
        ["1 serin_proxy::c::D", "1 serin_proxy::f", "1 serin_proxy::f::G", "2 serin_proxy::a::h", "3 std::fmt::Result"];
    assert_eq!(found, expected);
}
