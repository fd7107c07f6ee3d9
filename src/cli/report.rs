//! `reglab report FOLDER`.

use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

use crate::report::claims::Claims;
use crate::report::{Record, grouped_table, scan};
use crate::{Usage, methods};

#[derive(Args)]
pub struct ReportArgs {
    /// Results tree, a part of it, or one run
    #[arg(default_value = "results")]
    folder: PathBuf,
    /// Summary metrics to show (default: the method's headline)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    metric: Vec<String>,
}

impl ReportArgs {
    pub fn execute(self) -> Result<i32> {
        let records = scan(&self.folder)?;
        if records.is_empty() {
            bail!(Usage(format!("there are no runs below {}", self.folder.display())));
        }
        for method in methods::ALL {
            let mine: Vec<&Record> = records.iter().filter(|r| r.method == method.name).collect();
            if mine.is_empty() {
                continue;
            }
            let headline = || method.headline.iter().map(|m| m.to_string()).collect();
            let metrics = if self.metric.is_empty() { headline() } else { self.metric.clone() };
            println!("{}", grouped_table(&mine, &metrics));
            for claim in Claims::parse(method.name, method.claims)?.paper {
                println!(
                    "paper {}: {}: {}: {} (baseline {})",
                    claim.id, claim.setting, claim.metric, claim.paper, claim.baseline
                );
            }
        }
        Ok(0)
    }
}
