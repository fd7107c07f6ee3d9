//! The pictures of an HTML report: a metric's bars, learning curves, and what the runs drew themselves.

use anyhow::Result;
use std::fs;

use super::Group;
use super::plot::{Bar, Bars, Chart, Columns, Curve, Drawing, Format, Look, Spread};
use super::series::{Around, averaged};
use super::sheet::Sheet;

/// Curves of more runs than this are not drawn: a page over thousands of runs is for their tables.
const MOST_RUNS: usize = 200;

/// Bars of every metric in the sheet, a picture for each preset.
pub fn bars(sheet: &Sheet) -> Result<Vec<String>> {
    let mut pictures = Vec::new();
    for preset in presets(sheet) {
        let rows: Vec<_> = sheet.rows.iter().filter(|row| row.group.preset == preset).collect();
        let names: Vec<String> = rows.iter().map(|row| row.group.name()).collect();
        for (index, metric) in sheet.metrics.iter().enumerate() {
            let bars: Vec<Option<Bar>> = rows.iter().map(|row| Around::Std.bar(&row.cells[index].sample)).collect();
            let drawn = bars.iter().flatten().filter(|bar| bar.value.is_finite()).count();
            if drawn < 2 || bars.len() > 40 {
                continue;
            }
            let title = format!("{metric} ({preset}, mean and std over seeds)");
            let series = [(metric.clone(), bars)];
            let bars = Bars { title: &title, axis: metric, groups: &names, series: &series, log: false };
            pictures.push(String::from_utf8(bars.picture(Format::Svg)?)?);
        }
    }
    Ok(pictures)
}

/// Training loss and test accuracy of each arm over the epochs, where the runs have them.
pub fn curves(sheet: &Sheet) -> Result<Vec<String>> {
    let mut pictures = Vec::new();
    for preset in presets(sheet) {
        let groups: Vec<&Group> = sheet.rows.iter().map(|row| &row.group).filter(|g| g.preset == preset).collect();
        if groups.iter().map(|g| g.runs.len()).sum::<usize>() > MOST_RUNS || groups.len() > 14 {
            continue;
        }
        for (table, column) in [("train", "loss"), ("eval", "test_accuracy")] {
            let (mut curves, mut spread) = (Vec::new(), Vec::new());
            for group in &groups {
                let points = |run: &&super::Record| Columns::read(&run.folder, table)?.points("epoch", column, None);
                let runs: Vec<Vec<(f64, f64)>> = group.runs.iter().filter_map(|run| points(run).ok()).collect();
                let series = averaged(&runs, Around::Std);
                if !series.points.is_empty() {
                    curves.push(Curve { name: group.name(), points: series.points });
                    spread.push(Spread::Band(series.around));
                }
            }
            if curves.iter().any(|curve| curve.points.len() > 1) {
                let title = format!("{column} by epoch ({preset}, mean and std over seeds)");
                let chart = Chart { title: &title, x: "epoch", y: column, curves: &curves, dots: false, marks: &[] };
                let svg = chart.picture(Look { spread, ..Look::default() }, Format::Svg)?;
                pictures.push(String::from_utf8(svg)?);
            }
        }
    }
    Ok(pictures)
}

/// (caption, SVG) of what each arm's first run drew.
pub fn own(sheet: &Sheet) -> Vec<(String, String)> {
    let mut pictures = Vec::new();
    if sheet.rows.len() > 20 {
        return pictures;
    }
    let groups = sheet.rows.iter().map(|row| &row.group);
    let names = groups.clone().map(|g| format!("{} {}", g.preset, g.name()));
    for (group, name) in groups.zip(names) {
        let Some(run) = group.runs.first() else { continue };
        let mut files: Vec<_> = fs::read_dir(run.folder.join("plots")).into_iter().flatten().flatten().collect();
        files.retain(|file| file.path().extension().is_some_and(|e| e == "svg"));
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            if let Ok(svg) = fs::read_to_string(file.path()) {
                let stem = file.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
                pictures.push((format!("{name}, seed {}: {stem}", run.seed), svg));
            }
        }
    }
    pictures
}

fn presets<'a>(sheet: &'a Sheet) -> Vec<&'a str> {
    let mut presets: Vec<&str> = Vec::new();
    for row in &sheet.rows {
        if !presets.contains(&row.group.preset) {
            presets.push(row.group.preset);
        }
    }
    presets
}
