//! Reports for programs: tidy CSV and JSON, one entry for each group and metric, every number in full.

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::sheet::Sheet;

#[derive(Serialize)]
struct Entry<'a> {
    method: &'a str,
    preset: &'a str,
    arm: &'a str,
    setting: &'a str,
    metric: &'a str,
    n: usize,
    unfinished: usize,
    mean: Option<f64>,
    std: Option<f64>,
    sem: Option<f64>,
    median: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    best: bool,
    baseline: Option<&'a str>,
    pairs: Option<usize>,
    difference: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    significant: Option<bool>,
}

fn entries<'a>(sheets: &'a [Sheet<'a>]) -> impl Iterator<Item = Entry<'a>> {
    let rows = sheets.iter().flat_map(|sheet| sheet.rows.iter().map(move |row| (sheet, row)));
    rows.flat_map(|(sheet, row)| {
        sheet.metrics.iter().zip(&row.cells).map(move |(metric, cell)| {
            let sample = &cell.sample;
            let some = |value: f64| (sample.n() > 0).then_some(value);
            let difference = cell.difference.as_ref();
            Entry {
                method: row.group.method,
                preset: row.group.preset,
                arm: row.group.arm,
                setting: &row.group.setting,
                metric,
                n: sample.n(),
                unfinished: row.group.unfinished,
                mean: some(sample.mean()),
                std: sample.std(),
                sem: sample.error(),
                median: some(sample.median()),
                min: some(sample.min()),
                max: some(sample.max()),
                best: cell.best,
                baseline: sheet.baseline.as_deref().filter(|_| difference.is_some()),
                pairs: difference.map(|d| d.pairs),
                difference: difference.map(|d| d.mean),
                low: difference.and_then(|d| d.interval).map(|i| i.0),
                high: difference.and_then(|d| d.interval).map(|i| i.1),
                significant: difference.filter(|d| d.interval.is_some()).map(|d| d.significant()),
            }
        })
    })
}

pub fn csv(sheets: &[Sheet]) -> Result<String> {
    let mut out = ::csv::Writer::from_writer(Vec::new());
    for entry in entries(sheets) {
        out.serialize(entry)?;
    }
    Ok(String::from_utf8(out.into_inner().map_err(|e| anyhow!("{e}"))?)?)
}

/// One object: `results` as in the CSV, `paper` for the paper's numbers beside ours, `notes`.
pub fn json(sheets: &[Sheet]) -> Result<String> {
    #[derive(Serialize)]
    struct Paper<'a> {
        method: &'a str,
        id: &'a str,
        setting: &'a str,
        metric: &'a str,
        paper: &'a str,
        baseline: &'a str,
        ours: &'a str,
    }
    let paper = sheets.iter().flat_map(|sheet| {
        sheet.paper.iter().map(|row| Paper {
            method: sheet.method.name,
            id: &row.id,
            setting: &row.setting,
            metric: &row.metric,
            paper: &row.paper,
            baseline: &row.baseline,
            ours: &row.ours,
        })
    });
    let notes =
        sheets.iter().flat_map(|sheet| sheet.notes().into_iter().map(|n| format!("{}: {n}", sheet.method.name)));
    let all = serde_json::json!({
        "results": entries(sheets).collect::<Vec<_>>(),
        "paper": paper.collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}
