//! What a report says about one method, whatever format it is written in: a row a group, a cell a metric.

use anyhow::{Result, bail};
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap};

use super::better::direction;
use super::claims::Claims;
use super::difference::Difference;
use super::group::{Group, groups};
use super::paper::{PaperRow, paper_rows};
use super::{Record, Sample};
use crate::Usage;
use crate::config::hint;
use crate::methods::{self, Method};

pub struct Sheet<'a> {
    pub method: &'static Method,
    pub metrics: Vec<String>,
    pub rows: Vec<Row<'a>>,
    /// What the differences are to, if they were asked for.
    pub baseline: Option<String>,
    pub paper: Vec<PaperRow>,
}

pub struct Row<'a> {
    pub group: Group<'a>,
    pub cells: Vec<Cell>,
}

pub struct Cell {
    pub sample: Sample,
    /// The best mean of its preset.
    pub best: bool,
    /// From the baseline's row of the same preset; none in that row itself.
    pub difference: Option<Difference>,
}

impl Sheet<'_> {
    /// What a reader must know beside the numbers.
    pub fn notes(&self) -> Vec<String> {
        let count = |of: fn(&Group) -> usize| self.rows.iter().map(|row| of(&row.group)).sum::<usize>();
        let mut notes = Vec::new();
        let (unfinished, replaced) = (count(|g| g.unfinished), count(|g| g.replaced));
        if unfinished > 0 {
            notes.push(format!("{unfinished} unfinished runs are left out"));
        }
        if replaced > 0 {
            notes.push(format!("{replaced} runs are left out, of which there is a newer one of the same seed"));
        }
        let lone = |row: &Row| row.group.runs.len() == 1;
        if self.baseline.is_some() && self.rows.iter().any(lone) {
            notes.push("from a single seed nothing can be said about significance".to_owned());
        }
        notes
    }

    pub fn has_settings(&self) -> bool {
        self.rows.iter().any(|row| !row.group.setting.is_empty())
    }

    /// How the differences are to be read.
    pub fn explanation(&self) -> Option<String> {
        let baseline = self.baseline.as_ref()?;
        Some(format!(
            "differences to {baseline}, paired by seed, with a 95% bootstrap interval; where it holds 0 the difference is \
             not significant (n.s.)"
        ))
    }
}

/// One sheet for each method among the records. `asked` are the metrics (the methods' headlines, if empty), `baseline` an arm.
pub fn sheets<'a>(records: &'a [Record], asked: &[String], baseline: Option<&str>) -> Result<Vec<Sheet<'a>>> {
    check_metrics(records, asked)?;
    let mut sheets = Vec::new();
    for method in methods::ALL {
        let mine: Vec<&Record> = records.iter().filter(|r| r.method == method.name).collect();
        if !mine.is_empty() {
            sheets.push(sheet(method, &mine, asked, baseline)?);
        }
    }
    if let Some(name) = baseline.filter(|_| sheets.iter().all(|sheet| sheet.baseline.is_none())) {
        let names: BTreeSet<&str> = records.iter().map(|r| r.arm.as_str()).collect();
        let near = hint(name, names.iter().copied());
        let known = names.iter().copied().collect::<Vec<_>>().join(", ");
        bail!(Usage(format!("--baseline {name:?} is no arm of these runs{near}; they have {known}")));
    }
    Ok(sheets)
}

/// Every metric asked for is in the summary of some run.
fn check_metrics(records: &[Record], asked: &[String]) -> Result<()> {
    let known: BTreeSet<&str> = records.iter().flat_map(|r| r.summary.keys().map(String::as_str)).collect();
    match asked.iter().find(|metric| !known.contains(metric.as_str())) {
        None => Ok(()),
        Some(metric) => {
            let near = hint(metric, known.iter().copied());
            let near = if near.is_empty() && known.len() <= 60 {
                format!("; there are {}", known.into_iter().collect::<Vec<_>>().join(", "))
            } else {
                near
            };
            bail!(Usage(format!("no run has the summary metric {metric:?}{near}")))
        }
    }
}

fn sheet<'a>(
    method: &'static Method,
    records: &[&'a Record],
    asked: &[String],
    baseline: Option<&str>,
) -> Result<Sheet<'a>> {
    let has = |metric: &String| records.iter().any(|r| r.summary.contains_key(metric));
    let metrics: Vec<String> = match asked {
        [] => method.headline.iter().map(|m| (*m).to_owned()).collect(),
        asked => asked.iter().filter(|metric| has(metric)).cloned().collect(),
    };
    let groups = groups(records);
    let paper = paper_rows(&Claims::parse(method.name, method.claims)?.paper, &groups);
    let is_baseline =
        |group: &Group| baseline.is_some_and(|name| [group.arm, &group.setting, &group.name()].contains(&name));
    let best: Vec<Vec<bool>> = metrics.iter().map(|metric| best(metric, &groups)).collect();
    let cells = |(index, group): (usize, &Group)| {
        let reference = reference(group, &groups, &is_baseline);
        let cell = |(metric, best): (&String, &Vec<bool>)| Cell {
            sample: group.sample(metric),
            best: best[index],
            difference: reference.and_then(|other| Difference::paired(&group.values(metric), &other.values(metric))),
        };
        metrics.iter().zip(&best).map(cell).collect::<Vec<Cell>>()
    };
    let cells: Vec<Vec<Cell>> = groups.par_iter().enumerate().map(cells).collect();
    let baseline = baseline.filter(|_| groups.iter().any(is_baseline)).map(str::to_owned);
    let rows = groups.into_iter().zip(cells).map(|(group, cells)| Row { group, cells }).collect();
    Ok(Sheet { method, metrics, rows, baseline, paper })
}

/// The baseline's group that `group` is compared with: of the same preset and, if there are several, of the same setting.
fn reference<'g, 'a>(
    group: &Group,
    groups: &'g [Group<'a>],
    is_baseline: &impl Fn(&Group) -> bool,
) -> Option<&'g Group<'a>> {
    if is_baseline(group) {
        return None;
    }
    let candidates: Vec<&Group> = groups.iter().filter(|g| g.preset == group.preset && is_baseline(g)).collect();
    match candidates[..] {
        [only] => Some(only),
        _ => candidates.into_iter().find(|g| g.setting == group.setting),
    }
}

/// Whether no group of the same preset has a better mean, and one has a worse.
fn best(metric: &str, groups: &[Group]) -> Vec<bool> {
    let sign = f64::from(direction(metric));
    let means: Vec<f64> = groups.iter().map(|g| sign * g.sample(metric).mean()).collect();
    let mut ends: HashMap<&str, (f64, f64)> = HashMap::new();
    for (group, mean) in groups.iter().zip(&means) {
        let (worst, best) = ends.entry(group.preset).or_insert((f64::INFINITY, f64::NEG_INFINITY));
        (*worst, *best) = (worst.min(*mean), best.max(*mean));
    }
    let is_best = |(group, mean): (&Group, &f64)| ends[group.preset].0 < *mean && *mean == ends[group.preset].1;
    groups.iter().zip(&means).map(is_best).collect()
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::record;
    use super::*;
    use serde_json::json;

    #[test]
    fn best_arm_and_paired_difference() {
        let tree = tempfile::tempdir().unwrap();
        let mut records = Vec::new();
        for seed in 0..4 {
            for (arm, gain) in [("plain", 0.0), ("better", 0.1), ("same", if seed % 2 == 0 { 0.01 } else { -0.01 })] {
                let accuracy = 0.5 + 0.1 * seed as f64 + gain;
                let summary = json!({"accuracy": accuracy, "loss": 1.0, "k": seed});
                records.push(record(tree.path(), &format!("{arm}-{seed}"), arm, seed, "", summary));
            }
        }
        let asked = ["accuracy", "loss", "k"].map(str::to_owned);
        let all = sheets(&records, &asked, Some("plain")).unwrap();
        let rows = &all[0].rows;
        assert_eq!(rows.iter().map(|r| r.group.arm).collect::<Vec<_>>(), ["plain", "better", "same"]);
        assert_eq!(
            rows.iter().map(|r| r.cells.iter().map(|c| c.best).collect()).collect::<Vec<Vec<bool>>>(),
            [[false; 3], [true, false, false], [false; 3]]
        );
        assert!(rows[0].cells[0].difference.is_none());
        let (better, same) = (rows[1].cells[0].difference.unwrap(), rows[2].cells[0].difference.unwrap());
        assert!((better.mean - 0.1).abs() < 1e-12 && better.significant() && !same.significant());
        let refused = |asked: &str, baseline: &str| {
            sheets(&records, &[asked.to_owned()], Some(baseline)).err().unwrap().to_string()
        };
        assert!(refused("acuracy", "plain").ends_with("\"acuracy\"; did you mean accuracy?"));
        assert!(refused("accuracy", "plan").contains("did you mean plain?"));
    }
}
