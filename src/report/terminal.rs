//! Reports for the terminal, and the table of what was just run.

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::grid::{Grid, Stat, differences, metrics, paper};
use super::sheet::{Cell, Row, Sheet};
use super::{Finished, Group, Record, groups};
use crate::methods::Method;

/// Tables with their notes; `*` marks the best mean.
pub fn terminal(sheets: &[Sheet], stats: &[Stat]) -> String {
    let mut out = String::new();
    for sheet in sheets {
        out += &format!("{} {}: {}\n\n", sheet.method.verb.name(), sheet.method.name, sheet.method.paper);
        out += &format!("{}\n", table(&metrics(sheet, stats)));
        if sheet.rows.iter().any(|row| row.cells.iter().any(|cell| cell.best)) {
            out += "* best mean of its preset\n";
        }
        if let (Some(grid), Some(explanation)) = (differences(sheet), sheet.explanation()) {
            out += &format!("\n{explanation}\n{}\n", table(&grid));
        }
        for note in sheet.notes() {
            out += &format!("note: {note}\n");
        }
        if let Some(grid) = paper(sheet) {
            out += "\nthe paper's numbers\n";
            let mut table = filled(&grid);
            table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
            if table.width().is_none() {
                table.set_width(160);
            }
            out += &format!("{table}\n");
        }
        out += "\n";
    }
    out.trim_end().to_owned() + "\n"
}

/// Runs grouped by preset and arm: mean and standard deviation over seeds of the metrics asked for.
pub fn grouped_table(records: &[&Record], metrics: &[String]) -> String {
    let Some(method) = records.first().and_then(|r| crate::methods::find(&r.method).ok()) else { return String::new() };
    let cells = |group: &Group| {
        metrics.iter().map(|m| Cell { sample: group.sample(m), best: false, difference: None }).collect()
    };
    let rows = groups(records).into_iter().map(|group| Row { cells: cells(&group), group }).collect();
    let sheet = Sheet { method, metrics: metrics.to_vec(), rows, baseline: None, paper: Vec::new() };
    table(&super::grid::metrics(&sheet, &[Stat::Mean, Stat::Std]))
}

/// What was just run: a row an arm, the method's headline metrics, where it lies.
pub fn arms_table(method: &Method, finished: &[Finished]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([&["arm"], method.headline, &["results"]].concat());
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
    right(&mut table, 1..1 + method.headline.len());
    table.to_string()
}

fn table(grid: &Grid) -> String {
    filled(grid).to_string()
}

fn filled(grid: &Grid) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(&grid.header);
    for row in &grid.rows {
        table.add_row(row.iter().map(|cell| if cell.strong { format!("{} *", cell.text) } else { cell.text.clone() }));
    }
    right(&mut table, grid.numbers..grid.header.len());
    table
}

fn right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
