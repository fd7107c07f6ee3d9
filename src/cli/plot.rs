//! `reglab plot PATHS... -x step -y accuracy -o fig.svg`.

use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

use crate::Usage;
use crate::report::plot::Format;
use crate::report::{Around, Figure, Kind, scan_all};
use crate::run::write_atomically;

#[derive(Args)]
pub struct Plot {
    /// Runs, or folders that hold runs
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What is drawn
    #[arg(long, default_value = "line")]
    kind: Kind,
    /// Table of the runs, or `summary` for their final numbers, a point a setting (default: the first that has the columns)
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Column along the horizontal axis; of summaries a metric or a field, as in -x method.sparsity (default: step)
    #[arg(short, value_name = "COLUMN")]
    x: Option<String>,
    /// Columns along the vertical axis
    #[arg(short, value_name = "COLUMN", value_delimiter = ',', default_value = "loss")]
    y: Vec<String>,
    /// What a curve is: arm (the mean over its seeds), run, a field of the configuration, or a column of the table
    #[arg(long, value_name = "WHAT", default_value = "arm")]
    by: String,
    /// What is drawn around a mean over seeds
    #[arg(long, default_value = "std")]
    band: Around,
    /// Only rows of the table with this value, as in --only layer=fc1
    #[arg(long, value_name = "COLUMN=VALUE")]
    only: Option<String>,
    #[arg(long)]
    log_x: bool,
    #[arg(long)]
    log_y: bool,
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// The picture: .svg or .png
    #[arg(short, long, value_name = "FILE", default_value = "plot.svg")]
    output: PathBuf,
}

impl Plot {
    pub fn execute(self) -> Result<i32> {
        let format = Format::of(&self.output)?;
        let records = scan_all(&self.paths)?;
        if records.is_empty() {
            let given: Vec<String> = self.paths.iter().map(|path| path.display().to_string()).collect();
            bail!(Usage(format!("there are no runs in {}", given.join(", "))));
        }
        let only = match &self.only {
            Some(text) => match text.split_once('=') {
                Some((column, value)) => Some((column.to_owned(), value.to_owned())),
                None => bail!(Usage(format!("--only {text} is not of the form COLUMN=VALUE"))),
            },
            None => None,
        };
        let figure = Figure {
            kind: self.kind,
            table: self.table,
            x: self.x,
            y: self.y,
            by: self.by,
            around: self.band,
            log_x: self.log_x,
            log_y: self.log_y,
            title: self.title,
            only,
        };
        write_atomically(&self.output, &figure.draw(&records, format)?)?;
        println!("{}", self.output.display());
        Ok(0)
    }
}
