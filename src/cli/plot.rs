//! `reglab plot RUN... -x step -y accuracy -o fig.svg`.

use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

use crate::Usage;
use crate::report::plot::{Chart, Curve, columns};
use crate::report::{Record, scan};
use crate::run::write_atomically;

#[derive(Args)]
pub struct Plot {
    /// Runs, or folders that hold runs
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Table of the runs, or `summary`: one point a run, one curve an arm (-x sparsity -y accuracy)
    #[arg(long, default_value = "train")]
    table: String,
    /// Column along the horizontal axis
    #[arg(short, default_value = "step")]
    x: String,
    /// Column along the vertical axis
    #[arg(short, default_value = "loss")]
    y: String,
    /// The picture
    #[arg(short, long, value_name = "FILE", default_value = "plot.svg")]
    output: PathBuf,
}

impl Plot {
    pub fn execute(self) -> Result<i32> {
        if self.output.extension().is_none_or(|e| e != "svg") {
            bail!(Usage(format!("-o {} should end in .svg", self.output.display())));
        }
        let mut records = Vec::new();
        for folder in &self.runs {
            records.extend(scan(folder)?);
        }
        let summaries = self.table == "summary";
        let curves = if summaries { by_arm(&records, &self.x, &self.y) } else { self.curves(&records)? };
        if curves.is_empty() {
            bail!(Usage("there are no runs in the folders given".into()));
        }
        let svg = Chart {
            title: &format!("{} over {}", self.y, self.x),
            x: &self.x,
            y: &self.y,
            curves: &curves,
            dots: summaries,
            marks: &[],
        }
        .svg()?;
        write_atomically(&self.output, svg.as_bytes())?;
        println!("{}", self.output.display());
        Ok(0)
    }

    /// One curve a run.
    fn curves(&self, records: &[Record]) -> Result<Vec<Curve>> {
        let curve = |record: &Record| {
            let name = record.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Curve { name, points: columns(&record.folder, &self.table, &self.x, &self.y, None)? })
        };
        records.iter().map(curve).collect()
    }
}

/// One curve an arm: its runs' summaries, sorted along the horizontal axis. `wgsef` and `wgsef-k26` are one arm: what
/// follows the dash of a known arm's name is its setting.
fn by_arm(records: &[Record], x: &str, y: &str) -> Vec<Curve> {
    let names: Vec<&str> = records.iter().map(|r| r.arm.as_str()).collect();
    let family = |arm: &str| {
        let parent = names.iter().filter(|name| arm.strip_prefix(**name).is_some_and(|rest| rest.starts_with('-')));
        parent.min_by_key(|name| name.len()).map_or(arm.to_owned(), |name| name.to_string())
    };
    let mut curves: Vec<Curve> = Vec::new();
    for record in records {
        let (Some(px), Some(py)) = (record.metric(x), record.metric(y)) else { continue };
        let name = family(&record.arm);
        match curves.iter_mut().find(|c| c.name == name) {
            Some(curve) => curve.points.push((px, py)),
            None => curves.push(Curve { name, points: vec![(px, py)] }),
        }
    }
    curves.iter_mut().for_each(|c| c.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    curves
}
