//! `reglab report PATHS...`.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

use crate::Usage;
use crate::report::{self, Stat, scan_all, sheets};
use crate::run::write_atomically;

#[derive(Args)]
pub struct ReportArgs {
    /// Results trees, parts of them, or runs
    #[arg(default_value = "results", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Summary metrics to show (default: the method's headline)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    metric: Vec<String>,
    /// What is said of a metric over the seeds; csv and json say all
    #[arg(long, value_delimiter = ',', default_value = "mean,std")]
    stat: Vec<Stat>,
    /// Arm to which the others' differences are shown: paired by seed, with a 95% bootstrap interval
    #[arg(long, value_name = "ARM")]
    baseline: Option<String>,
    #[arg(long, default_value = "terminal")]
    format: Format,
    /// Write here instead of to the terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Terminal,
    Markdown,
    /// Tables for the package booktabs
    Latex,
    /// A line a group of runs and metric
    Csv,
    /// One self-contained page with plots
    Html,
    Json,
}

impl ReportArgs {
    pub fn execute(self) -> Result<i32> {
        let records = scan_all(&self.paths)?;
        if records.is_empty() {
            let given: Vec<String> = self.paths.iter().map(|path| path.display().to_string()).collect();
            bail!(Usage(format!("there are no runs in {}", given.join(", "))));
        }
        let sheets = sheets(&records, &self.metric, self.baseline.as_deref())?;
        let text = match self.format {
            Format::Terminal => report::terminal(&sheets, &self.stat),
            Format::Markdown => report::markdown(&sheets, &self.stat),
            Format::Latex => report::latex(&sheets, &self.stat),
            Format::Csv => report::csv(&sheets)?,
            Format::Html => report::html(&sheets, &self.stat)?,
            Format::Json => report::json(&sheets)?,
        };
        match &self.output {
            Some(path) => {
                write_atomically(path, text.as_bytes())?;
                println!("{}", path.display());
            }
            None => print!("{text}"),
        }
        Ok(0)
    }
}
