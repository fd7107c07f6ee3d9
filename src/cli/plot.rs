//! `reglab plot RUN... -x step -y accuracy -o fig.svg`.

use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

use crate::Usage;
use crate::report::plot::{Chart, Curve, columns};
use crate::report::scan;
use crate::run::write_atomically;

#[derive(Args)]
pub struct Plot {
    /// Runs, or folders that hold runs
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Table of the runs
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
        let mut curves = Vec::new();
        for folder in &self.runs {
            for record in scan(folder)? {
                let name = record.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let points = columns(&record.folder, &self.table, &self.x, &self.y, None)?;
                curves.push(Curve { name, points });
            }
        }
        if curves.is_empty() {
            bail!(Usage("there are no runs in the folders given".into()));
        }
        let svg = Chart {
            title: &format!("{} over {}", self.y, self.x),
            x: &self.x,
            y: &self.y,
            curves: &curves,
            dots: false,
            marks: &[],
        }
        .svg()?;
        write_atomically(&self.output, svg.as_bytes())?;
        println!("{}", self.output.display());
        Ok(0)
    }
}
