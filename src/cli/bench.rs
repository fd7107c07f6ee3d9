//! `reglab bench --case NAME`: the training step that scripts/bench measures beside PyTorch. Reads `run N` lines, answers
//! `seconds X`: rounds of all peers can be interleaved.

use anyhow::{Result, bail};
use clap::Args;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Instant;

use crate::data::{Augment, DeviceSet, Images, PixelScale};
use crate::models::{Arch, Network};
use crate::run::Stamp;
use crate::train::{Fit, OptimizerConfig, Shuffled, TrainConfig, Trainer};
use crate::{Usage, native};

#[derive(Args)]
pub struct Bench {
    /// mlp-digits, lenet-mnist or resnet20-cifar
    #[arg(long)]
    case: String,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    device: String,
    /// CPU threads (0: one for each physical core)
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// What is trained on what.
struct Case {
    arch: &'static str,
    sample: [i64; 3],
    samples: i64,
    batch: usize,
    lr: f64,
    weight_decay: f64,
}

impl Case {
    fn named(name: &str) -> Result<Case> {
        Ok(match name {
            "mlp-digits" => Case {
                arch: r#"{"name": "mlp", "hidden": [256]}"#,
                sample: [1, 8, 8],
                samples: 1297,
                batch: 64,
                lr: 0.1,
                weight_decay: 0.0,
            },
            "lenet-mnist" => Case {
                arch: r#"{"name": "lenet5"}"#,
                sample: [1, 28, 28],
                samples: 10_000,
                batch: 128,
                lr: 0.05,
                weight_decay: 0.0,
            },
            "resnet20-cifar" => Case {
                arch: r#"{"name": "cifar-resnet", "depth": 20}"#,
                sample: [3, 32, 32],
                samples: 10_000,
                batch: 128,
                lr: 0.1,
                weight_decay: 5e-4,
            },
            other => bail!(Usage(format!("--case {other:?} should be mlp-digits, lenet-mnist or resnet20-cifar"))),
        })
    }
}

impl Bench {
    pub fn execute(self) -> Result<i32> {
        let case = Case::named(&self.case)?;
        let device = crate::run::device(&self.device).map_err(Usage::from)?;
        crate::run::set_threads(self.threads);
        let values = case.samples * case.sample.iter().product::<i64>();
        let pixels: Vec<u8> = (0..values).map(|i| (i * 97 % 251) as u8).collect();
        let labels: Vec<i64> = (0..case.samples).map(|i| i % 10).collect();
        let classes = (0..10).map(|c| c.to_string()).collect();
        let images = Images::new(&pixels, case.sample, &labels, classes, &self.case)?;
        let scale = PixelScale::unit(255.0, case.sample[0] as usize);
        let set = DeviceSet::new(&images, &scale, &Augment::default(), device)?;
        let mut arch: Arch = serde_json::from_str(case.arch)?;
        arch.fit_data(&case.sample, 10)?;
        let net = Network::build(arch, 0, device)?;
        let optimizer = OptimizerConfig {
            lr: case.lr,
            momentum: 0.9,
            weight_decay: case.weight_decay,
            ..OptimizerConfig::default()
        };
        let config = TrainConfig {
            epochs: u64::MAX >> 40,
            batch: case.batch,
            drop_last: true,
            optimizer,
            ..TrainConfig::default()
        };
        let mut source = Shuffled::new(&set, config.batch, true, 0);
        let start = Stamp { step: 0, epoch: 0.0 };
        let job =
            Fit { phase: "bench", net: &net, source: &mut source, evaluate: &[], config: &config, groups: None, start };
        let mut trainer = Trainer::new(job, &[], 0)?;
        for line in stdin().lock().lines() {
            let line = line?;
            let Some(steps) = line.strip_prefix("run ").and_then(|n| n.trim().parse::<u64>().ok()) else {
                bail!(Usage(format!("expected `run N`, got {line:?}")));
            };
            let start = Instant::now();
            for _ in 0..steps {
                trainer.train_step(&mut [])?;
            }
            trainer.discard_window();
            native::synchronize(device)?;
            println!("seconds {}", start.elapsed().as_secs_f64());
            stdout().flush()?;
        }
        Ok(0)
    }
}
