//! `reglab resume FOLDER`: go on from the last checkpoint.

use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

use super::{Talk, run};
use crate::config::Layer;
use crate::report::{self, Finished};
use crate::run::{Progress, Run, install_signals, set_threads};
use crate::sweep::point::read_config;
use crate::{Usage, data, methods};

#[derive(Args)]
pub struct Resume {
    /// Folder of the run
    folder: PathBuf,
    /// A study of hpo search, done or not: N more trials
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    extend: Option<u64>,
    /// Where data sets lie (default: $REGLAB_DATA, else data/)
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    #[command(flatten)]
    talk: Talk,
}

impl Resume {
    pub fn execute(self) -> Result<i32> {
        if !run::is_run(&self.folder) {
            bail!(Usage(format!("{} is not the folder of a run: it has no config.toml", self.folder.display())));
        }
        let config = self.folder.join("config.toml");
        let (method, mut config) = Layer::file(&config).and_then(read_config).map_err(Usage::from)?;
        crate::run::device(&config.header.device).map_err(Usage::from)?;
        if let Some(more) = self.extend {
            config = methods::hpo::search::extend(&self.folder, config, more).map_err(Usage::from)?;
        }
        if self.folder.join("summary.json").exists() {
            println!("{} is done already", self.folder.display());
            return Ok(0);
        }
        install_signals();
        set_threads(config.header.threads);
        let (arm, seed) = (config.header.arm.clone(), config.header.seed);
        let root = data::data_root(self.data_root.as_deref());
        let open = Run::resume(&self.folder, config, &root, Progress::new(self.talk.verbosity()))?;
        let outcome = Ok(methods::drive(method, open)?);
        println!("{}", report::arms_table(method, &[Finished { arm, seed, folder: self.folder, outcome }]));
        Ok(0)
    }
}
