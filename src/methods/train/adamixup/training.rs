//! The joint training of classifier, discriminator and generator, at the loop's doors.

use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

use super::config::{Policy, Unseen};
use super::mixer::{Mixed, Mixer};
use super::networks::Discriminator;
use super::policy::intrusion_loss;
use crate::data::{Batch, DeviceSet};
use crate::params::View;
use crate::rng;
use crate::run::Run;
use crate::train::{Doors, EpochEnd, Pass, Shuffled, Source, Step, Terms};

/// L = mean CE over [mixed; x1] + L_int: nobody is an adversary, all minimize the same sum.
pub struct Mixing<'a> {
    pub mixer: Mixer,
    discriminator: Option<Discriminator>,
    /// The second stream of real inputs.
    fresh: Option<Shuffled<'a>>,
    /// This step's mixtures, between the doors.
    pending: Option<Result<Intruders>>,
    seen: Seen,
    device: Device,
    /// The last row of policy.csv.
    pub last: Option<PolicyRow>,
}

/// What the discriminator is shown.
struct Intruders {
    real: Tensor,
    mixed: Tensor,
}

/// What the steps of this epoch have left on the device: `[B]` a step, the last one 0-d.
#[derive(Default)]
struct Seen {
    alpha: Vec<Tensor>,
    delta: Vec<Tensor>,
    lam: Vec<Tensor>,
    accuracy: Vec<Tensor>,
}

impl Seen {
    fn parts(&self) -> [(&'static str, &Vec<Tensor>); 4] {
        [("alpha", &self.alpha), ("delta", &self.delta), ("lam", &self.lam), ("accuracy", &self.accuracy)]
    }
}

/// A row of policy.csv: the regions and weights of an epoch.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyRow {
    pub alpha_mean: f64,
    pub alpha_std: f64,
    pub alpha_min: f64,
    pub alpha_max: f64,
    pub delta_mean: f64,
    pub delta_std: f64,
    pub delta_min: f64,
    pub delta_max: f64,
    pub lam_mean: f64,
    pub lam_std: f64,
    pub lam_min: f64,
    pub lam_max: f64,
    pub discriminator_accuracy: Option<f64>,
}

impl PolicyRow {
    /// From its numbers in order; NaN stands for no accuracy.
    fn from(n: &[f64]) -> PolicyRow {
        PolicyRow {
            alpha_mean: n[0],
            alpha_std: n[1],
            alpha_min: n[2],
            alpha_max: n[3],
            delta_mean: n[4],
            delta_std: n[5],
            delta_min: n[6],
            delta_max: n[7],
            lam_mean: n[8],
            lam_std: n[9],
            lam_min: n[10],
            lam_max: n[11],
            discriminator_accuracy: (!n[12].is_nan()).then_some(n[12]),
        }
    }

    fn numbers(&self) -> [f64; 13] {
        [
            self.alpha_mean,
            self.alpha_std,
            self.alpha_min,
            self.alpha_max,
            self.delta_mean,
            self.delta_std,
            self.delta_min,
            self.delta_max,
            self.lam_mean,
            self.lam_std,
            self.lam_min,
            self.lam_max,
            self.discriminator_accuracy.unwrap_or(f64::NAN),
        ]
    }
}

impl<'a> Mixing<'a> {
    pub fn new(
        mixer: Mixer,
        discriminator: Option<Discriminator>,
        train: &'a DeviceSet,
        batch: usize,
        seed: u64,
    ) -> Mixing<'a> {
        let second = discriminator.is_some() && mixer.config.unseen == Unseen::Fresh;
        let fresh = second.then(|| Shuffled::new(train, batch, true, rng::mix(seed, "unseen")));
        Mixing { mixer, discriminator, fresh, pending: None, seen: Seen::default(), device: train.device(), last: None }
    }

    /// Puts the mixtures, and the originals if they are classified too, in the batch's place.
    fn replace(&mut self, step: &Step, batch: &mut Batch) -> Result<Intruders> {
        let mixed = self.mixer.mix(&View::plain(step.store), batch)?;
        let unseen = match &mut self.fresh {
            Some(fresh) => fresh.batch(step.epoch, (step.step - 1) % step.steps_per_epoch).x,
            None => {
                let pairs = mixed.lam.size()[0];
                batch.x.narrow(0, pairs, batch.x.size()[0] - pairs)
            }
        };
        let Mixed { x, y, original: (x1, y1), lam, region, .. } = mixed;
        let both = self.mixer.config.policy == Policy::Adamixup && self.mixer.config.originals;
        let with = |mixed: &Tensor, original: &Tensor| {
            if both { Tensor::cat(&[mixed, original], 0) } else { mixed.shallow_clone() }
        };
        batch.x = with(&x, &x1);
        batch.soft = Some(with(&y, &y1));
        if let Some(region) = region {
            self.seen.alpha.push(region.alpha.detach());
            self.seen.delta.push(region.delta.detach());
            self.seen.lam.push(lam.detach());
        }
        Ok(Intruders { real: Tensor::cat(&[unseen, x1], 0), mixed: x })
    }

    fn row(&self) -> PolicyRow {
        let numbers = |parts: &[Tensor]| {
            let all = Tensor::cat(parts, 0).to_kind(Kind::Double);
            let numbers = [all.mean(Kind::Double), all.std(false), all.min(), all.max()];
            Vec::<f64>::try_from(Tensor::stack(&numbers, 0)).expect("four numbers")
        };
        let Seen { alpha, delta, lam, accuracy } = &self.seen;
        let (alpha, delta, lam) = (numbers(alpha), numbers(delta), numbers(lam));
        let accuracy = if accuracy.is_empty() {
            f64::NAN
        } else {
            Tensor::stack(accuracy, 0).mean(Kind::Double).double_value(&[])
        };
        PolicyRow::from(&[alpha, delta, lam, vec![accuracy]].concat())
    }
}

impl Doors for Mixing<'_> {
    fn name(&self) -> &'static str {
        "adamixup"
    }

    fn terms(&self) -> Vec<&'static str> {
        self.discriminator.iter().map(|_| "intrusion").collect()
    }

    /// The loop's own cross-entropy then is that of [mixed; x1] with [y~; y1].
    fn batch(&mut self, step: &Step, batch: &mut Batch) {
        self.pending = Some(self.replace(step, batch));
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let Intruders { real, mixed } = self.pending.take().context("no batch was mixed before the loss")??;
        let Some(discriminator) = &self.discriminator else { return Ok(()) };
        // The running statistics are those of the classification pass alone.
        let view = pass.view.with_scratch_statistics();
        let features = pass.features(&view, &Tensor::cat(&[&real, &mixed], 0))?;
        let logits = discriminator.logits(&view, &features);
        let rows = real.size()[0];
        let (loss, accuracy) = intrusion_loss(&logits.narrow(0, 0, rows), &logits.narrow(0, rows, mixed.size()[0]));
        self.seen.accuracy.push(accuracy.detach());
        terms.add("intrusion", loss);
        Ok(())
    }

    fn epoch_end(&mut self, end: &EpochEnd, run: &mut Run) -> Result<()> {
        if !self.seen.lam.is_empty() {
            let row = self.row();
            run.row("policy", end.at, &row)?;
            self.last = Some(row);
            self.seen = Seen::default();
        }
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let stored = |(name, parts): (&str, &Vec<Tensor>)| {
            let flat = parts.iter().map(|t| t.reshape(-1)).collect::<Vec<_>>();
            (!flat.is_empty()).then(|| (name.to_owned(), Tensor::cat(&flat, 0)))
        };
        let last = self.last.iter().map(|row| ("last".to_owned(), Tensor::from_slice(&row.numbers())));
        self.seen.parts().into_iter().filter_map(stored).chain(last).collect()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let device = |name: &str| state.get(name).map(|stored| stored.to_device(self.device));
        let last = state.get("last").map(Vec::<f64>::try_from).transpose()?;
        self.last = last.map(|numbers| PolicyRow::from(&numbers));
        let Seen { alpha, delta, lam, accuracy } = &mut self.seen;
        for (name, parts) in [("alpha", alpha), ("delta", delta), ("lam", lam)] {
            *parts = device(name).into_iter().collect();
        }
        *accuracy = device("accuracy").map_or(Vec::new(), |all| all.unbind(0));
        Ok(())
    }
}
