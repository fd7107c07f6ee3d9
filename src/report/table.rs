//! Tables of runs for the terminal.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::{Finished, Record, Sample};
use crate::methods::Method;

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
    let names: Vec<&str> = metrics.iter().map(String::as_str).collect();
    let mut table = new_table(&[&["method", "preset", "arm", "n"], &names[..]].concat());
    let key = |r: &Record| (r.method.clone(), r.preset.clone(), r.arm.clone());
    let mut groups: Vec<(String, String, String)> = Vec::new();
    for record in records {
        if !groups.contains(&key(record)) {
            groups.push(key(record));
        }
    }
    for group in groups {
        let runs: Vec<&&Record> = records.iter().filter(|r| key(r) == group).collect();
        let done = runs.iter().filter(|r| r.status == "done").count();
        let count = if done == runs.len() { done.to_string() } else { format!("{done} of {}", runs.len()) };
        let mut row = vec![group.0.clone(), group.1.clone(), group.2.clone(), count];
        for metric in metrics {
            let sample = Sample(runs.iter().filter_map(|r| r.metric(metric)).collect());
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
