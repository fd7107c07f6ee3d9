//! `reglab report FOLDER`.

use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

use super::sweep::{headline, table};
use crate::Usage;
use crate::methods::{self, Method};
use crate::report::claims::Claims;
use crate::report::{Record, grouped_table, scan};
use crate::sweep::Store;

#[derive(Args)]
pub struct ReportArgs {
    /// Results tree, a part of it, one run, or the folder of a sweep
    #[arg(default_value = "results")]
    folder: PathBuf,
    /// Summary metrics to show (default: the method's headline)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    metric: Vec<String>,
}

impl ReportArgs {
    pub fn execute(self) -> Result<i32> {
        if Store::is_one(&self.folder) {
            let store = Store::open(&self.folder).map_err(Usage::from)?;
            let method = methods::find(&store.asked.method).map_err(Usage::from)?;
            println!("{}", table(&store, &self.metrics(method)));
            return Ok(0);
        }
        let records = scan(&self.folder)?;
        if records.is_empty() {
            bail!(Usage(format!("there are no runs below {}", self.folder.display())));
        }
        for method in methods::ALL {
            let mine: Vec<&Record> = records.iter().filter(|r| r.method == method.name).collect();
            if mine.is_empty() {
                continue;
            }
            println!("{}", grouped_table(&mine, &self.metrics(method)));
            for claim in Claims::parse(method.name, method.claims)?.paper {
                println!(
                    "paper {}: {}: {}: {} (baseline {})",
                    claim.id, claim.setting, claim.metric, claim.paper, claim.baseline
                );
            }
        }
        Ok(0)
    }

    fn metrics(&self, method: &Method) -> Vec<String> {
        if self.metric.is_empty() { headline(method) } else { self.metric.clone() }
    }
}
