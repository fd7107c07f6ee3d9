//! `reglab worker`: a process of the pool (see `sweep::pool`); not for users.

use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct Worker {
    #[arg(long, value_name = "DIR")]
    data_root: PathBuf,
}

impl Worker {
    pub fn execute(self) -> Result<i32> {
        crate::sweep::job::serve(&self.data_root)
    }
}
