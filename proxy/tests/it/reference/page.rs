//! A reference page: Markdown from types.

use std::fmt::Write;

use super::scan::Member;
use super::{Type, read, workspace};

/// A page under construction.
pub(super) struct Page {
    types: Vec<Type>,
    text: String,
    /// Types that have their section, or are about to get it.
    seen: Vec<String>,
}

impl Page {
    pub(super) fn new(title: &str, types: Vec<Type>) -> Self {
        let text = format!(
            "<!-- Written from the source by `SERIN_BLESS=1 cargo test -p serin --test it reference`. -->\n\n# {title}\n"
        );
        Self { types, text, seen: Vec::new() }
    }

    pub(super) fn say(&mut self, paragraph: &str) {
        let _ = write!(self.text, "\n{paragraph}\n");
    }

    pub(super) fn block(&mut self, title: &str, text: &str) {
        let _ = write!(self.text, "\n## {title}\n\n```text\n{text}```\n");
    }

    pub(super) fn table<const N: usize>(&mut self, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
        let _ = write!(self.text, "\n| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
        for row in rows {
            let cells = row.map(|cell| cell.replace("\n\n", " ").replace('|', "\\|"));
            let _ = writeln!(self.text, "| {} |", cells.join(" | "));
        }
    }

    /// The section of a type, then those of the types it mentions.
    pub(super) fn section(&mut self, name: &str) {
        let Some(place) = self.types.iter().position(|found| found.name == name) else { return };
        self.seen.push(name.to_owned());
        let found = self.types.swap_remove(place);
        let _ = write!(self.text, "\n## {}\n", heading(name));
        // What only points back to a field says nothing here.
        if !found.docs.starts_with("See [") {
            self.say(&linked(&found.docs));
        }
        let word = if found.is_enum { "form" } else { "field" };
        let rows: Vec<_> = found.members.iter().map(|member| row(&found, member)).collect();
        self.table([word, "value", "what it means"], rows);
        let mentioned: Vec<String> =
            found.members.iter().map(|member| core(&member.holds).to_owned()).filter(|name| !is_value(name)).collect();
        for name in mentioned {
            if !self.seen.contains(&name) {
                self.section(&name);
            }
        }
    }

    /// Scalars, one line each.
    pub(super) fn values(&mut self, names: &[&str]) {
        self.text.push_str("\n## Values\n\n");
        for name in names {
            let found = self.types.iter().find(|found| found.name == *name).expect("the type is in the source");
            let _ = writeln!(self.text, "- **{}**: {}", value(name), linked(&found.docs));
        }
    }

    /// Compares with the file, or writes it.
    pub(super) fn hold(&self, file: &str) {
        let path = workspace().join("docs/reference").join(file);
        if std::env::var_os("SERIN_BLESS").is_some() {
            std::fs::write(&path, &self.text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            return;
        }
        let written = read(&path);
        let mut lines = self.text.lines().zip(written.lines()).enumerate();
        if let Some((line, (now, then))) = lines.find(|(_, (now, then))| now != then) {
            panic!("{file}:{} is out of date; SERIN_BLESS=1 writes it anew\n  file: {then}\n  code: {now}", line + 1);
        }
        assert_eq!(self.text.len(), written.len(), "{file} is out of date; SERIN_BLESS=1 writes it anew");
    }
}

fn row(of: &Type, member: &Member) -> [String; 3] {
    let name = match rename(&member.attributes) {
        Some(name) => name.to_owned(),
        None if of.is_enum => snake_case(&member.name),
        None => member.name.clone(),
    };
    let mut holds = shape(&member.holds);
    if member.attributes.contains("one_or_many") {
        holds = format!("text or {holds}");
    }
    if is_required(of, member) {
        holds.push_str(", *required*");
    }
    [format!("`{name}`"), holds, linked(&member.docs)]
}

/// What serde asks for: nothing stands in for the field, and the docs name no default either.
fn is_required(of: &Type, member: &Member) -> bool {
    !of.is_enum
        && !of.attributes.contains("default")
        && !member.attributes.contains("default")
        && !member.holds.starts_with("Option<")
        && !member.docs.contains("Default ")
}

fn rename(attributes: &str) -> Option<&str> {
    attributes.split("rename = \"").nth(1)?.split('"').next()
}

/// A Rust type in the words of somebody who writes YAML.
fn shape(holds: &str) -> String {
    if holds.is_empty() {
        return String::new();
    }
    if let Some(inner) = inside(holds, "Option<") {
        return shape(inner);
    }
    if let Some(inner) = inside(holds, "Vec<") {
        return format!("list of {}", shape(inner));
    }
    if let Some(inner) = inside(holds, "BTreeMap<String, ") {
        return format!("map from names to {}", shape(inner));
    }
    match is_value(holds) {
        true => value(holds).to_owned(),
        false => format!("[{}](#{})", heading(holds).to_lowercase(), anchor(holds)),
    }
}

fn inside<'t>(holds: &'t str, wrapper: &str) -> Option<&'t str> {
    holds.strip_prefix(wrapper)?.strip_suffix('>')
}

/// The type that lists, maps and options are made of.
fn core(holds: &str) -> &str {
    let inner = ["Option<", "Vec<", "BTreeMap<String, "].iter().find_map(|wrapper| inside(holds, wrapper));
    inner.map_or(holds, core)
}

fn is_value(name: &str) -> bool {
    !value(name).is_empty()
}

fn value(name: &str) -> &'static str {
    match name {
        "String" => "text",
        "bool" => "`true` or `false`",
        "BTreeMap<u16, u16>" => "map from numbers to numbers",
        "u16" | "u32" | "u64" | "usize" | "f64" => "number",
        "PathBuf" => "path",
        "IpAddr" => "IP address",
        "SocketAddr" => "`IP:PORT`",
        "Span" => "duration",
        "ByteSize" => "size",
        "Percent" => "percent",
        "PercentSpec" => "percent or `phase`",
        "Rate" => "rate",
        "InFlight" => "number or `auto`",
        "StatusRange" => "number or `FIRST-LAST`",
        _ => "",
    }
}

/// `AudienceRuleSpec` becomes "Audience rule".
fn heading(name: &str) -> String {
    match name {
        "Spec" => return "The maps".into(),
        "Settings" => return "The settings".into(),
        _ => {}
    }
    let words = snake_case(name.trim_end_matches("Spec").trim_end_matches("Settings")).replace('_', " ");
    let (first, rest) = words.split_at(1);
    first.to_uppercase() + rest
}

fn anchor(name: &str) -> String {
    heading(name).to_lowercase().replace(' ', "-")
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// Links of rustdoc lead nowhere in Markdown: of [`Type::field`] the field stays.
fn linked(docs: &str) -> String {
    let mut text = String::new();
    let mut rest = docs;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((target, behind)) = after.split_once("`]") else { break };
        let name = target.rsplit("::").next().unwrap_or(target);
        let name = if name.starts_with(char::is_uppercase) { snake_case(name) } else { name.to_owned() };
        let _ = write!(text, "{before}`{name}`");
        rest = behind;
    }
    text + rest
}
