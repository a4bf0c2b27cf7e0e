//! Records as they are stored: JSON that people can read, and a later version can, too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use routing_rules::release::{Change, Clock, Growth, Hold, ReleaseRecord, ReleaseState, Status};
use routing_rules::rules::Name;
use routing_rules::spec::{Percent, ReleaseSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Records;

/// A record, and the rules it began with or was edited to. What history is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The record after the change.
    pub record: Arc<ReleaseRecord>,
    /// The release as it was written from then on, if that is new.
    pub rules: Option<Arc<ReleaseSpec>>,
}

/// The newest records, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredRecords(BTreeMap<String, Document>);

/// All entries of each release, the earliest first, by name.
///
/// Entries stay the text that they were written as: there are hundreds, and all but the newest are read only when somebody asks.
/// Those of another version that cannot be read here are kept, too.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StoredHistories(BTreeMap<String, VecDeque<Box<RawValue>>>);

/// Times as in RFC 3339, with milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Document {
    number: u64,
    action: String,
    by: String,
    at: String,
    reason: String,
    status: String,
    percent: Percent,
    /// From what the percent grew last, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grown_from: Option<(Percent, String)>,
    since: String,
    stable: String,
    canary: String,
    epoch: u32,
    /// Hexadecimal: not every reader of JSON keeps 64 bits.
    rules_mark: String,
    falls: u8,
    /// The number of the change that this run began with.
    began: u64,
    /// How many other salts it was given.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    salts: u8,
    /// Whether users have ever been in the canary group by the phases.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    begun: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    /// How long the phase has lasted when its clock was last stopped.
    clock_ms: u64,
    /// Since when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clock_since: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rules: Option<Arc<ReleaseSpec>>,
}

impl Entry {
    /// As it is stored.
    pub fn text(&self) -> String {
        serde_json::to_string(&self.document()).expect("a map of texts and numbers is JSON")
    }

    /// The same, within something else that is stored.
    pub fn value(&self) -> Value {
        serde_json::to_value(self.document()).expect("a map of texts and numbers is JSON")
    }

    /// What that says.
    ///
    /// # Errors
    /// It was not written by a version like this one; says what is wrong.
    pub fn of(value: Value) -> Result<Self, String> {
        let document: Document = serde_json::from_value(value).map_err(|error| error.to_string())?;
        document.entry()
    }

    /// What a text says.
    ///
    /// # Errors
    /// It was not written by a version like this one; says what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        document.entry()
    }

    fn document(&self) -> Document {
        Document { rules: self.rules.clone(), ..Document::of(&self.record) }
    }
}

impl StoredHistories {
    /// The newest entry of each release, with the rules that were accepted last.
    ///
    /// # Errors
    /// One cannot be read: says which.
    pub fn newest(&self) -> Result<BTreeMap<Name, Entry>, String> {
        let written = self.0.iter().filter(|(_, entries)| !entries.is_empty());
        let read = |(name, entries): (&String, &VecDeque<Box<RawValue>>)| {
            let both = Name::new(name).and_then(|known| Ok((known, newest(entries)?)));
            both.map_err(|reason| format!("release `{name}`: {reason}"))
        };
        written.map(read).collect()
    }

    /// The last entries of a release that can be read, the newest first: no more than so many.
    pub fn last(&self, release: &Name, most: usize) -> Vec<Entry> {
        let entries = self.0.get(release.as_str()).into_iter().flatten().rev();
        entries.filter_map(|text| Entry::parse(text.get().as_bytes()).ok()).take(most).collect()
    }

    /// Adds the newest entry of a release, and forgets the earliest beyond so many.
    pub fn add(&mut self, release: &Name, entry: &Entry, most: usize) {
        let text = serde_json::value::to_raw_value(&entry.document()).expect("a map of texts and numbers is JSON");
        let entries = self.0.entry(release.to_string()).or_default();
        entries.push_back(text);
        entries.drain(..entries.len().saturating_sub(most));
    }

    /// The history of a release becomes what it is there.
    pub fn copy(&mut self, release: &Name, from: &Self) {
        self.0.extend(from.0.get_key_value(release.as_str()).map(|(name, entries)| (name.clone(), entries.clone())));
    }
}

impl StoredRecords {
    /// What is to be stored.
    pub fn of(records: &Records) -> Self {
        Self(records.iter().map(|(name, record)| (name.to_string(), Document::of(record))).collect())
    }

    /// What was stored, as far as it can be used.
    pub fn records(self) -> Records {
        let records = self.0.into_iter().filter_map(|(name, document)| {
            usable(&name, Name::new(&name).and_then(|known| Ok((known, Arc::new(document.record()?)))))
        });
        records.collect()
    }
}

/// The last entry. Not each has the rules, so that those before are asked for them.
fn newest(entries: &VecDeque<Box<RawValue>>) -> Result<Entry, String> {
    let mut all = entries.iter().rev().map(|text| Entry::parse(text.get().as_bytes()));
    let newest = all.next().ok_or_else(|| "its history is empty".to_owned())??;
    let record = &newest.record;
    if record.accepted.is_some() {
        return Ok(newest);
    }
    let is_of_it = |entry: &Entry| (&entry.record.stable, &entry.record.canary) == (&record.stable, &record.canary);
    let before = all.map_while(Result::ok).take_while(is_of_it);
    let accepted = before.filter_map(|entry| entry.rules).next();
    Ok(Entry { record: Arc::new(ReleaseRecord { accepted, ..ReleaseRecord::clone(record) }), rules: None })
}

fn usable<T>(release: &str, read: Result<T, String>) -> Option<T> {
    read.inspect_err(|reason| tracing::error!(release, reason, "what is stored of a release cannot be used")).ok()
}

impl Document {
    fn of(record: &ReleaseRecord) -> Self {
        let ReleaseRecord {
            number,
            stable,
            canary,
            state,
            since_ms,
            clock,
            hold,
            falls,
            epoch,
            rules,
            began,
            salts,
            has_begun,
            accepted,
            last,
        } = record;
        Self {
            number: *number,
            action: last.action.to_string(),
            by: last.by.to_string(),
            at: time(last.at_ms),
            reason: last.reason.to_string(),
            status: state.status.to_string(),
            percent: state.percent,
            grown_from: state.growth.map(|growth| (growth.from, time(1_000 * growth.at_secs))),
            since: time(*since_ms),
            stable: stable.to_string(),
            canary: canary.to_string(),
            epoch: *epoch,
            rules_mark: format!("{rules:016x}"),
            falls: *falls,
            began: *began,
            salts: *salts,
            begun: *has_begun,
            hold: hold.map(|hold| hold.as_str().to_owned()),
            clock_ms: clock.ran_ms,
            clock_since: clock.running_since_ms.map(time),
            rules: accepted.clone(),
        }
    }

    fn entry(self) -> Result<Entry, String> {
        let rules = self.rules.clone();
        Ok(Entry { record: Arc::new(self.record()?), rules })
    }

    fn record(self) -> Result<ReleaseRecord, String> {
        let in_field = |field: &'static str| move |reason: String| format!("{field}: {reason}");
        let status: Status = self.status.parse().map_err(|error| format!("status: `{}` is {error}", self.status))?;
        let hold =
            self.hold.map(|text| Hold::parse(&text).ok_or_else(|| format!("hold: `{text}` is none"))).transpose()?;
        let growth = |(from, at): (Percent, String)| Ok(Growth { from, at_secs: ms(&at)? / 1_000 });
        let growth = self.grown_from.map(growth).transpose().map_err(in_field("grown_from"))?;
        Ok(ReleaseRecord {
            number: self.number,
            stable: Name::new(&self.stable).map_err(in_field("stable"))?,
            canary: Name::new(&self.canary).map_err(in_field("canary"))?,
            state: ReleaseState { percent: self.percent, status, growth },
            since_ms: ms(&self.since).map_err(in_field("since"))?,
            clock: Clock {
                ran_ms: self.clock_ms,
                running_since_ms: self.clock_since.as_deref().map(ms).transpose().map_err(in_field("clock_since"))?,
            },
            hold,
            falls: self.falls,
            epoch: self.epoch,
            began: self.began,
            salts: self.salts,
            has_begun: self.begun,
            accepted: self.rules,
            rules: u64::from_str_radix(&self.rules_mark, 16).map_err(|error| format!("rules_mark: {error}"))?,
            last: Change {
                action: self.action.into(),
                by: self.by.into(),
                reason: self.reason.into(),
                at_ms: ms(&self.at).map_err(in_field("at"))?,
            },
        })
    }
}

fn is_none_yet(salts: &u8) -> bool {
    *salts == 0
}

/// A time as people read it; the last one that can be written if it is beyond that.
pub(crate) fn time(ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS))).to_string()
}

fn ms(text: &str) -> Result<u64, String> {
    let at: SystemTime = humantime::parse_rfc3339(text).map_err(|error| format!("`{text}`: {error}"))?;
    let since = at.duration_since(UNIX_EPOCH).map_err(|_| format!("`{text}` is before 1970"))?;
    u64::try_from(since.as_millis()).map_err(|_| format!("`{text}` is too late"))
}

/// The end of the year 9999.
const LAST_MS: u64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use routing_rules::release::{Canary, Command, Pace, SignedCommand};
    use routing_rules::rules::Release;

    use super::*;

    #[test]
    fn what_is_stored_is_read_again() {
        let text = r#"{"stable": "a", "canary": "b", "audience": [{"name": "all"}], "phases": [1, {"percent": 12.5, "lasts": "10m"}, 100]}"#;
        let spec: ReleaseSpec = serde_json::from_str(text).unwrap();
        let rules = Release::new("r", &spec, &mut Vec::new()).unwrap();
        let first = ReleaseRecord::begin(&rules, 7, None, 1_800_000_000_123);
        let order = SignedCommand { command: Command::Promote, by: "anna", reason: "looks \"good\"" };
        let second = first.after(&order, &rules, 1_800_000_060_000).unwrap().unwrap();
        let fallen = second.by_itself(&rules, Canary::Down, Pace::Clock, 1_800_000_061_000).unwrap();
        let paused = second.after(&SignedCommand { command: Command::Pause, ..order }, &rules, 0).unwrap().unwrap();
        for record in [first, second, fallen, paused].map(Arc::new) {
            let entry = Entry { record: Arc::clone(&record), rules: Some(Arc::new(spec.clone())) };
            assert_eq!(Entry::parse(entry.text().as_bytes()), Ok(entry));
            // Most entries of a history do not say what was accepted before.
            let without = ReleaseRecord { accepted: None, ..ReleaseRecord::clone(&record) };
            let entry = Entry { record: Arc::new(without), rules: None };
            assert_eq!(Entry::parse(Entry { record: Arc::clone(&record), rules: None }.text().as_bytes()), Ok(entry));
            let records: Records = [(rules.name().clone(), record)].into_iter().collect();
            let stored = serde_json::to_string(&StoredRecords::of(&records)).unwrap();
            assert_eq!(serde_json::from_str::<StoredRecords>(&stored).unwrap().records(), records);
        }
    }

    #[test]
    fn the_newest_entry_says_what_was_accepted_though_few_entries_do() {
        let text = r#"{"stable": "a", "canary": "b", "audience": [{"name": "all"}], "phases": [1, 10, 100]}"#;
        let spec: Arc<ReleaseSpec> = Arc::new(serde_json::from_str(text).unwrap());
        let rules = Release::new("r", &spec, &mut Vec::new()).unwrap();
        let order = SignedCommand { command: Command::Promote, by: "anna", reason: "" };
        let (mut stored, mut record) = (StoredHistories::default(), ReleaseRecord::begin(&rules, 7, None, 0));
        stored.add(rules.name(), &Entry { record: record.clone().into(), rules: Some(spec) }, 10);
        for _ in 0..2 {
            record = record.after(&order, &rules, 0).unwrap().unwrap();
            stored.add(rules.name(), &Entry { record: record.clone().into(), rules: None }, 10);
        }
        let newest = |stored: &StoredHistories| stored.newest().unwrap()[rules.name()].record.clone();
        assert_eq!(*newest(&stored), record);
        // Where all who say it are forgotten, nobody knows.
        stored.add(rules.name(), &Entry { record: record.clone().into(), rules: None }, 2);
        assert_eq!(newest(&stored).accepted, None);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let rules = r#"{"stable": "a", "canary": "b", "audience": [{"name": "all"}], "phases": [1]}"#;
        let rules = Release::new("r", &serde_json::from_str(rules).unwrap(), &mut Vec::new()).unwrap();
        let good = Entry { record: ReleaseRecord::begin(&rules, 7, None, 0).into(), rules: None }.text();
        for (from, to, reason) in [
            ("\"running\"", "\"runing\"", "status: `runing` is not a status"),
            ("\"percent\":\"1\"", "\"percent\":\"101\"", "percent 101 is above 100"),
            ("\"stable\":\"a\"", "\"stable\":\"a b\"", "stable: "),
            ("\"since\":\"1970", "\"since\":\"1969", "since: "),
            ("\"number\":1", "\"number\":-1", "invalid value"),
            ("\"falls\":0", "\"falls\":0,\"hold\":\"breath\"", "hold: `breath` is none"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good, "{from}");
            let said = Entry::parse(bad.as_bytes()).unwrap_err();
            assert!(said.contains(reason), "{said}");
        }
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
