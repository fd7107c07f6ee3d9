//! `reglab selftest`: numeric ground truth on the user's own device.

use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

use crate::{Usage, methods, ops};

#[derive(Args)]
pub struct Selftest {
    /// Where to compute: cpu, cuda, cuda:N or auto
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Folder of cases, walked recursively
    #[arg(long, value_name = "DIR", default_value = "tests/oracles")]
    cases: PathBuf,
    /// A line for every case
    #[arg(short, long)]
    verbose: bool,
}

impl Selftest {
    pub fn execute(self) -> Result<i32> {
        let device = crate::run::device(&self.device).map_err(Usage::from)?;
        if !self.cases.is_dir() {
            bail!(Usage(format!("{} is not a folder; --cases names the folder of oracle cases", self.cases.display())));
        }
        crate::run::set_threads(0);
        let report = ops::run(&self.cases, methods::ops(), device)?;
        for v in &report.verdicts {
            match &v.failure {
                Some(why) => println!("FAIL {} ({}): {why}", v.path.display(), v.note),
                None if self.verbose => {
                    println!("ok   {} ({}): {:.1e} of the tolerance", v.path.display(), v.note, v.ratio)
                }
                None => {}
            }
        }
        let failed = report.failed().count();
        println!(
            "{} cases on {}: {} passed, {failed} failed",
            report.verdicts.len(),
            self.device,
            report.verdicts.len() - failed
        );
        Ok(i32::from(failed > 0))
    }
}
