//! Pairs, weights, mixtures: what a policy makes of a batch.

use anyhow::Result;
use tch::{Kind, Tensor, no_grad};

use super::config::{LamPer, Method, Policy};
use super::networks::Generator;
use super::policy::{Region, generator_input, truncated_normal};
use crate::data::Batch;
use crate::data::mixup::{beta_draws, mix, one_hot};
use crate::params::View;
use crate::train::Precision;

/// Mixes batches.
pub struct Mixer {
    pub config: Method,
    pub classes: i64,
    pub generator: Option<Generator>,
    pub precision: Precision,
}

/// B pairs and their mixtures.
pub struct Mixed {
    /// lam x1 + (1-lam) x2 and the same of the one-hot labels.
    pub x: Tensor,
    pub y: Tensor,
    /// x1 with its labels.
    pub original: (Tensor, Tensor),
    pub lam: Tensor,
    pub region: Option<Region>,
    /// The rows of the parents in the training set.
    pub parents: (Tensor, Tensor),
}

impl Mixer {
    /// Pairs (x, x[permutation]); of a batch that is split the first half of them.
    pub fn mix(&self, view: &View, batch: &Batch) -> Result<Mixed> {
        let (n, device) = (batch.x.size()[0], batch.x.device());
        let pairs = if self.config.splits() { n / 2 } else { n };
        let permutation = Tensor::randperm(n, (Kind::Int64, device)).narrow(0, 0, pairs);
        let first = |t: &Tensor| t.narrow(0, 0, pairs);
        let second = |t: &Tensor| t.index_select(0, &permutation);
        let y = one_hot(&batch.y, self.classes, Kind::Float);
        let (x1, x2) = (first(&batch.x), second(&batch.x));
        let region = match self.config.policy {
            Policy::Adamixup => Some(self.region(view, &x1, &x2)?),
            _ => None,
        };
        let lam = match &region {
            Some(region) => region.draw(&Tensor::rand([pairs], (Kind::Float, device))),
            None => match self.config.lam_per {
                LamPer::Example => beta_draws(self.config.beta, pairs, device),
                LamPer::Batch => beta_draws(self.config.beta, 1, device).expand([pairs], false),
            },
        };
        let label_lam = if self.config.detach_targets { lam.detach() } else { lam.shallow_clone() };
        Ok(Mixed {
            x: mix(&x1, &x2, &lam),
            y: mix(&first(&y), &second(&y), &label_lam),
            original: (x1, first(&y)),
            lam,
            region,
            parents: (first(&batch.index), second(&batch.index)),
        })
    }

    fn region(&self, view: &View, x1: &Tensor, x2: &Tensor) -> Result<Region> {
        let Some(generator) = &self.generator else { return Ok(Region::start(x1.size()[0], x1.device())) };
        let input = no_grad(|| {
            let noise = || truncated_normal(&x1.rand_like());
            let noise = self.config.noise.then(|| (noise(), noise()));
            generator_input(x1, x2, noise.as_ref().map(|(m1, m2)| (m1, m2)))
        });
        Ok(Region::of(&generator.logits(view, &input, self.precision)?))
    }
}
