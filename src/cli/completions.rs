//! `reglab completions SHELL`.

use anyhow::Result;
use clap::Args;
use clap_complete::{Shell, generate};

#[derive(Args)]
pub struct Completions {
    shell: Shell,
}

impl Completions {
    pub fn execute(self) -> Result<i32> {
        generate(self.shell, &mut super::command(), "reglab", &mut std::io::stdout());
        Ok(0)
    }
}
