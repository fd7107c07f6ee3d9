//! Tables of runs for the terminal.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::{Finished, Record, Sample};
use crate::methods::Method;
use crate::sweep::grid::Setting;

/// What was just run: a row an arm, the method's headline metrics, where it lies.
pub fn arms_table(method: &Method, finished: &[Finished]) -> String {
    let mut table = new_table(&[&["arm"], method.headline, &["results"]].concat());
    for run in finished {
        let arm = if run.arm.is_empty() { method.name } else { &run.arm };
        let mut row = vec![arm.to_owned()];
        match &run.outcome {
            Ok(summary) => {
                let value =
                    |key: &&str| summary.get(*key).and_then(serde_json::Value::as_f64).map(super::statistics::number);
                row.extend(method.headline.iter().map(|key| value(key).unwrap_or_default()));
            }
            Err(_) => row.extend(method.headline.iter().map(|_| "failed".to_owned())),
        }
        row.push(run.folder.display().to_string());
        table.add_row(row);
    }
    align(&mut table, method.headline.len());
    table.to_string()
}

/// Runs grouped by preset and arm: mean and standard deviation over seeds of the metrics asked for.
pub fn grouped_table(records: &[&Record], metrics: &[String]) -> String {
    let key = |r: &&&Record| vec![r.method.clone(), r.preset.clone(), r.arm.clone()];
    let rows: Vec<(Vec<String>, Option<&Record>)> = records.iter().map(|r| (key(&r), Some(*r))).collect();
    means(&["method", "preset", "arm"], &rows, metrics)
}

/// Points of a grid (what was chosen, and the run if there is one) grouped by all that differs among them but the seed.
pub fn sweep_table(points: &[(Setting, Option<Record>)], metrics: &[String]) -> String {
    let first = points.first().map_or(&[][..], |(chosen, _)| chosen);
    let differs = |place: &usize| points.iter().any(|(chosen, _)| chosen.get(*place) != first.get(*place));
    let shown = |place: &usize| first[*place].0 == "arm" || (first[*place].0 != "seed" && differs(place));
    let places: Vec<usize> = (0..first.len()).filter(shown).collect();
    let names: Vec<&str> = places.iter().map(|&place| first[place].0.as_str()).collect();
    let key = |chosen: &[(String, String)]| places.iter().map(|&p| chosen[p].1.clone()).collect::<Vec<_>>();
    let rows: Vec<_> = points.iter().map(|(chosen, record)| (key(chosen), record.as_ref())).collect();
    means(&names, &rows, metrics)
}

/// One row for each different key, in order of appearance.
fn means(names: &[&str], rows: &[(Vec<String>, Option<&Record>)], metrics: &[String]) -> String {
    let shown: Vec<&str> = metrics.iter().map(String::as_str).collect();
    let mut table = new_table(&[names, &["n"], &shown[..]].concat());
    let mut groups: Vec<&Vec<String>> = Vec::new();
    for (key, _) in rows {
        if !groups.contains(&key) {
            groups.push(key);
        }
    }
    for group in groups {
        let runs: Vec<Option<&Record>> = rows.iter().filter(|(key, _)| key == group).map(|(_, r)| *r).collect();
        let done: Vec<&Record> = runs.iter().flatten().copied().filter(|r| r.status == "done").collect();
        let count =
            if done.len() == runs.len() { done.len().to_string() } else { format!("{} of {}", done.len(), runs.len()) };
        let mut row = group.clone();
        row.push(count);
        for metric in metrics {
            let sample = Sample(done.iter().filter_map(|r| r.metric(metric)).collect());
            row.push(if sample.n() == 0 { String::new() } else { sample.show() });
        }
        table.add_row(row);
    }
    align(&mut table, 0);
    table.to_string()
}

fn new_table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(columns);
    table
}

fn align(table: &mut Table, numbers: usize) {
    for column in 1..=numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
