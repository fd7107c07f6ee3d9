//! Runs that differ in their seed only are one group: a row of a report, a curve of a plot.

use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;

use super::{Record, Sample};

pub struct Group<'a> {
    pub method: &'a str,
    pub preset: &'a str,
    pub arm: &'a str,
    /// `train.epochs=5`: the fields that tell groups of the same arm apart; empty where there is but one.
    pub setting: String,
    /// Finished runs, one a seed, sorted by it.
    pub runs: Vec<&'a Record>,
    /// Runs that are not done.
    pub unfinished: usize,
    /// Finished runs that a newer one of the same seed replaces.
    pub replaced: usize,
    fields: BTreeMap<String, String>,
}

impl Group<'_> {
    /// Arm and setting.
    pub fn name(&self) -> String {
        let arm = if self.arm.is_empty() { self.method } else { self.arm };
        if self.setting.is_empty() { arm.to_owned() } else { format!("{arm} {}", self.setting) }
    }

    /// A summary metric of each seed.
    pub fn values(&self, metric: &str) -> Vec<(i64, f64)> {
        self.runs.iter().filter_map(|run| Some((run.seed, run.metric(metric)?))).collect()
    }

    pub fn sample(&self, metric: &str) -> Sample {
        Sample(self.values(metric).into_iter().map(|(_, value)| value).collect())
    }

    /// A field of the configuration, as text.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }
}

/// The groups, in the order in which their methods, presets and arms appear and by their settings.
pub fn groups<'a>(records: &[&'a Record]) -> Vec<Group<'a>> {
    let configs: Vec<String> = records.par_iter().map(|record| config(record)).collect();
    let mut known: HashMap<(&str, &str, &str, &str), usize> = HashMap::new();
    let mut found: Vec<(Group<'a>, &str)> = Vec::new();
    for (record, config) in records.iter().zip(&configs) {
        let key = (record.method.as_str(), record.preset.as_str(), record.arm.as_str(), config.as_str());
        let index = *known.entry(key).or_insert_with(|| {
            let group = Group {
                method: key.0,
                preset: key.1,
                arm: key.2,
                setting: String::new(),
                runs: Vec::new(),
                unfinished: 0,
                replaced: 0,
                fields: BTreeMap::new(),
            };
            found.push((group, config));
            found.len() - 1
        });
        found[index].0.add(record);
    }
    let fields: Vec<BTreeMap<String, String>> = found.par_iter().map(|(_, config)| flat(config)).collect();
    let mut groups: Vec<Group> = found.into_iter().map(|(group, _)| group).collect();
    groups.iter_mut().zip(fields).for_each(|(group, fields)| group.fields = fields);
    name_settings(groups)
}

impl<'a> Group<'a> {
    fn add(&mut self, record: &'a Record) {
        if record.status != "done" {
            self.unfinished += 1;
            return;
        }
        match self.runs.binary_search_by_key(&record.seed, |run| run.seed) {
            Ok(index) => {
                self.replaced += 1;
                if record.started() >= self.runs[index].started() {
                    self.runs[index] = record;
                }
            }
            Err(index) => self.runs.insert(index, record),
        }
    }
}

/// The configuration without what does not change an experiment: seed, device, threads, checkpoints.
fn config(record: &Record) -> String {
    let text = fs::read_to_string(record.folder.join("config.toml")).unwrap_or_default();
    let mut section = "";
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let aside = section.is_empty() && ["seed =", "device =", "threads ="].iter().any(|key| line.starts_with(key));
        if !aside && section != "[checkpoint]" {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// `section.key` and its value as it is written in an override.
fn flat(config: &str) -> BTreeMap<String, String> {
    fn walk(prefix: &str, table: &toml::Table, into: &mut BTreeMap<String, String>) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                toml::Value::Table(inner) => walk(&key, inner, into),
                toml::Value::String(text) => drop(into.insert(key, text.clone())),
                other => drop(into.insert(key, other.to_string())),
            }
        }
    }
    let mut fields = BTreeMap::new();
    walk("", &config.parse().unwrap_or_default(), &mut fields);
    fields
}

/// Groups of one arm are told apart by the fields in which they differ, and sorted by these.
fn name_settings(groups: Vec<Group>) -> Vec<Group> {
    let mut arms: Vec<Vec<Group>> = Vec::new();
    let mut places: HashMap<(String, String, String), usize> = HashMap::new();
    for group in groups {
        let key = (group.method.to_owned(), group.preset.to_owned(), group.arm.to_owned());
        let place = *places.entry(key).or_insert_with(|| {
            arms.push(Vec::new());
            arms.len() - 1
        });
        arms[place].push(group);
    }
    for arm in &mut arms {
        let first = &arm[0].fields;
        let differ = |fields: &BTreeMap<String, String>| {
            let changed = fields.iter().filter(|(key, value)| first.get(*key) != Some(*value)).map(|(key, _)| key);
            changed.chain(first.keys().filter(|key| !fields.contains_key(*key))).cloned().collect::<Vec<String>>()
        };
        let keys: BTreeSet<String> = arm.iter().flat_map(|group| differ(&group.fields)).collect();
        let number = |text: &str| text.parse::<f64>().unwrap_or(f64::INFINITY);
        let order = |a: &Group, b: &Group| {
            let compare = |key: &String| {
                let [a, b] = [a, b].map(|group| group.field(key).unwrap_or_default());
                if a == b { Ordering::Equal } else { number(a).total_cmp(&number(b)).then_with(|| a.cmp(b)) }
            };
            keys.iter().map(compare).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        };
        arm.sort_by(order);
        for group in arm.iter_mut() {
            let part = |key: &String| Some(format!("{key}={}", group.fields.get(key)?));
            group.setting = keys.iter().filter_map(part).collect::<Vec<_>>().join(" ");
        }
    }
    arms.into_iter().flatten().collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    /// A finished run on disk.
    pub fn record(tree: &Path, name: &str, arm: &str, seed: i64, config: &str, summary: serde_json::Value) -> Record {
        let folder = tree.join(name);
        fs::create_dir_all(&folder).unwrap();
        let text =
            format!("arm = {arm:?}\nseed = {seed}\ndevice = \"cpu\"\n[checkpoint]\nkeep_last = {seed}\n{config}");
        fs::write(folder.join("config.toml"), text).unwrap();
        let run =
            json!({"method": "wgsef", "preset": "quick", "arm": arm, "seed": seed, "status": "done", "started": name});
        fs::write(folder.join("run.json"), run.to_string()).unwrap();
        fs::write(folder.join("summary.json"), summary.to_string()).unwrap();
        Record::read(&folder).unwrap()
    }

    #[test]
    fn seeds_are_gathered_settings_told_apart_and_the_newest_counts() {
        let tree = tempfile::tempdir().unwrap();
        let run = |name: &str, seed: i64, epochs: i64, accuracy: f64| {
            let config = format!("[train]\nepochs = {epochs}\nbatch = 8\n");
            record(tree.path(), name, "plain", seed, &config, json!({"accuracy": accuracy}))
        };
        let mut records = vec![run("e", 1, 10, 0.9), run("a", 0, 10, 0.8), run("b", 0, 10, 0.7), run("c", 0, 9, 0.5)];
        records.push(run("d", 3, 9, 0.5));
        records[4].status = "failed".into();
        let groups = groups(&records.iter().collect::<Vec<_>>());
        assert_eq!(
            groups.iter().map(|g| g.name()).collect::<Vec<_>>(),
            ["plain train.epochs=9", "plain train.epochs=10"]
        );
        assert_eq!(groups[1].values("accuracy"), [(0, 0.7), (1, 0.9)]);
        assert_eq!((groups[0].unfinished, groups[1].replaced, groups[0].field("train.batch")), (1, 1, Some("8")));
    }
}
