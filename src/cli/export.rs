//! `reglab export CHECKPOINT -o FILE.pt`.

use anyhow::{Result, bail};
use clap::Args;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

use crate::Usage;
use crate::models::{checkpoint, torchscript};
use crate::params::file;
use crate::run::write_atomically;

#[derive(Args)]
pub struct Export {
    /// A network: a safetensors file with its architecture, a checkpoint folder, or a run (its last checkpoint)
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
    /// The TorchScript file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Also write a batch `x` and what reglab makes of it, `y`, as safetensors: for scripts/check_export.py
    #[arg(long, value_name = "FILE")]
    example: Option<PathBuf>,
}

impl Export {
    pub fn execute(self) -> Result<i32> {
        if self.output.extension().is_none_or(|e| e != "pt") {
            bail!(Usage(format!("--output {} should end in .pt", self.output.display())));
        }
        let net = checkpoint::load(&network_file(&self.checkpoint)?, Device::Cpu)?;
        tch::manual_seed(0);
        let sample = net.arch.sample_shape()?;
        let x = Tensor::randn([&[4], &sample[..]].concat(), (Kind::Float, Device::Cpu));
        torchscript::save(&torchscript::trace(&net, &x)?, &self.output)?;
        if let Some(path) = &self.example {
            let y = net.evaluate(&x);
            write_atomically(path, &file::to_bytes([("x", &x), ("y", &y)], HashMap::new())?)?;
        }
        let shape = sample.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        println!("{}: float32 inputs [N, {shape}]", self.output.display());
        Ok(0)
    }
}

/// The safetensors file that a path means.
fn network_file(path: &Path) -> Result<PathBuf> {
    let within = ["model.safetensors", "checkpoints/last/model.safetensors"].map(|inner| path.join(inner));
    match std::iter::once(path.to_owned()).chain(within).find(|file| file.is_file()) {
        Some(file) => Ok(file),
        None => bail!(Usage(format!("{} is no safetensors file, checkpoint or run", path.display()))),
    }
}
