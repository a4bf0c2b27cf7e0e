//! Reads doc comments out of Rust source, line by line. Enough for types as rustfmt writes them; no parser.

/// A public type.
pub(super) struct Type {
    pub(super) name: String,
    pub(super) docs: String,
    pub(super) attributes: String,
    pub(super) is_enum: bool,
    /// Public fields, or variants. None for a tuple struct.
    pub(super) members: Vec<Member>,
}

/// A field or a variant.
pub(super) struct Member {
    pub(super) name: String,
    /// The type of a field, or what a variant holds; empty if it holds nothing.
    pub(super) holds: String,
    pub(super) docs: String,
    pub(super) attributes: String,
}

/// All public types of a source file, in order.
pub(super) fn scan(source: &str) -> Vec<Type> {
    let mut types = Vec::new();
    let mut open: Option<Type> = None;
    let (mut docs, mut attributes) = (Vec::new(), String::new());
    for line in source.lines() {
        let trimmed = line.trim();
        if let Some(doc) = trimmed.strip_prefix("///") {
            docs.push(doc.trim());
            continue;
        }
        if trimmed.starts_with("#[") {
            attributes.push_str(trimmed);
            continue;
        }
        let (docs, attributes) = (join(&std::mem::take(&mut docs)), std::mem::take(&mut attributes));
        match &mut open {
            Some(_) if line == "}" => types.extend(open.take()),
            Some(found) => found.members.extend(member(trimmed, found.is_enum, docs, attributes)),
            None => {
                let Some((name, is_enum)) = head(line) else { continue };
                let found = Type { name, docs, attributes, is_enum, members: Vec::new() };
                match line.ends_with('{') {
                    true => open = Some(found),
                    false => types.push(found),
                }
            }
        }
    }
    types
}

fn head(line: &str) -> Option<(String, bool)> {
    let rest = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) "))?;
    let (rest, is_enum) = match rest.strip_prefix("struct ") {
        Some(rest) => (rest, false),
        None => (rest.strip_prefix("enum ")?, true),
    };
    Some((rest.split(|letter: char| !letter.is_alphanumeric()).next()?.to_owned(), is_enum))
}

fn member(line: &str, of_enum: bool, docs: String, attributes: String) -> Option<Member> {
    let line = line.trim_end_matches(',');
    let (name, holds) = match of_enum {
        true => match line.split_once('(') {
            Some((name, holds)) => (name, holds.trim_end_matches(')')),
            None => (line, ""),
        },
        false => line.strip_prefix("pub ")?.split_once(": ")?,
    };
    Some(Member { name: name.to_owned(), holds: holds.to_owned(), docs, attributes })
}

/// Lines of one paragraph belong together; an empty line ends it.
fn join(lines: &[&str]) -> String {
    let paragraphs = lines.split(|line| line.is_empty()).map(|lines| lines.join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
